"""Byte code compiled on the host: a small board takes minutes to compile torch, and its runtime's folder is read-only.

Each wheel gets an archive with ``PACKAGE/__pycache__/X.cpython-311.pyc`` for every ``.py`` that is unpacked and
compiles. Python uses these without checking their sources (PEP 552, "unchecked"), so the times of unpacking do not
matter. They are in the cache's store "bytecode" (see archive), by the wheel's hash and the byte code's magic number.
"""

from __future__ import annotations

import importlib.util
import marshal
import platform
import posixpath
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..agent.unpack import installed_path
from .archive import Archive, Packer, provide_archive
from .wheels import Wheel

# PEP 552: the flags after the magic number; bit 0: a hash of the source follows; bit 1: it must be checked.
UNCHECKED_HASH = (1).to_bytes(4, "little")


def same_bytecode(python: str) -> bool:
    """Return whether a device's CPython ("3.11.2") runs this interpreter's byte code.

    It does with the same minor version; pre-releases must be identical, because the byte code changes between them.
    """
    if sys.implementation.name != "cpython":
        return False
    own = platform.python_version()
    released = all(version.replace(".", "").isdecimal() for version in (own, python))
    return python.split(".")[:2] == own.split(".")[:2] if released else python == own


def compile_wheel(wheel: Wheel) -> Archive:
    """Compile a wheel's modules to byte code, or take it from the cache (20 s for torch and what it requires).

    Only of use where ``same_bytecode`` is true. Sources that do not compile, such as templates, are left out.

    Raises:
        StorageError: the cache cannot be written.
    """
    key = f"{wheel.sha256}-{importlib.util.MAGIC_NUMBER.hex()}"
    name = f"{wheel.path.stem}.{sys.implementation.cache_tag}"

    def fill(packer: Packer, work: Path) -> Mapping[str, Any]:
        with zipfile.ZipFile(wheel.path) as source:
            for member in sorted(source.namelist()):
                path = installed_path(member) if member.endswith(".py") else None
                if path is not None and (code := _compiled(source.read(member), path)) is not None:
                    folder, file = posixpath.split(path)
                    file = f"{file.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"
                    packer.add(posixpath.join(folder, "__pycache__", file), code)
        return {}

    return provide_archive("bytecode", key, name, fill)


def _compiled(source: bytes, path: str) -> bytes | None:
    """Compile a source to the content of a .pyc file (PEP 552); return None if it does not compile.

    Args:
        source: the module's text.
        path: for tracebacks; Python replaces it by the real one when it loads the module.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escapes in the packages, which the user cannot fix
            code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    head = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(source)
    return head + marshal.dumps(code)
