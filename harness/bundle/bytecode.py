"""Byte code made on the host: a small board would take minutes to compile torch, and its runtime's folder is read-only.

For each wheel an archive with ``PACKAGE/__pycache__/X.cpython-311.pyc`` for every ``.py`` that is unpacked and
compiles. Python uses them without a look at their sources ("unchecked" of PEP 552), so times of unpacking do not
matter. In the cache:

    bytecode/files/SHA256/NAME.zip    the archives
    bytecode/sets/KEY.json            {"schema": 1, "sha256": …, "bytes": …, "unpacked_bytes": …}; the key is made of
                                      the wheel's hash and the byte code's magic number
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import platform
import posixpath
import sys
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..agent.unpack import installed_path
from ..cache import cache_folder, file_sha256, storage_errors, write_atomically
from .wheels import Wheel, keep_file, kept_file

SCHEMA = 1
# PEP 552: a word of flags behind the magic number; bit 0, a hash of the source follows; bit 1, it is to be checked.
UNCHECKED_HASH = (1).to_bytes(4, "little")
# The first moment that a zip archive can name: equal contents make equal archives.
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ByteCode:
    """An archive of byte code in the host's cache; ``unpacked_bytes`` is its files' sizes together."""

    path: Path
    sha256: str
    bytes: int
    unpacked_bytes: int


def same_bytecode(python: str) -> bool:
    """Whether a device's CPython, "3.11.2", runs the byte code of this interpreter: the same minor version, released.

    Between alphas, betas and candidates the byte code changes: those must be the very same.
    """
    if sys.implementation.name != "cpython":
        return False
    own = platform.python_version()
    released = all(version.replace(".", "").isdecimal() for version in (own, python))
    return python.split(".")[:2] == own.split(".")[:2] if released else python == own


def compile_wheel(wheel: Wheel) -> ByteCode:
    """The byte code of a wheel's modules: from the cache, or compiled now (20 s for torch and what it requires).

    Of use only where ``same_bytecode``. Sources that do not compile, such as templates, are left out.

    Raises:
        StorageError: the cache cannot be written.
    """
    root = cache_folder() / "bytecode"
    record = root / "sets" / f"{wheel.sha256}-{importlib.util.MAGIC_NUMBER.hex()}.json"
    if (known := _read(record, root)) is not None:
        return known
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".compile-", dir=root, ignore_cleanup_errors=True) as work:
            made = Path(work, f"{wheel.path.stem}.{sys.implementation.cache_tag}.zip")
            unpacked = _compile_into(wheel.path, made)
            sha256, size = file_sha256(made), made.stat().st_size
            result = ByteCode(keep_file(root, made, sha256), sha256, size, unpacked)
    entry = {"schema": SCHEMA, "sha256": sha256, "bytes": size, "unpacked_bytes": unpacked}
    write_atomically(record, json.dumps(entry, indent=1) + "\n")
    return result


def _read(record: Path, root: Path) -> ByteCode | None:
    try:
        entry = json.loads(record.read_text(encoding="utf-8"))
        path = kept_file(root, entry["sha256"]) if entry["schema"] == SCHEMA else None
        return ByteCode(path, entry["sha256"], entry["bytes"], entry["unpacked_bytes"]) if path is not None else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _compile_into(wheel: Path, target: Path) -> int:
    """Write the archive; returns its files' sizes together."""
    unpacked = 0
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in sorted(source.namelist()):
            path = installed_path(member) if member.endswith(".py") else None
            if path is None or (code := _compiled(source.read(member), path)) is None:
                continue
            folder, name = posixpath.split(path)
            name = f"{name.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"
            info = zipfile.ZipInfo(posixpath.join(folder, "__pycache__", name), EPOCH)
            info.external_attr = 0o100644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, code)
            unpacked += len(code)
    return unpacked


def _compiled(source: bytes, path: str) -> bytes | None:
    """A .pyc's content as PEP 552 lays it out; None for what does not compile.

    Its path is for tracebacks only, and Python puts the real one in its place when it loads the module.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages' own "\d": nobody here can mend them
            code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    head = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(source)
    return head + marshal.dumps(code)
