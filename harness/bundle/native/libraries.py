"""The libraries of a runtime's wheels that a runner needs, as an archive: only those, stripped where that is safe.

From the main one on, everything is taken that another names as needed and that is in the wheels; what is not there is
the board's own (the C and the C++ library). Files keep their places, so that they find each other as in the wheel.
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
# Another one where the same wheels would make another archive.
SCHEMA = 1
# Where sections are listed: of the parts of a header that are loaded, the one that stripping has to change.
ELF_HEADER_BYTES = 64


def provide_libraries(wheels: Sequence[Wheel], main: str, strip: str, more: str | tuple[str, ...] = "") -> Archive:
    """An archive of a library and all that it needs, from the cache or made now.

    Its ``described`` is {"libraries": {PATH: {"bytes": …, "stripped": …}}}.

    Args:
        main: the path of a wheel's member.
        strip: the program that strips this architecture's files.
        more: how the paths begin of those that are opened by name, and so by nobody's need; "" for none.

    Raises:
        BackendError: no wheel has it.
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
    """Where each is unpacked to -> its archive, and its name there."""
    found = {}
    for archive in archives:
        for member in archive.namelist():
            path = installed_path(member)
            if path is not None and ".so" in path.rpartition("/")[2]:
                found[path] = archive, member
    return found


def _closure(members: Mapping[str, tuple[zipfile.ZipFile, str]], roots: Sequence[str], work: Path) -> list[Path]:
    """Extract some libraries and all that they need; their paths."""
    by_name = {path.rpartition("/")[2]: path for path in members}
    wanted, taken = [*roots], dict[str, Path]()
    while wanted:
        name = wanted.pop()
        if name in taken:
            continue
        archive, member = members[name]
        taken[name] = work / name
        taken[name].parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, taken[name].open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
        wanted += [by_name[needed] for needed in needed_libraries(taken[name]) if needed in by_name]
    return [taken[name] for name in sorted(taken)]


def needed_libraries(path: Path) -> list[str]:
    """The names under which a library wants others (DT_NEEDED; elf(5))."""
    with path.open("rb") as file, suppress(ELFError):
        for section in ELFFile(file).iter_sections():
            if isinstance(section, DynamicSection):
                return [str(getattr(tag, "needed")) for tag in section.iter_tags("DT_NEEDED")]  # noqa: B009  # made as it reads
    return []


def _strip(path: Path, strip: str) -> Path | None:
    """A copy without symbols that only a debugger or a linker reads; None where that would not be safe."""
    copy = path.with_name(f"{path.name}.stripped")
    run([strip, "--strip-all", "-o", copy, path], f"{path.name} cannot be stripped")
    return copy if loaded_alike(path, copy) else None


def blank_symbols(path: Path) -> None:
    """Zero what strip would take away, in its place: nothing moves, and what is sent is compressed."""
    with path.open("r+b") as file:
        elf = ELFFile(file)
        loaded = [(one["p_offset"], one["p_offset"] + one["p_filesz"]) for one in elf.iter_segments()]
        table = elf.get_section_by_name(".symtab")
        names = elf.get_section(table["sh_link"]) if table is not None else None
        for section in (table, names):
            if section is None:
                continue
            begin, end = section["sh_offset"], section["sh_offset"] + section["sh_size"]
            if all(end <= first or begin >= last for first, last in loaded):
                file.seek(begin)
                file.write(bytes(end - begin))


def loaded_alike(one: Path, other: Path) -> bool:
    """Whether two files of a library are the same in memory, to the last byte.

    Tools that move things about in a library have left some that strip then damages.
    """
    with one.open("rb") as first, other.open("rb") as second:
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
