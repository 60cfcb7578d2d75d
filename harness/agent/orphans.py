"""Processes on a device that outlived their run: found and ended by the next run, which holds the device's lock.

Everything started from a store leaves a record of itself there. A pid alone proves nothing, for pids are used again: a
process is the recorded one only when it was started at the same clock tick of the same boot.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
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


def write_record(folder: str, run: str = "") -> str:
    """Leave a record of this process; returns its path, to be removed at a normal end.

    Args:
        run: the run that it works for; a lost connection of the same run does not end it.
    """
    os.makedirs(folder, exist_ok=True)
    me = identity(os.getpid())
    record = {"boot": boot_id(), "pid": os.getpid(), "start": me[1] if me else 0, "run": run}
    path = os.path.join(folder, f"{os.getpid()}.json")
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(path + ".new", path)
    return path


def living(folder: str) -> list[dict[str, Any]]:
    """The records of processes that are still there; those of others are removed."""
    found = []
    for path, record in _records(folder):
        if is_alive(record):
            found.append(record)
        else:
            _remove(path)
    return found


def reap(folder: str, spare: str | None = None) -> list[int]:
    """End every recorded process, with its group where it leads one; returns their pids.

    Args:
        spare: the run whose processes may go on.
    """
    reaped = []
    for path, record in _records(folder):
        if is_alive(record):
            if spare is not None and record.get("run") == spare:
                continue
            if end(record["pid"], record["start"], signal.SIGKILL):
                reaped.append(record["pid"])
        _remove(path)
    return reaped


def end(pid: int, start: int, number: int) -> bool:
    """Send a signal to a process and to the group that it leads; whether it ended soon."""
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        process = identity(pid)
        if process is None or process[1] != start or process[2] in "ZX":
            return True
        time.sleep(0.01)
    return False


def _records(folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except FileNotFoundError:
        return
    for name in names:
        path = os.path.join(folder, name)
        try:
            record = json.loads(read_text(path))
            int(record["pid"]), int(record["start"]), str(record["boot"])
        except (ValueError, KeyError, TypeError):
            _remove(path)
            continue
        yield path, record


def is_alive(record: dict[str, Any]) -> bool:
    """Whether the process of a record ("pid", "start", "boot") is still there."""
    process = identity(record["pid"])
    same = process is not None and process[1] == record["start"] and record["boot"] == boot_id()
    return same and process is not None and process[2] not in "ZX"


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
