"""Unpacking a runtime on the device: wheels and byte code, which are zip archives, into one folder for ``sys.path``.

The device has neither pip nor network, and a running model needs nothing of an installer but the files in their
places: a wheel's members go where they are named, those of ``NAME-VERSION.data/purelib`` and ``…/platlib`` at the top.
Left out:

- ``NAME-VERSION.data/scripts``, ``headers`` and ``data``: programs, C headers and files for an environment's prefix,
  none of which an import reaches. No entry points are written, no RECORD is brought up to date.
- ``torch/include`` (36 MB of C++ headers in torch 2.9), static archives (``.a``) and import libraries (``.lib``): only
  compilers and linkers need them. ``share/cmake`` and test folders stay, for they are small, and packages import their
  own ``testing`` modules; so does ``torch/bin``, for torch looks for a program in it when it is imported.
- Byte code in a wheel (``.pyc``, ``.pyo``): Python would run it without looking at its source. The host compiles byte
  code from the wheel's own sources and sends it as a separate archive.

A whole archive is checked before any of it is written: see ``members``.

Standard library only, Python ≥ 3.9; the host uses ``installed_path`` and ``members`` too.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from typing import Optional

CHUNK_BYTES = 1 << 20
DATA_FOLDER = re.compile(r"[^/]+-[^/]+\.data")
LEFT_OUT_FOLDERS = ("torch/include/",)
LEFT_OUT_ENDINGS = (".a", ".lib")
BYTECODE_ENDINGS = (".pyc", ".pyo")
# The file by which a wheel differs from an archive that was made here.
WHEEL_FILE = re.compile(r"[^/]+\.dist-info/WHEEL")
# Ten times what the largest wheels hold (CUDA's libraries for torch: 2 GB; torch: 13,000 files).
MOST_BYTES, MOST_MEMBERS = 20 << 30, 200_000
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1


def installed_path(member: str) -> Optional[str]:  # noqa: UP045  # Python 3.9
    """Return where a member of a wheel or of an archive of byte code is unpacked to; None where it is left out.

    Raises:
        ValueError: the path leaves the folder, or is none that a wheel has.
    """
    parts = member.rstrip("/").split("/")
    if "\\" in member or "\0" in member or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"a member's path leaves the folder, or is not plain: {member!r}")
    if DATA_FOLDER.fullmatch(parts[0]):
        if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
            return None
        parts = parts[2:]
    path = "/".join(parts)
    if path.startswith(LEFT_OUT_FOLDERS) or path.endswith(LEFT_OUT_ENDINGS):
        return None
    return path


def members(archive: zipfile.ZipFile, name: str) -> list[tuple[zipfile.ZipInfo, str]]:
    """Return the files of an archive that are unpacked, each with its path in the folder.

    Args:
        archive: a wheel, or an archive of byte code.
        name: the archive's, for messages.

    Raises:
        ValueError: the archive must not be unpacked: a member leaves the folder, is no regular file, is encrypted or
            compressed in a way that wheels are not; two have one place; all together are too large, or too many.
    """
    infos = archive.infolist()
    size = sum(info.file_size for info in infos)  # no member yields more: zipfile stops there, and takes its checksum
    if size > MOST_BYTES or len(infos) > MOST_MEMBERS:
        what = f"{len(infos)} members of {size} bytes together"
        raise ValueError(f"{name} would unpack to too much: {what}; at most {MOST_MEMBERS} of {MOST_BYTES} are taken")
    is_wheel = any(WHEEL_FILE.fullmatch(info.filename) for info in infos)
    taken: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        path = _checked_path(info, name)
        if path is None or info.is_dir() or (is_wheel and path.endswith(BYTECODE_ENDINGS)):
            continue
        if path in taken:
            raise ValueError(f"two members of {name} have one place: {taken[path].filename!r}, {info.filename!r}")
        taken[path] = info
    for path in taken:
        if (above := next((folder for folder in _above(path) if folder in taken), None)) is not None:
            raise ValueError(f"two members of {name} have one place: {above!r} is a file, and the folder of {path!r}")
    return [(info, path) for path, info in taken.items()]


def _checked_path(info: zipfile.ZipInfo, name: str) -> Optional[str]:  # noqa: UP045
    mode = info.external_attr >> 16  # of Unix; 0 where the archive was written elsewhere
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"a member of {name} is no regular file: {info.filename!r}")
    if info.flag_bits & ENCRYPTED:
        raise ValueError(f"a member of {name} is encrypted: {info.filename!r}")
    if info.compress_type not in METHODS:
        raise ValueError(f"a member of {name} is compressed as wheels are not: {info.filename!r}")
    return installed_path(info.filename)


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def unpack(archives: list[str], folder: str) -> dict[str, str]:
    """Unpack archives into a folder, which nobody else writes to meanwhile; return path -> SHA-256 of its files.

    A later archive replaces files of an earlier one, so that each wheel's byte code must follow right behind it: Python
    uses byte code without looking at its source. No member is held in memory whole.

    Raises:
        ValueError: an archive must not be unpacked, see ``members``; the earlier ones have been written.
        zipfile.BadZipFile: an archive is damaged.
        OSError: the disk is full, or the folder cannot be written.
    """
    hashes: dict[str, str] = {}
    for archive in archives:
        with zipfile.ZipFile(archive) as opened:
            for info, path in members(opened, archive):
                executable = bool(info.external_attr >> 16 & 0o111)
                hashes[path] = _write(opened, info, os.path.join(folder, path), executable=executable)
    return hashes


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: str, *, executable: bool) -> str:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    digest = hashlib.sha256()
    with archive.open(info) as source, open(target, "wb") as file:
        while chunk := source.read(CHUNK_BYTES):  # zipfile verifies the checksum at the end
            digest.update(chunk)
            file.write(chunk)
        os.fchmod(file.fileno(), 0o700 if executable else 0o600)  # a store is its user's alone
    return digest.hexdigest()
