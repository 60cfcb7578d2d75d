"""Drops what a start reads from the page cache, and reports how much stayed.

It sends two frames (see wire). With the first it has looked at the process that runs the model: "seen", whether it was
shown what that has mapped; "read_bytes", what that has had read from disks, or null. The host then ends that process,
for what it has mapped would stay, and sends a byte; the second frame is the report.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from ..wire import pack_head
from .mappings import holders, mapped_kib, read_bytes
from .residency import PAGE, Dropped, drop_file

# How many files and processes a report names at most.
NAMED = 8
# Where the standard library has what no start imports, or what is no part of it.
NOT_STANDARD = ("site-packages", "dist-packages", "test", "tests", "idlelib")


def main(arguments: list[str]) -> None:
    """Drop pages, as the one argument in JSON asks for it.

    It has "folders", of which every file is dropped (links to folders in them are not followed); "packages", folders of
    which the modules are; "standard_library", whether this Python's modules are; and "pid", the process all mapped
    files of which are.
    """
    asked = json.loads(arguments[0])
    mapped = mapped_kib(asked["pid"])
    _send({"seen": bool(mapped), "read_bytes": read_bytes(asked["pid"])})
    if not os.read(0, 1):
        return
    try:
        _send(drop(_paths(asked, mapped), mapped))
    except (OSError, AttributeError) as error:  # AttributeError: a kernel that is not Linux has no posix_fadvise
        _send({"error": f"{type(error).__name__}: {error}"})


def _send(header: dict[str, Any]) -> None:
    view = memoryview(pack_head(header))
    while view:
        view = view[os.write(1, view) :]


def _paths(asked: dict[str, Any], mapped: Iterable[str]) -> Iterator[str]:
    """List what a start reads; what is mapped first, under the names by which it is mapped."""
    yield from mapped
    for top in asked["folders"]:
        for folder, _, names in os.walk(os.path.realpath(top)):
            yield from (f"{folder}/{name}" for name in names)
    for top in asked["packages"]:
        yield from _modules(os.path.realpath(top))
    if asked["standard_library"]:
        yield from _modules(os.path.dirname(os.path.realpath(os.__file__)), NOT_STANDARD)


def _modules(top: str, without: Iterable[str] = ()) -> Iterator[str]:
    """List the modules of a folder of packages: compiled ones, and sources where there are none of these.

    Libraries are known from what the process has mapped. Nothing else is listed: an environment has ten thousands of
    files that no start reads, and opening each takes as long as to drop it.
    """
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if name not in without]
        suffix = ".py" if "__pycache__" not in folders else ".pyc"
        yield from (f"{folder}/{name}" for name in names if name.endswith((suffix, ".pyc")))


def drop(paths: Iterable[str], mapped: dict[str, int]) -> dict[str, Any]:
    """Drop the pages of files, and describe what stayed.

    Args:
        paths: the files; what is none of the regular ones is left out, and what is listed twice.
        mapped: the KiB that the process used of those that it had mapped.

    Returns:
        "page_bytes"; "files", their number, and "unreadable", how many of them could not be opened; pages: "pages" in
        all, "before" and "after" of those that were and are resident, "untold" of those that the process used and of
        which this user is not told whether they are; "kept", the "path" and "pages" of the files of which most stayed;
        "holders", the "pid" and "name" of processes that have such files mapped, and "hidden", how many processes hide
        what they have mapped.
    """
    dropped: dict[str, Dropped] = {}
    seen: set[tuple[int, int]] = set()
    unreadable = untold = 0
    for path in paths:
        try:
            status = os.stat(path)
            key = status.st_dev, status.st_ino
            if stat.S_ISREG(status.st_mode) and key not in seen:
                seen.add(key)
                dropped[path] = drop_file(path)
        except OSError:
            unreadable += 1
    for path, kib in mapped.items():
        if path not in dropped or dropped[path].after is None:
            untold += -(-kib * 1024 // PAGE)
    stayed = {path: item.after for path, item in dropped.items() if item.after}
    largest = sorted(stayed, key=lambda path: stayed[path], reverse=True)
    found, hidden = holders(stayed) if stayed else ([], 0)
    return {
        "page_bytes": PAGE,
        "files": len(dropped),
        "unreadable": unreadable,
        "pages": sum(item.pages for item in dropped.values()),
        "before": sum(item.before or 0 for item in dropped.values()),
        "after": sum(stayed.values()),
        "untold": untold,
        "kept": [{"path": path, "pages": stayed[path]} for path in largest[:NAMED]],
        "holders": found[:NAMED],
        "hidden": hidden,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
