"""Keepers that somebody stopped (SIGSTOP): they serve nobody, cannot see their host go, and may have no lock or record
by which the next run would find them (issue 17)."""

from __future__ import annotations

import os
import signal

from ..facts import read_text
from ..orphans import end, identity, uid_of

# Exported by the script that starts a keeper, and by no other of ours (harness/board/keeper.py).
MARK = "HILGATE_PYTHON="


def end_stopped() -> list[int]:
    """End those that are this user's own, also where we are root and see everybody's; returns their pids."""
    ended = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        process = identity(pid)
        if process is None or process[2] != "T" or uid_of(pid) != os.geteuid():
            continue
        if any(line.startswith(MARK) for line in read_text(f"/proc/{pid}/environ").split("\0")):
            ended += [pid] if end(pid, process[1], signal.SIGKILL) else []
    return ended
