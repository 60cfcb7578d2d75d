"""The files of a release as they lie there: listed without following a link, compared with SHA256SUMS, hashed.

Anybody who can write to the folder may have put something there, so a name is looked at before it is opened, and what
is no regular file is refused. A file's hash is taken of the descriptor that was looked at.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..host.regular_file import read_at_most
from .paths import check_name

# As many as PyTorch has files, ten times.
MOST_FILES = 200_000
OTHERS = stat.S_IWGRP | stat.S_IWOTH
SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
# In one call; hashlib lets other threads run meanwhile.
CHUNK = 1 << 20
_KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
_AGAIN = "take the release anew from where it was made"


@dataclass(frozen=True)
class Found:
    """A file of the folder: its place, its mode, and its size."""

    path: Path
    mode: int
    bytes: int


def list_files(folder: Path) -> dict[str, Found]:
    """List a release's files by their paths in it, and empty folders, which it has none of, as "NAME/".

    Raises:
        InputError: something is no regular file or folder, has a name that no release has, may be written by others,
            or is setuid.
    """
    found: dict[str, Found] = {}
    try:
        check_mode(folder.lstat().st_mode, folder)
        return _list(folder, found)
    except OSError as error:
        found_text = error.strerror or str(error)
        what = "the release cannot be looked through"
        raise refusal(what, "a folder", found_text, str(error.filename or folder)) from error


def _list(folder: Path, found: dict[str, Found]) -> dict[str, Found]:
    for name, item, status in _walk(folder):
        kind = stat.S_IFMT(status.st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            what = _KINDS.get(kind, "a device")
            raise refusal("something in the release is no regular file", "regular files only", what, folder / name)
        check_mode(status.st_mode, folder / name)
        found[name] = Found(item, status.st_mode, status.st_size)
        if len(found) > MOST_FILES:
            raise refusal("these are too many files", f"at most {MOST_FILES}", "more", folder)
    return found


def _walk(folder: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Yield what is no folder, and empty folders, "NAME/": its name in the release, its place, and its status."""
    ahead = [(folder, "")]  # no recursion: folders may be nested deeper than Python's stack
    while ahead:
        place, above = ahead.pop()
        with os.scandir(place) as items:
            listed = sorted(items, key=lambda item: item.name)
        if not listed and above:
            yield above, Path(place), place.lstat()
        for item in listed:
            name, status = f"{above}{item.name}", item.stat(follow_symlinks=False)
            if (problem := check_name(name)) is not None:
                raise refusal(
                    "a file has a name that no release has", "a plain name", f"{problem}: {name!r:.200}", folder
                )
            if stat.S_ISDIR(status.st_mode):
                check_mode(status.st_mode, Path(item.path))
                ahead.append((Path(item.path), f"{name}/"))
            else:
                yield name, Path(item.path), status


def check_mode(mode: int, path: Path) -> None:
    """Refuse what others may write to, and what runs as somebody else.

    Raises:
        InputError: the mode has such a bit.
    """
    bits = stat.S_IMODE(mode)
    # A folder's setgid and sticky bits are inherited from those above it, and give nobody anything.
    special = SPECIAL if not stat.S_ISDIR(mode) else stat.S_ISUID
    if bits & (OTHERS | special):
        wanted = "nobody but its owner may write to it, and no setuid"
        raise refusal("a file of the release has a wrong mode", wanted, f"{bits:04o}", path)


def check_executable(files: Mapping[str, Found], executable: Collection[str], folder: Path) -> None:
    """Refuse a file that is executable and should not be, or the other way round.

    Raises:
        InputError: it names the first.
    """
    wanted = set(executable)
    for name, file in files.items():
        if bool(file.mode & 0o111) is not (name in wanted):
            should = "executable" if name in wanted else "not executable"
            raise refusal("a file of the release has a wrong mode", should, f"{file.mode & 0o7777:04o}", folder / name)


def check_listed(files: Collection[str], sums: Collection[str], folder: Path) -> None:
    """Refuse files that are not in SHA256SUMS, and those of it that are not there.

    Raises:
        InputError: it names up to three.
    """
    if less := sorted(set(sums) - set(files)):  # first, for a folder may be empty without it
        raise refusal("files of the release are missing", "those in SHA256SUMS", f"no {_named(less)}", folder)
    if more := sorted(set(files) - set(sums)):
        raise refusal("there are files that are not of the release", "those in SHA256SUMS", _named(more), folder)


def check_sums(files: Mapping[str, Found], sums: Mapping[str, str], folder: Path) -> int:
    """Hash every file, several at a time, and compare; return how many bytes they have.

    Raises:
        InputError: a file is another one; it names up to three.
    """
    largest_first = sorted(sums, key=lambda name: -files[name].bytes)
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 4)) as pool:
        hashed = dict(
            zip(largest_first, pool.map(lambda name: hash_regular(files[name].path), largest_first), strict=True)
        )
    if wrong := sorted(name for name, (sha256, _) in hashed.items() if sha256 != sums[name]):
        first = f"{_named(wrong)}: {hashed[wrong[0]][0]}"
        raise refusal("files of the release are not what was signed", f"SHA-256 {sums[wrong[0]]}", first, folder)
    return sum(size for _, size in hashed.values())


def hash_regular(path: Path) -> tuple[str, int]:
    """Hash a file that is a regular one, and reached through no link at its own name; return its size, too.

    Raises:
        InputError: it is none, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise refusal("something in the release is no regular file", "regular files only", "another", path)
            digest, size, buffer = hashlib.sha256(), 0, memoryview(bytearray(CHUNK))
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
                size += count
            return digest.hexdigest(), size
    except OSError as error:
        raise refusal("a file of the release cannot be read", "a file", error.strerror or str(error), path) from error


def read_regular(path: Path, most: int, what: str) -> bytes:
    """Read a small file of a release, regular and reached through no link at its own name.

    Args:
        path: the file's.
        most: how many bytes it may have.
        what: what it is, for messages, such as "SHA256SUMS".

    Raises:
        InputError: it is not there, none of these, or larger.
    """
    try:
        content, status = read_at_most(path, most, follow=False)
    except OSError as error:
        found = error.strerror or str(error)
        raise refusal(f"{what} cannot be read", "a whole release", found, path) from error
    if not stat.S_ISREG(status.st_mode):
        raise refusal(f"{what} is no regular file", "a regular file", "another", path)
    if max(status.st_size, len(content)) > most:
        raise refusal(f"{what} is too large", f"at most {most} bytes", "more", path)
    return content


def refusal(what: str, wanted: str, found: str, where: Path | str) -> InputError:
    """Make the error that refuses a release."""
    return InputError(what, wanted=wanted, found=found, where=str(where), hint=_AGAIN)


def _named(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
