"""Folders of the cache that are looked at before they are used: what was cut short or written to since is not used.

    FOLDER/record.json     {"schema": 1, "made": …, "files": {NAME: {"bytes": …, "mtime": …}}, and what its maker adds}

Sizes and times of modification, in whole seconds, which archives keep too: gigabytes are not read at every start. What
changes neither is not noticed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORD = "record.json"
SCHEMA = 1


def seal(folder: Path, record: Mapping[str, Any]) -> None:
    """Note what is in a folder, and what is to be known of it."""
    content = {"schema": SCHEMA, "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "files": _files(folder)}
    text = json.dumps({**content, **record}, indent=1, sort_keys=True) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
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
    found = _files(folder)
    for name, wanted in sealed.items():
        if found.get(name) != wanted:
            raise ValueError(f"{name}: wanted {wanted}, found {found.get(name, 'no such file')}")
    if not sealed:
        raise ValueError(f"{RECORD} names no files, or has another schema")
    return dict(record)


def _files(folder: Path) -> dict[str, dict[str, int]]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != RECORD:
            status = path.stat()
            found[path.name] = {"bytes": status.st_size, "mtime": int(status.st_mtime)}
    return found
