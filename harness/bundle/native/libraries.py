"""The archive of the libraries that a runner needs, from a runtime's wheels, stripped where that is safe.

These are the main library and all libraries in the wheels that it needs, directly or indirectly. Those that are not in
the wheels are the board's own (the C and the C++ library). Files keep their places, so that they find each other.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from ...agent.unpack import CHUNK_BYTES, installed_path
from ...errors import BackendError
from ..archive import Archive, Packer, provide_archive
from ..wheels import Wheel
from .tool import run

STORE = "libraries"
# To be increased where this module makes another archive of the same wheels.
SCHEMA = 1
# The ELF header says where the sections are listed: the only loaded part that stripping has to change.
ELF_HEADER_BYTES = 64


def provide_libraries(wheels: Sequence[Wheel], main: str, strip: str, more: str | tuple[str, ...] = "") -> Archive:
    """Return the archive of a library and all that it needs, from the cache or newly made.

    Its ``described`` is {"libraries": {PATH: {"bytes": …, "stripped": …}}}.

    Args:
        wheels: the runtime's wheels.
        main: the path of the main library in its wheel.
        strip: the program that strips files of this architecture.
        more: path prefixes of further libraries, which are opened by name, so that no other lists them as needed; ""
            for none.

    Raises:
        BackendError: no wheel has the main library.
        StorageError: the cache cannot be written.
    """
    version = run([strip, "--version"], "libraries cannot be stripped").splitlines()[0]
    parts = [SCHEMA, main, more, version, sorted(wheel.sha256 for wheel in wheels)]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def fill(packer: Packer, work: Path) -> Mapping[str, Any]:
        described = {}
        with ExitStack() as stack:
            members = _libraries(stack.enter_context(zipfile.ZipFile(wheel.path)) for wheel in wheels)
            if main not in members:
                names = ", ".join(wheel.path.name for wheel in wheels)
                raise BackendError("the wheels lack a library", wanted=main, found=f"not in {names}")
            roots = [main, *(path for path in members if more and path.startswith(more))]
            for path in _closure(members, roots, work):
                stripped = _strip(path, strip)
                name = str(path.relative_to(work))
                if stripped is None:
                    blank_symbols(path)
                packer.add(name, stripped or path, executable=True)
                described[name] = {"bytes": (stripped or path).stat().st_size, "stripped": stripped is not None}
        return {"libraries": described}

    return provide_archive(STORE, key, main.rpartition("/")[2].partition(".")[0], fill)


def _libraries(archives: Iterable[zipfile.ZipFile]) -> dict[str, tuple[zipfile.ZipFile, str]]:
    """Find all libraries in archives: the archive and the member's name, by the path where it is unpacked."""
    libraries = {}
    for archive in archives:
        for member in archive.namelist():
            path = installed_path(member)
            if path is not None and ".so" in path.rpartition("/")[2]:
                libraries[path] = archive, member
    return libraries


def _closure(members: Mapping[str, tuple[zipfile.ZipFile, str]], roots: Sequence[str], work: Path) -> list[Path]:
    """Extract libraries and all that they need into a folder; return their paths."""
    by_name = {path.rpartition("/")[2]: path for path in members}
    pending, taken = [*roots], dict[str, Path]()
    while pending:
        name = pending.pop()
        if name in taken:
            continue
        archive, member = members[name]
        taken[name] = work / name
        taken[name].parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, taken[name].open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
        pending += [by_name[needed] for needed in needed_libraries(taken[name]) if needed in by_name]
    return [taken[name] for name in sorted(taken)]


def needed_libraries(path: Path) -> list[str]:
    """List the names of the libraries that a library needs (DT_NEEDED; elf(5))."""
    with path.open("rb") as file, suppress(ELFError):
        for section in ELFFile(file).iter_sections():
            if isinstance(section, DynamicSection):
                return [str(getattr(tag, "needed")) for tag in section.iter_tags("DT_NEEDED")]  # noqa: B009  # an attribute that elftools makes while it reads
    return []


def _strip(path: Path, strip: str) -> Path | None:
    """Copy a library without the symbols for debuggers and linkers; return None where that would not be safe."""
    copy = path.with_name(f"{path.name}.stripped")
    run([strip, "--strip-all", "-o", copy, path], f"{path.name} cannot be stripped")
    return copy if loaded_alike(path, copy) else None


def blank_symbols(path: Path) -> None:
    """Zero the symbols that strip would remove: nothing moves, and the compressed archive is as small."""
    with path.open("r+b") as file:
        elf = ELFFile(file)
        loaded = [(segment["p_offset"], segment["p_offset"] + segment["p_filesz"]) for segment in elf.iter_segments()]
        table = elf.get_section_by_name(".symtab")
        names = elf.get_section(table["sh_link"]) if table is not None else None
        for section in (table, names):
            if section is None:
                continue
            begin, end = section["sh_offset"], section["sh_offset"] + section["sh_size"]
            if all(end <= first or begin >= last for first, last in loaded):
                file.seek(begin)
                file.write(bytes(end - begin))


def loaded_alike(path: Path, other: Path) -> bool:
    """Return whether two files of a library are the same in memory, to the last byte.

    strip damages some libraries in which other tools have moved parts.
    """
    with path.open("rb") as first, other.open("rb") as second:
        try:
            segments = [
                [segment for segment in ELFFile(file).iter_segments() if segment["p_type"] == "PT_LOAD"]
                for file in (first, second)
            ]
        except ELFError:
            return False
        for before, after in zip(*segments, strict=False):
            if before.header != after.header:
                return False
            begin, end = before["p_offset"], before["p_offset"] + before["p_filesz"]
            if not _same_bytes(first, second, max(begin, ELF_HEADER_BYTES), end):
                return False
    return len(segments[0]) == len(segments[1])


def _same_bytes(first: Any, second: Any, begin: int, end: int) -> bool:
    first.seek(begin)
    second.seek(begin)
    while begin < end:
        size = min(end - begin, 1 << 20)
        if first.read(size) != second.read(size):
            return False
        begin += size
    return True
