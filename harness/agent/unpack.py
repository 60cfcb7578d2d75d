"""Unpacking a runtime on the device: wheels and byte code, which are zip archives, into one folder for ``sys.path``.

The device has neither pip nor network. Of what an installer does, a running model needs only the files in their
places: a wheel's members go where they are named, with those of ``NAME-VERSION.data/purelib`` and ``…/platlib`` at the
top. Left out:

- ``NAME-VERSION.data/scripts``, ``headers`` and ``data``: programs, C headers and files for an environment's prefix,
  none of which an import reaches. No entry points are written, no RECORD is brought up to date.
- ``torch/include`` (36 MB of C++ headers in torch 2.9), static archives (``.a``) and import libraries (``.lib``): a
  compiler's and a linker's food. ``share/cmake`` and test folders stay, for they are small, and packages import their
  own ``testing`` modules; so does ``torch/bin``, for torch looks for a program in it when it is imported.

Standard library only, Python ≥ 3.9; the host uses ``installed_path`` too.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
from typing import Optional

CHUNK_BYTES = 1 << 20
DATA_FOLDER = re.compile(r"[^/]+-[^/]+\.data")
LEFT_OUT_FOLDERS = ("torch/include/",)
LEFT_OUT_ENDINGS = (".a", ".lib")


def installed_path(member: str) -> Optional[str]:  # noqa: UP045  # Python 3.9
    """Where a member of a wheel, or of an archive of byte code, belongs in the folder; None where it is left out.

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


def unpack(archives: list[str], folder: str) -> None:
    """Unpack archives into a folder, which nobody else writes to meanwhile.

    A later archive replaces what an earlier one has written, so that each wheel's byte code comes right behind it: byte
    code is used without a look at its source. No member is held in memory whole.

    Raises:
        ValueError: a member leaves the folder, or is no regular file; the earlier ones have been written.
        zipfile.BadZipFile: an archive is damaged.
        OSError: the disk is full, or the folder cannot be written.
    """
    for archive in archives:
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                path = installed_path(info.filename)
                mode = info.external_attr >> 16  # of Unix; 0 where the archive was written elsewhere
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise ValueError(f"a member of {archive} is no regular file: {info.filename!r}")
                if path is not None and not info.is_dir():
                    _write(opened, info, os.path.join(folder, path), executable=bool(mode & 0o111))


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: str, *, executable: bool) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with archive.open(info) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, CHUNK_BYTES)  # and the checksum is verified at its end
        os.fchmod(file.fileno(), 0o700 if executable else 0o600)  # a store is its user's alone
