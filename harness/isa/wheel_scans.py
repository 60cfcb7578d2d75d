"""The scans of a runtime's wheels, and what they mean for one CPU.

They are cached by content, so that a library that two wheels contain is scanned once:

    scans/wheels/SHA256.json       {"schema": 1, "libraries": {PATH: SHA-256}}
    scans/libraries/SHA256.json    {"schema": 1, "bytes": …, "needs": {EXTENSION: see scan.Need}, "problem": ""}

where ``problem`` says why a library could not be scanned.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..agent.unpack import installed_path
from ..host.cache import cache_folder, write_atomically
from ..protocol import BoardFacts
from .decoding import decode
from .extensions import RUNS_WITHOUT_LSE, lacking
from .library import Library
from .scan import Need, scan

# To be incremented when a scan's result for the same library changes.
SCHEMA = 1
ELF = b"\x7fELF"
ARCH = "aarch64"
NOT_TOLD = (
    "it cannot tell whether code ever runs that is reached through a pointer, from another library or from Python, "
    "nor whether a test of the CPU stands before it"
)


@dataclass(frozen=True)
class Scanned:
    """One library of a wheel.

    Attributes:
        path: where it is unpacked to, relative to the runtime's folder.
        bytes: its size.
        needs: its instructions of each extension.
        problem: why it could not be scanned; "" where it was.
    """

    path: str
    bytes: int
    needs: Mapping[str, Need]
    problem: str = ""


def scan_wheel(path: Path, sha256: str) -> tuple[Scanned, ...]:
    """Scan every library of a wheel, or take the scans from the cache (1.3 s for each 100 MB).

    Args:
        path: the wheel's.
        sha256: its hash.

    Raises:
        StorageError: the cache cannot be written.
    """
    record = cache_folder() / "scans" / "wheels" / f"{sha256}.json"
    known = _read_record(record)
    libraries = {name: _cached_record(digest) for name, digest in known["libraries"].items()} if known else {}
    if known and all(libraries.values()):
        return tuple(_from_record(name, found) for name, found in libraries.items() if found)
    names, found = dict[str, str](), list[Scanned]()
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            name = installed_path(member)
            if name is None or ".so" not in name.rpartition("/")[2]:
                continue
            content = archive.read(member)
            if content.startswith(ELF):
                names[name] = hashlib.sha256(content).hexdigest()
                found.append(_from_record(name, _cached_record(names[name]) or _scan(content, names[name])))
    write_atomically(record, json.dumps({"schema": SCHEMA, "libraries": names}, indent=1) + "\n", mode=0o600)
    return tuple(found)


def _library_record(sha256: str) -> Path:
    return cache_folder() / "scans" / "libraries" / f"{sha256}.json"


def _scan(content: bytes, sha256: str) -> Mapping[str, Any]:
    needs, problem = dict[str, Need](), ""
    try:
        needs = dict(scan(Library(content)))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # a damaged table may cause any; it is noted, and the run goes on
        problem = f"{type(error).__name__}: {error}"
    kept = {name: need.as_json() for name, need in needs.items()}
    record = {"schema": SCHEMA, "bytes": len(content), "needs": kept, "problem": problem}
    write_atomically(_library_record(sha256), json.dumps(record, indent=1) + "\n", mode=0o600)
    return record


def _cached_record(sha256: str) -> Mapping[str, Any] | None:
    return _read_record(_library_record(sha256))


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return dict(record) if record["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _from_record(name: str, record: Mapping[str, Any]) -> Scanned:
    needs = {extension: Need(**need) for extension, need in record["needs"].items()}
    return Scanned(name, record["bytes"], needs, record["problem"])


@dataclass(frozen=True)
class IsaReport:
    """A report on a runtime's libraries and one CPU, before anything has run there.

    Attributes:
        warnings: a sentence or two for each library that is likely to die of an illegal instruction when it is loaded.
        described: the report for the evidence.
    """

    warnings: tuple[str, ...]
    described: Mapping[str, Any]


def scan_wheels(
    wheels: Iterable[tuple[Path, str]],
    facts: BoardFacts,
    packages: Mapping[str, str],
    report: Callable[[], None] = lambda: None,
    only: Collection[str] | None = None,
) -> IsaReport:
    """Scan wheels for instructions that a board's CPU lacks.

    Args:
        wheels: (file, SHA-256) of each.
        facts: what the board is.
        packages: those in the wheels, NAME: VERSION.
        report: called before each wheel.
        only: the libraries that are sent, by their paths; None where all are.

    Raises:
        StorageError: the cache cannot be written.
    """
    if facts.arch != ARCH:
        return IsaReport((), {"not_done": f"only {ARCH}'s instructions are looked at; found {facts.arch}"})
    if not facts.features:
        return IsaReport((), {"not_done": "the board's kernel lists no features of its CPU"})
    libraries = list[Scanned]()
    for path, sha256 in wheels:
        report()
        libraries += [found for found in scan_wheel(path, sha256) if only is None or found.path in only]
    missing = {extension.name: extension for extension in lacking(facts.features)}
    warnings, untold = list[str](), dict[str, dict[str, int]]()
    for library in libraries:
        needed = {name: need for name, need in library.needs.items() if name in missing}
        at_load = [name for name, need in needed.items() if need.at_load]
        warnings += [_warning(library, name, missing[name].words, needed[name], facts, packages) for name in at_load]
        if left := {name: need.sites - need.at_load for name, need in needed.items() if need.sites > need.at_load}:
            untold[library.path] = left
    return IsaReport(tuple(warnings), _description(libraries, warnings, untold))


def _warning(
    library: Scanned, name: str, words: str, need: Need, facts: BoardFacts, packages: Mapping[str, str]
) -> str:
    found = decode((need.code or 0).to_bytes(4, "little"), ARCH)
    text = found.text if found else f"{need.code or 0:#010x}"
    places = f"one of {need.at_load} such places" if need.at_load > 1 else "the only such place"
    return (
        f"illegal instruction likely: {text} at {library.path}+{need.first or 0:#x} needs {name} ({words}), which this "
        f"{facts.cpu} lacks, and runs when the library is loaded, as far as its file tells ({places}). "
        f"{known_to_run(library.path, name, packages)}The run goes on to prove it"
    )


def known_to_run(path: str, extension: str, packages: Mapping[str, str]) -> str:
    """Name the versions of a package that run without an extension, in a sentence; "" where none is known."""
    package = path.partition("/")[0].partition(".")[0]
    versions = RUNS_WITHOUT_LSE.get(package, ()) if extension == "LSE" else ()
    if not versions:
        return ""
    here = f"; this is {packages[package]}" if package in packages else ""
    return f"Known to run without LSE: {package} {', '.join(versions)}{here}. "


def _description(
    libraries: Sequence[Scanned], warnings: Sequence[str], untold: Mapping[str, Mapping[str, int]]
) -> Mapping[str, Any]:
    problems = {library.path: library.problem for library in libraries if library.problem}
    return {
        "libraries": len(libraries),
        "bytes": sum(library.bytes for library in libraries),
        "at_load": list(warnings),
        "not_told": {"why": NOT_TOLD, "instructions": untold},
        **({"not_looked_at": problems} if problems else {}),
    }
