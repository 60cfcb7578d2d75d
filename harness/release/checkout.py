"""A commit written into a folder of its own: where a model file is read as it was committed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ..host.cache import storage_errors
from ..model.model_file import ModelFile
from ..model.user_code import is_installed, source_sha256
from .repository import LINK, SUBMODULE, Node, NotThere, children

# What Git LFS stores in a file's place.
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n")
_LARGEST_POINTER = 1024


def check_out(commit: Node, folder: Path, top: Path, replaced: Mapping[tuple[bytes, ...], bytes]) -> None:
    """Write a commit's files and links into an empty folder, as they are stored: no filter is run.

    A submodule that was not fetched becomes an empty folder. A file that Git LFS keeps is copied from the working tree,
    if it has the hash that the commit names; else its pointer is written.

    Args:
        commit: the commit's folder.
        folder: where to write; it exists, and is empty.
        top: the folder of the working tree.
        replaced: what to write in place of what is stored, by path.

    Raises:
        NotThere: the repository lacks a part of the commit, or the commit has a name that no file can have.
        StorageError: the folder cannot be written.
    """
    with storage_errors(folder):
        _write(commit, (), folder, top, replaced)


def _write(
    node: Node, way: tuple[bytes, ...], folder: Path, top: Path, replaced: Mapping[tuple[bytes, ...], bytes]
) -> None:
    for name, child in children(node):
        if name in (b"", b".", b"..", b".git") or b"/" in name:
            raise NotThere("{commit} has a name that no file can have", "look at it with git fsck")
        place, path = folder / os.fsdecode(name), (*way, name)
        if child.mode == SUBMODULE:
            place.mkdir()
            _write_submodule(child, path, place, top, replaced)
        elif child.mode == LINK:
            place.symlink_to(os.fsdecode(child.read()))
        elif child.is_file:
            _write_file(replaced.get(path) or child.read(), place, top.joinpath(*map(os.fsdecode, path)))
            place.chmod(0o755 if child.mode & 0o100 else 0o644)
        else:
            place.mkdir()
            _write(child, path, place, top, replaced)


def _write_submodule(
    child: Node, path: tuple[bytes, ...], place: Path, top: Path, replaced: Mapping[tuple[bytes, ...], bytes]
) -> None:
    outer = child.repository
    inside = tuple(map(os.fsencode, top.joinpath(*map(os.fsdecode, path)).relative_to(outer.top).parts))
    try:
        root = outer.submodule(inside, child.oid)
    except NotThere:
        return
    _write(root, path, place, top, replaced)


def _write_file(content: bytes, place: Path, original: Path) -> None:
    pointer = _POINTER.match(content) if len(content) < _LARGEST_POINTER else None
    if pointer is not None and original.is_file():
        with original.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 == pointer[1].decode():
            shutil.copyfile(original, place)
            return
    with place.open("xb") as file:
        file.write(content)


def loaded_sources(file: ModelFile, folder: str) -> list[tuple[str, str]]:
    """List the sources below a folder that a model file has loaded, and their hashes as they were read: a question.

    What is installed there, as in an environment of the project's, is left out: the commit does not have it.
    """
    del file  # it has been read
    place, found = Path(folder), dict[str, str]()
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        path = Path(name).resolve() if isinstance(name, str) and name.endswith(".py") else None
        if path is not None and path.is_relative_to(place) and not is_installed(path) and path.is_file():
            sha256 = source_sha256(path) or hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(place))] = sha256
    return sorted(found.items())
