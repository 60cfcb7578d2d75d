"""Checking wheels: each must unpack into its own folder, and its files must be those of its list (RECORD).

pip verifies the hash that an index gives for a wheel, and nothing inside the wheel. The list's format is that of the
"Recording installed projects" specification; PEP 427 requires that an installer fails where a file differs from it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import zipfile
import zlib
from pathlib import Path

from ..agent.unpack import BYTECODE_ENDINGS, CHUNK_BYTES, members
from ..errors import BackendError

RECORD = re.compile(r"[^/]+\.dist-info/RECORD")
# PEP 427: the list does not contain itself and its signatures. These are their suffixes.
UNLISTED = ("", ".jws", ".p7s")
# PEP 427 asks for SHA-256 "or better".
ALGORITHMS = ("sha256", "sha384", "sha512")
LONGEST_RECORD = 64 << 20


def check_wheel(path: Path, where: str) -> int:
    """Verify a wheel before anything uses it; return the total size of its files in bytes.

    Args:
        path: the wheel.
        where: what it is for, for errors.

    Raises:
        BackendError: it is no zip file; a member would leave its folder; it has no list of its files; or a file is not
            in the list, or differs from it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members(archive, path.name)
            listed = _record(archive)
            for info in archive.infolist():
                if not info.is_dir():
                    _check_member(archive, info, listed)
            return sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
        raise BackendError(
            "what pip has fetched is no wheel that may be taken",
            wanted="a wheel whose files are those that it lists, and that unpacks into its own folder",
            found=str(error),
            where=f"{path.name}, for {where}",
            hint="fetch it anew, with an empty cache of pip: python -m pip cache purge; if it comes so again, pin "
            "another version, and tell those who made it",
        ) from error


def _record(archive: zipfile.ZipFile) -> dict[str, str]:
    """Read a wheel's list: "ALGORITHM=HASH" by path."""
    names = [name for name in archive.namelist() if RECORD.fullmatch(name)]
    if len(names) != 1:
        raise ValueError(f"{len(names)} lists of its files: {', '.join(names) or 'no RECORD'}")
    if archive.getinfo(names[0]).file_size > LONGEST_RECORD:
        raise ValueError(f"{names[0]} is longer than {LONGEST_RECORD} bytes")
    try:
        rows = list(csv.reader(io.StringIO(archive.read(names[0]).decode("utf-8"))))
    except csv.Error as error:
        raise ValueError(f"{names[0]} cannot be read: {error}") from None
    listed = {row[0]: row[1] for row in rows if len(row) > 1}
    return listed | {f"{names[0]}{ending}": "" for ending in UNLISTED}


def _check_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, listed: dict[str, str]) -> None:
    name = info.filename
    if name not in listed:
        raise ValueError(f"{name!r} is in it and not in its list")
    algorithm, _, expected = listed[name].partition("=")
    if not algorithm and (RECORD.fullmatch(name.removesuffix(".jws").removesuffix(".p7s")) or is_bytecode(name)):
        return
    if algorithm not in ALGORITHMS:
        raise ValueError(f"{name!r} is listed with {algorithm or 'no hash'}; one of {', '.join(ALGORITHMS)} is wanted")
    digest = hashlib.new(algorithm)
    with archive.open(info) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    found = base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
    if found != expected.rstrip("="):
        raise ValueError(f"{name!r} is another file than the one listed: wanted {listed[name]}; found {found}")


def is_bytecode(name: str) -> bool:
    """Return whether a file is byte code, which is not unpacked: hilgate compiles the sources itself."""
    return name.endswith(BYTECODE_ENDINGS)
