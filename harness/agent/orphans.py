"""Agents that outlived their run: found and ended by the next agent that starts in the same store.

Every agent leaves a record of itself and of its parent. A record whose process still lives is an orphan's when the
parent is no longer the one it was started by. A pid alone proves nothing, for pids are used again: a process is the
recorded one only when it was started at the same clock tick of the same boot.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from typing import Any

from .facts import read_text

PATIENCE_S = 2.0


def identity(pid: int) -> tuple[int, int, str] | None:
    """(parent's pid, start in clock ticks since boot, state) of a process; None where there is none.

    From /proc/PID/stat, see proc(5); the command's name may hold blanks and parentheses, so fields count from its end.
    """
    text = read_text(f"/proc/{pid}/stat")
    if not text:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), int(fields[19]), fields[0]


def boot_id() -> str:
    """Names this boot of this kernel."""
    return read_text("/proc/sys/kernel/random/boot_id")


def write_record(folder: str) -> str:
    """Leave a record of this process; returns its path, to be removed at a normal end."""
    os.makedirs(folder, exist_ok=True)
    me, parent = identity(os.getpid()), identity(os.getppid())
    record = {
        "boot": boot_id(),
        "pid": os.getpid(),
        "start": me[1] if me else 0,
        "parent": os.getppid(),
        "parent_start": parent[1] if parent else 0,
    }
    path = os.path.join(folder, f"{os.getpid()}.json")
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(path + ".new", path)
    return path


def reap(folder: str) -> list[int]:
    """End every orphan recorded in a folder; returns their pids. Records of processes that are gone are removed."""
    reaped = []
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    for name in names:
        path = os.path.join(folder, name)
        try:
            record = json.loads(read_text(path))
            alive, orphaned = _look_up(record)
        except (ValueError, KeyError, TypeError):
            alive, orphaned = False, False
        if orphaned and _end(record["pid"], record["start"]):
            reaped.append(record["pid"])
        if not alive or orphaned:
            _remove(path)
    return reaped


def _look_up(record: dict[str, Any]) -> tuple[bool, bool]:
    process = identity(record["pid"])
    same = process is not None and process[1] == record["start"] and record["boot"] == boot_id()
    if process is None or not same or process[2] in "ZX":
        return False, False
    parent = identity(record["parent"])
    return True, parent is None or process[0] != record["parent"] or parent[1] != record["parent_start"]


def _end(pid: int, start: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return False
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        process = identity(pid)
        if process is None or process[1] != start or process[2] in "ZX":
            return True
        time.sleep(0.01)
    return False


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
