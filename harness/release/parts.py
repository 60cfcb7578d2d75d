"""Collecting a bundle's parts again, by their hashes alone: from the cache, and from hilgate's own files.

What was tested is named by the manifest beside the evidence. The artifact comes from the cache of exports, where given
files are copied to as well; the archives (wheels, byte code, libraries, runners) from the cache's stores; the agent and
the backend's file from this installation, whose bytes must be those of the test. Nothing of the model file is run, and
nothing is exported, downloaded or built: that would be something else than what was tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from ..backends import Backend, load_backend
from ..bundle.bundle import AGENT as AGENT_FOLDER
from ..bundle.bundle import BundleFile
from ..bundle.file_store import find_file
from ..errors import InputError
from ..evidence.schema import CellEntry, LoadEntry
from ..export.artifact import read_recorded
from ..host.bounded import pin
from ..host.cache import cache_folder, file_sha256
from .manifest import Manifest, RuntimePart, read_manifest

AGAIN = "run the tests again (pytest -m hil, as for the evidence), then gate that run's evidence soon"


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An archive in the cache, and the hash that it was tested with."""

    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Parts:
    """All that a release takes from a bundle.

    Attributes:
        backend: the backend's name.
        manifest: the manifest's content; its SHA-256 is the bundle's name.
        artifact: files by their paths in the folder ``artifact``; their hashes are the manifest's, and not yet checked.
        agent: files by their paths in the folder ``agent``, checked; none of a C++ backend.
        archives: those that are unpacked into the folder ``runtime``, in this order. Their hashes were compared, and
            are once more when they are unpacked.
        python: the version of the device's Python; "" of a C++ backend whose manifest does not say.
        packages: versions of what the backend needs, by name, in its runtime.
        installed: those of them that are not in the release: they must be installed on the robot.
        is_native: whether it is a C++ backend.
    """

    backend: str
    manifest: bytes
    artifact: Mapping[str, BundleFile]
    agent: Mapping[str, BundleFile] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()
    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    installed: Mapping[str, str] = field(default_factory=dict)
    is_native: bool = False


def collect(folder: Path, cell: CellEntry) -> Parts:
    """Collect the parts of the bundle that a cell was tested with.

    The entries of the cache that they are in are pinned while this process runs.

    Args:
        folder: the evidence's.
        cell: its cell.

    Raises:
        InputError: the cell has no bundle; the manifest is missing or another one; or parts are gone, are damaged, or
            have changed since: each is named.
        BackendError: there is no such backend.
        StorageError: the cache cannot be read.
    """
    if cell.bundle is None or cell.artifact is None or cell.load is None:
        lacking = [name for name in ("bundle", "artifact", "load") if getattr(cell, name) is None]
        raise InputError(
            "the evidence does not say what was tested",
            wanted="a cell with " + ", ".join(lacking),
            found="none",
            where=_cell_name(cell),
            hint="run the tests again: the cell was not loaded on its device, or an older hilgate wrote this evidence",
        )
    path = folder / "bundles" / f"{cell.bundle.sha256}.json"
    content, manifest = read_manifest(path, cell.bundle.sha256)
    if manifest.backend != cell.backend:
        where = f"{path}: backend"
        found = repr(manifest.backend)
        raise InputError("the manifest is another backend's", wanted=cell.backend, found=found, where=where, hint=AGAIN)
    backend = load_backend(cell.backend)
    missing: list[str] = []
    artifact = _artifact(manifest, cell.artifact.sha256, missing)
    agent = _agent(manifest, backend, missing)
    archives = _archives(manifest.runtime, missing)
    _check_load(cell, cell.load, artifact)
    if missing:
        raise InputError(
            "parts of the bundle that was tested cannot be had any more",
            wanted="each file with the hash that it was tested with",
            found="\n".join(missing),
            where=f"{_cell_name(cell)}; cache: {cache_folder()}",
            hint=AGAIN,
        )
    packages, is_shipped = _packages(manifest.runtime, backend, cell.load)
    return Parts(
        backend=cell.backend,
        manifest=content,
        artifact=artifact,
        agent=agent,
        archives=archives,
        python=manifest.runtime.python or "",
        packages=packages,
        installed={} if is_shipped else packages,
        is_native=manifest.runtime.runner is not None,
    )


def _cell_name(cell: CellEntry) -> str:
    return f"{cell.model} on {cell.device}, backend {cell.backend}"


def _artifact(manifest: Manifest, sha256: str, missing: list[str]) -> dict[str, BundleFile]:
    """Find the exported files, all in one entry of the cache, without reading them: they are hashed as they are copied.

    Args:
        manifest: the bundle's.
        sha256: the artifact's, as the evidence has it.
        missing: gets a line where they are gone.
    """
    wanted = {name: (file.sha256, file.bytes) for name, file in manifest.artifact.items()}
    exports = cache_folder() / "exports"
    for folder in sorted(exports.glob("[!.]*")):
        recorded = read_recorded(folder, cached=True)
        if recorded is None or recorded.sha256 != sha256:
            continue
        if {file.name: (file.sha256, file.bytes) for file in recorded.files} != wanted or not pin(folder):
            continue
        places = {file.name: BundleFile(folder / file.name, file.sha256, file.bytes) for file in recorded.files}
        if all(_has_size(file) for file in places.values()):
            return places
    names = ", ".join(f"{name} (SHA-256 {file[0]})" for name, file in wanted.items())
    missing.append(f"the artifact: {names or 'no file at all'}; its export is not in the cache any more")
    return {}


def _has_size(file: BundleFile) -> bool:
    try:
        return file.source.stat().st_size == file.bytes
    except OSError:
        return False


def _agent(manifest: Manifest, backend: Backend, missing: list[str]) -> dict[str, BundleFile]:
    """Find the agent's files in this installation; those of a C++ backend are none."""
    if manifest.runtime.runner is not None:
        return {}
    sources = {path.name: path for path in sorted(AGENT_FOLDER.glob("*.py"))}
    sources["backend.py"] = backend.source
    hashes = {name: file_sha256(path) for name, path in sources.items()}
    tested = {name: file.sha256 for name, file in manifest.agent.items()}
    changed = [name for name in sorted({*hashes, *tested}) if hashes.get(name) != tested.get(name)]
    missing += [f"agent/{name}: {_change(name, hashes, tested)}" for name in changed]
    return {name: BundleFile(path, hashes[name], path.stat().st_size) for name, path in sources.items()}


def _change(name: str, hashes: Mapping[str, str], tested: Mapping[str, str]) -> str:
    if name not in hashes:
        return "this hilgate has no such file"
    if name not in tested:
        return "this hilgate has it, the one that tested did not"
    return f"hilgate has changed since: SHA-256 {hashes[name]} here, {tested[name]} tested"


def _archives(runtime: RuntimePart, missing: list[str]) -> tuple[Archive, ...]:
    """Find the archives, and check their hashes; in the order in which ``harness.bundle.planning`` sends them."""
    found: list[Archive] = []
    for store, what, sha256 in _described_archives(runtime):
        path = find_file(cache_folder() / store, sha256)
        if path is None:
            missing.append(f"{what}: SHA-256 {sha256} is not in the cache any more, or damaged there")
        else:
            found.append(Archive(path=path, sha256=sha256))
    return tuple(found)


def _described_archives(runtime: RuntimePart) -> Iterator[tuple[str, str, str]]:
    """List the archives that a manifest names: the cache's store, what it is, SHA-256."""
    if runtime.runner is not None:
        if runtime.libraries is not None:
            yield "libraries", "the runtime's libraries", runtime.libraries.sha256
        yield "runners", "the runner", runtime.runner.sha256
        return
    # Each wheel is followed by its byte code: later archives replace files of earlier ones.
    for number, wheel in enumerate(runtime.wheels or ()):
        yield "wheels", f"the wheel {wheel.file}", wheel.sha256
        if runtime.bytecode:
            yield "bytecode", f"the byte code of {wheel.file}", runtime.bytecode[number]


def _check_load(cell: CellEntry, load: LoadEntry, artifact: Mapping[str, BundleFile]) -> None:
    """Refuse evidence whose account of loading names another file than the bundle has."""
    if artifact and load.artifact not in {f"artifact/{name}" for name in artifact}:
        raise InputError(
            "the evidence says that a file was loaded that was not in the bundle",
            wanted="one of " + ", ".join(f"artifact/{name}" for name in artifact),
            found=repr(load.artifact),
            where=f"{_cell_name(cell)}: load.artifact",
            hint=AGAIN,
        )


def _packages(runtime: RuntimePart, backend: Backend, load: LoadEntry) -> tuple[dict[str, str], bool]:
    """Return the versions of the packages that the backend needs, and whether they are in the release.

    An environment that is installed has many more, which have nothing to do with the model.
    """
    if runtime.wheels is not None:
        return {wheel.name: wheel.version for wheel in runtime.wheels}, True
    present = runtime.packages or {}
    if runtime.runner is not None:
        return dict(present), False
    names = {name for names in backend.providers for name in names}
    names |= {canonicalize_name(module.partition(".")[0]) for module in load.operators}
    return {name: version for name, version in present.items() if name in names}, False
