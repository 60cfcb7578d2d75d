"""Processes on a device that outlived their run: found and ended by the next run, which holds the device's lock.

Everything started from a store leaves a record of itself there. A pid alone proves nothing, for pids are used again: a
process is the recorded one only when it was started at the same clock tick of the same boot, by our user, from the same
executable; and a record counts only where our user has written it (issue 17, point 5). What an agent has started and
did not take along when it died is known by its environment, where the run's name stands.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

from .facts import read_text
from .private import make_folder, open_new, read_file_of

PATIENCE_S = 2.0
# The run that a process works for, in the environment of the agent and so of all that it starts.
MARK = "HILGATE_RUN"
# In place of the program of a process that may not be looked at: one of our own user's that has credentials forbids it.
HIDDEN = "?"


def identity(pid: int) -> tuple[int, int, str] | None:
    """Return (parent's pid, start in clock ticks since boot, state) of a process; None where there is none.

    From /proc/PID/stat, see proc(5); the command's name may hold blanks and parentheses, so fields count from its end.
    """
    text = read_text(f"/proc/{pid}/stat")
    if not text:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), int(fields[19]), fields[0]


def boot_id() -> str:
    """Return the kernel's name for this boot, a UUID."""
    return read_text("/proc/sys/kernel/random/boot_id")


def uid_of(pid: int) -> int | None:
    """Return the user whom a process belongs to; None where there is none, or it is hidden (hidepid, proc(5))."""
    found = re.search(r"^Uid:\s*(\d+)", read_text(f"/proc/{pid}/status"), re.MULTILINE)
    return int(found[1]) if found else None


def executable(pid: int) -> str:
    """Return the path of the program that a process runs; HIDDEN where it may not be looked at, "" where it is gone."""
    try:
        # A file that was replaced meanwhile counts as the same program.
        return re.sub(r" \(deleted\)$", "", os.readlink(f"/proc/{pid}/exe"))
    except PermissionError:
        return HIDDEN
    except OSError:
        return ""


def own_identity() -> dict[str, Any]:
    """Return what identifies this process: "pid", "start", "boot", "exe"."""
    pid = os.getpid()
    me = identity(pid)
    return {"boot": boot_id(), "pid": pid, "start": me[1] if me else 0, "exe": executable(pid)}


def write_record(folder: str, run: str = "") -> str:
    """Leave a record of this process in a folder; return its path, which a process that ends normally removes.

    Args:
        folder: that of the records.
        run: the run that it works for; a lost connection of the same run does not end it.
    """
    make_folder(folder)
    path = os.path.join(folder, f"{os.getpid()}.json")
    try:
        with open(open_new(path + ".new"), "w", encoding="utf-8") as file:
            json.dump({**own_identity(), "run": run}, file)
        os.replace(path + ".new", path)
    except OSError:
        _remove(path + ".new")
        raise
    return path


def living(folder: str) -> list[dict[str, Any]]:
    """Return the records of processes that are still alive."""
    return [record for _, record in _records(folder) if is_alive(record)]


def reap(folder: str, spare: str | None = None) -> list[int]:
    """End every recorded process and what it has started; return the pids of those that were still alive.

    A record stays as long as its process cannot be ended.

    Args:
        folder: that of the records.
        spare: the run whose processes may go on.
    """
    reaped = []
    for path, record in _records(folder):
        if spare is not None and record["run"] == spare:
            continue
        if is_alive(record):
            if not end(record["pid"], record["start"], signal.SIGKILL, record.get("exe", "")):
                continue
            reaped.append(record["pid"])
        reaped += end_marked(record["run"])
        _remove(path)
    return reaped


def end_marked(run: str) -> list[int]:
    """End what an agent of a run has left behind; return the pids."""
    mark = f"{MARK}={run}"
    marked = [
        int(name)
        for name in os.listdir("/proc")
        if run and name.isdecimal() and mark in read_text(f"/proc/{name}/environ").split("\0")
    ]
    found = [(pid, process[1]) for pid in marked for process in [identity(pid)] if process and pid != os.getpid()]
    return [pid for pid, start in found if end(pid, start, signal.SIGKILL)]


def end(pid: int, start: int, number: int, exe: str = "") -> bool:
    """Send a signal to a process and to the group that it leads; return whether it ended within PATIENCE_S.

    Nothing is sent to a process of that pid which was started at another time, by another user, or from another
    executable.

    Args:
        pid: the process.
        start: when it was started, in clock ticks since boot.
        number: the signal's.
        exe: its executable's path; "" where that is not recorded.
    """
    if not _is_there(pid, start):
        return True
    found = executable(pid) if exe else exe
    if uid_of(pid) != os.getuid() or found not in (exe, HIDDEN, ""):
        return not _is_there(pid, start)
    if found in (exe, HIDDEN):  # a process that is exiting has no executable any more, and is only waited for
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
        if not _is_there(pid, start):
            return True
        time.sleep(0.01)
    return False


def is_alive(record: dict[str, Any]) -> bool:
    """Whether the process that a record describes ("pid", "start", "boot") is still there, and is ours."""
    return (
        record["boot"] == boot_id()
        and _is_there(record["pid"], record["start"])
        and uid_of(record["pid"]) == os.getuid()
    )


def _is_there(pid: int, start: int) -> bool:
    process = identity(pid)
    return process is not None and process[1] == start and process[2] not in "ZX"


def _records(folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except FileNotFoundError:
        return
    for name in names:
        path = os.path.join(folder, name)
        try:
            record = json.loads(read_file_of(path))
            kinds = [type(record[key]) for key in ("pid", "start", "boot", "run")]
        except (ValueError, KeyError, TypeError):
            kinds = []
        if kinds == [int, int, str, str]:
            yield path, record
        else:
            _remove(path)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):  # it is gone; or a folder of that name, which is no record either
        os.unlink(path)
