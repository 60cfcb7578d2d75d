"""Which processes there are, read from /proc: also those in a pid namespace below ours."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat."""

    pid: int
    parent: int
    name: str

    def kill(self, number: int) -> None:
        """Send a signal; it may have ended meanwhile."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def innermost_pid(self) -> int:
        """Its pid as it sees it itself; 0 if it has ended."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return next((int(line.split()[-1]) for line in lines if line.startswith("NSpid:")), 0)


def descendants(root: int) -> list[Process]:
    """All living processes below one, parents before their children."""
    children: dict[int, list[Process]] = {}
    for process in _all():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(0), [])
        found += below
        waiting += [process.pid for process in below]
    return found


def _all() -> list[Process]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name stands in parentheses and may hold some itself, so the last one counts.
            head, _, tail = path.read_text(errors="replace").rpartition(") ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid, _, name = head.partition(" (")
        state, parent = tail.split()[:2]
        if state not in "ZX":
            found.append(Process(int(pid), int(parent), name))
    return found
