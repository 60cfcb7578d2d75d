"""Folders of the cache that are looked at before they are used: what was cut short or written to since is not used.

    FOLDER/record.json     {"schema": 1, "made": …, "files": {NAME: {"bytes": …, "mtime": …}}, and what its maker adds}

Sizes and times of modification, in whole seconds, which archives keep too: gigabytes are not read at every start. What
changes neither is noticed where the files are hashed again, once a day, see ``harness.host.manifest``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..host.bounded import hold

RECORD = "record.json"
SCHEMA = 1


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Note what is in a folder, and what is to be known of it; all of it is on the disk then.

    A host whose power fails would else be left with files of the right size, full of zeros.
    """
    for path in folder.iterdir():
        _sync(path)
    content = {"schema": SCHEMA, "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "files": _files(folder)}
    text = json.dumps({**content, **record}, indent=1, sort_keys=True) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")
    _sync(folder / RECORD)
    _sync(folder)


def read_record(folder: Path) -> dict[str, Any]:
    """A folder's record.

    Raises:
        ValueError: it is not what was sealed; says what is wrong. A folder that is not there has "no record.json".
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
    """A folder's record, if it is there and whole; in use from now until this process ends."""
    try:
        read_record(folder)  # what is damaged is not held: it has to go
        return read_record(folder) if hold(folder) else None
    except ValueError:
        return None


def describe_damage(folder: Path) -> str:
    """What is wrong with a folder that was sealed, in words."""
    try:
        read_record(folder)
    except ValueError as error:
        return str(error)
    return "it was, a moment ago"


def _said(file: object) -> str:
    """Size and time of a file, for a person."""
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
