"""The record of a folder of the cache, checked before use: a folder that is incomplete or was changed is not used.

    FOLDER/record.json     {"schema": 1, "made": …, "files": {NAME: {"bytes": …, "mtime": …}}, and what its maker adds}

Only sizes and times of modification are compared (in whole seconds, which archives keep too), so that gigabytes are not
read at every start. A change of neither is found when the files are hashed, once a day: see ``harness.host.manifest``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..host.bounded import pin

RECORD = "record.json"
SCHEMA = 1


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write a folder's record, and flush the folder to the disk.

    Otherwise a host whose power fails could be left with files of the right size that are full of zeros.

    Args:
        folder: the folder, with all its files.
        record: what its maker adds.
    """
    for path in folder.iterdir():
        _sync(path)
    content = {"schema": SCHEMA, "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "files": _files(folder)}
    text = json.dumps({**content, **record}, indent=1, sort_keys=True) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")
    _sync(folder / RECORD)
    _sync(folder)


def read_record(folder: Path) -> dict[str, Any]:
    """Read a folder's record, and check its files against it.

    Raises:
        ValueError: it does not fit; says what is wrong. A folder that is not there has "no record.json".
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        sealed = dict(record["files"]) if record["schema"] == SCHEMA else {}
    except FileNotFoundError:
        raise ValueError(f"no {RECORD}") from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{RECORD} cannot be read: {error}") from None
    try:
        found = _files(folder)
    except FileNotFoundError as error:
        raise ValueError(f"it is being removed: {error.filename}") from None
    for name, wanted in sealed.items():
        if found.get(name) != wanted:
            raise ValueError(f"{name}: wanted {_said(wanted)}; found {_said(found.get(name))}")
    if not sealed:
        raise ValueError(f"{RECORD} names no files, or has another schema")
    return dict(record)


def pin_whole(folder: Path) -> dict[str, Any] | None:
    """Return a folder's record if it fits, and pin the folder until this process ends; None where it does not."""
    try:
        read_record(folder)  # before it is pinned: a damaged folder has to be evictable
        return read_record(folder) if pin(folder) else None
    except ValueError:
        return None


def describe_damage(folder: Path) -> str:
    """Describe what is wrong with a folder."""
    try:
        read_record(folder)
    except ValueError as error:
        return str(error)
    return "it was, a moment ago"


def _said(file: object) -> str:
    """Describe the size and time of a file for a person."""
    if not isinstance(file, dict) or set(file) != {"bytes", "mtime"}:
        return "no such file" if file is None else repr(file)
    changed = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(file["mtime"]))
    return f"{file['bytes']} bytes, last changed {changed}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> dict[str, dict[str, int]]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != RECORD and not path.name.startswith("."):  # see harness.host.manifest
            status = path.stat()
            found[path.name] = {"bytes": status.st_size, "mtime": int(status.st_mtime)}
    return found
