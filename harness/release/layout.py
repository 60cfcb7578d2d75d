"""Laying out the folder of a release: regular files alone, each hashed while it is written.

The runtime is unpacked by the board's own function, in the board's order, so it is what was tested. Whoever calls makes
the folder, and removes it where anything is raised: nothing half done may stay.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..agent.unpack import CHUNK_BYTES, unpack
from ..bundle.bundle import BundleFile
from ..errors import InputError
from ..evidence.schema import AnswersEntry, CellEntry, LoadEntry
from ..host.cache import storage_errors
from .check_folder import executables, make_check
from .facts import ReleaseFacts
from .parts import AGAIN, Archive, Parts
from .paths import AGENT, ARTIFACT, ENV, EVIDENCE, EXECUTABLE, MANIFEST, README, RUN, RUNTIME, SUMS, unit_name
from .sums import write_sums
from .texts import make_env, make_readme, make_run, make_unit

__all__ = ["Laid", "ReleaseFacts", "lay_out"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
FILE_MODE, PROGRAM_MODE, FOLDER_MODE = 0o644, 0o755, 0o755


@dataclass(frozen=True, kw_only=True)
class Laid:
    """A release's folder as it was laid out.

    Attributes:
        folder: the folder.
        hashes: SHA-256 of each file but SHA256SUMS, by path.
        executable: the paths of the executable ones, sorted by their bytes.
        sums: the content of SHA256SUMS.
        model_bytes: the size of the artifact.
    """

    folder: Path
    hashes: Mapping[str, str]
    executable: tuple[str, ...]
    sums: bytes
    model_bytes: int

    @property
    def sha256(self) -> str:
        """The release's name: the SHA-256 of SHA256SUMS."""
        return hashlib.sha256(self.sums).hexdigest()


def lay_out(folder: Path, parts: Parts, cell: CellEntry, evidence: bytes, answers: bytes, facts: ReleaseFacts) -> Laid:
    """Fill an empty folder with a release.

    Args:
        folder: the folder, which exists and is nobody else's.
        parts: what was collected.
        cell: the cell of the evidence that it is of.
        evidence: the content of evidence.json.
        answers: the content of the file that ``cell.answers`` names.
        facts: what else the release says of itself.

    Raises:
        InputError: the cell has no answers or another file of them; a part is no longer what was tested; a name cannot
            be in a release.
        StorageError: the disk is full, or the folder cannot be written.
    """
    load, entry = _needed(cell, answers, facts)
    with storage_errors(folder):
        if any(folder.iterdir()):
            raise InputError("a release is laid out in an empty folder", found="files in it", where=str(folder))
        writing = _Writing(folder)
        for name, file in parts.artifact.items():
            writing.copy(f"{ARTIFACT}/{name}", file)
        for name, file in parts.agent.items():
            writing.copy(f"{AGENT}/{name}", file)
        writing.unpack(parts.archives)
        _check_library(load, writing.hashes)
        writing.write(MANIFEST, parts.manifest)
        writing.write(EVIDENCE, evidence)
        for path, content in make_check(facts, parts, load, entry, answers).items():
            writing.write(path, content)
        writing.write(RUN, make_run(facts, parts, load).encode(), executable=True)
        writing.write(ENV, make_env(facts, parts, load).encode())
        writing.write(README, make_readme(facts, parts).encode())
        writing.write(unit_name(facts.name), make_unit(facts).encode())
        writing.write(EXECUTABLE, executables(writing.executable))
        sums = write_sums(writing.hashes)
        hashes = dict(writing.hashes)
        writing.write(SUMS, sums)
        _open_folders(folder)
    return Laid(
        folder=folder,
        hashes=hashes,
        executable=tuple(sorted(writing.executable, key=str.encode)),
        sums=sums,
        model_bytes=sum(file.bytes for file in parts.artifact.values()),
    )


def _needed(cell: CellEntry, answers: bytes, facts: ReleaseFacts) -> tuple[LoadEntry, AnswersEntry]:
    """Return what the release's own check needs of the evidence."""
    where = f"{cell.model} on {cell.device}, backend {cell.backend}"
    if NAME.fullmatch(facts.name) is None:
        wanted = "letters, digits, dots, dashes and underscores, the first one a letter or digit; at most 100"
        raise InputError("a release cannot have this name", wanted=wanted, found=repr(facts.name)[:300], where="name")
    if cell.load is None or cell.answers is None:
        found = "neither how the artifact was loaded nor answers" if cell.load is None else "no answers"
        raise InputError(
            "the evidence has nothing that a release could check itself by",
            wanted="answers of the reference, which a run writes for a cell whose parity passed",
            found=found,
            where=where,
            hint="run the tests again; an older hilgate wrote none",
        )
    if (found := hashlib.sha256(answers).hexdigest()) != cell.answers.sha256:
        what = "the reference's answers are not those that the evidence names"
        wanted = f"SHA-256 {cell.answers.sha256}"
        raise InputError(what, wanted=wanted, found=f"SHA-256 {found}", where=cell.answers.path, hint=AGAIN)
    return cell.load, cell.answers


def _check_library(load: LoadEntry, hashes: Mapping[str, str]) -> None:
    """Refuse evidence of a C++ backend whose library was shipped, and is not there."""
    if load.library and not load.library.startswith("/") and load.library not in hashes:
        what, wanted = "the evidence names a library that was not in the bundle", "one of the runtime's"
        raise InputError(what, wanted=wanted, found=repr(load.library)[:300], where="load.library", hint=AGAIN)


@dataclass
class _Writing:
    """Writes files of a release, and notes their hashes and which of them are executable."""

    folder: Path
    hashes: dict[str, str] = field(default_factory=dict)
    executable: list[str] = field(default_factory=list)

    def write(self, path: str, content: bytes, *, executable: bool = False) -> None:
        """Write a small file."""
        with os.fdopen(self._create(path, executable=executable), "wb") as file:
            file.write(content)
        self.hashes[path] = hashlib.sha256(content).hexdigest()

    def copy(self, path: str, file: BundleFile) -> None:
        """Copy a part; refuse one whose bytes are not those that were tested."""
        digest = hashlib.sha256()
        try:
            source = file.source.open("rb")
        except FileNotFoundError:
            raise _gone(path, file.source, f"SHA-256 {file.sha256}", "nothing") from None
        with source, os.fdopen(self._create(path), "wb") as target:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                target.write(chunk)
        if (found := digest.hexdigest()) != file.sha256:
            raise _gone(path, file.source, f"SHA-256 {file.sha256}", f"SHA-256 {found}")
        self.hashes[path] = found

    def unpack(self, archives: tuple[Archive, ...]) -> None:
        """Unpack the runtime's archives as the board does, and open the files' modes to all users."""
        if not archives:
            return
        place = self.folder / RUNTIME
        place.mkdir()
        hashes: dict[str, str] = {}
        for archive in archives:  # one after the other, as the board's function takes them
            hashes |= _unpacked(archive, place)
        for name, sha256 in hashes.items():
            path = place / name
            is_program = bool(path.stat().st_mode & stat.S_IXUSR)
            path.chmod(PROGRAM_MODE if is_program else FILE_MODE)
            self.hashes[f"{RUNTIME}/{name}"] = sha256
            self.executable += [f"{RUNTIME}/{name}"] if is_program else []

    def _create(self, path: str, *, executable: bool = False) -> int:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, PROGRAM_MODE if executable else FILE_MODE)  # whatever the umask is
        self.executable += [path] if executable else []
        return descriptor


def _unpacked(archive: Archive, place: Path) -> dict[str, str]:
    """Unpack an archive whose bytes are those that were tested; return the hashes of its files, by their paths.

    It is hashed and unpacked by one descriptor: what lies at its path by then does not matter, and what is written into
    the file itself meanwhile is seen.
    """
    wanted = f"SHA-256 {archive.sha256}"
    try:
        file = archive.path.open("rb")
    except FileNotFoundError:
        raise _gone(RUNTIME, archive.path, wanted, "nothing") from None
    with file:
        before = _stamp_of(file)
        if (found := hashlib.file_digest(file, "sha256").hexdigest()) != archive.sha256:
            raise _gone(RUNTIME, archive.path, wanted, f"SHA-256 {found}")
        opened = f"/proc/self/fd/{file.fileno()}"
        try:
            hashes = unpack([opened], str(place))
        except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            found = str(error).replace(opened, archive.path.name)[:300]
            raise _gone(RUNTIME, archive.path, "an archive that can be unpacked", found) from error
        if _stamp_of(file) != before:
            raise _gone(RUNTIME, archive.path, wanted, "it was written to while it was unpacked")
    return hashes


def _stamp_of(file: BinaryIO) -> tuple[int, int]:
    """Return what changes whenever a file is written to: nobody but root can set the second back."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_ctime_ns


def _gone(path: str, source: Path, wanted: str, found: str) -> InputError:
    what = f"a part of the bundle that was tested is damaged in the cache: {path}"
    return InputError(what, wanted=wanted, found=found, where=str(source), hint=AGAIN)


def _open_folders(folder: Path) -> None:
    """Let all users read the folders, whatever the umask was."""
    for home, _, _ in os.walk(folder):
        Path(home).chmod(FOLDER_MODE)
