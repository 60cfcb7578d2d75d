"""Keepers that somebody stopped (SIGSTOP): they serve nobody, cannot see their host go, and may have no lock or record
by which the next run would find them (issue 17)."""

from __future__ import annotations

import os
import signal

from ..facts import read_text
from ..orphans import end, identity

# Exported by the script that starts a keeper, and by no other of ours (harness/board/keeper.py).
MARK = "HILGATE_PYTHON="


def end_stopped() -> list[int]:
    """End those that are this user's, for nobody else may read their environment; returns their pids."""
    ended = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        process = identity(pid)
        if process is None or process[2] != "T" or pid == os.getpid():
            continue
        if any(line.startswith(MARK) for line in read_text(f"/proc/{pid}/environ").split("\0")):
            ended += [pid] if end(pid, process[1], signal.SIGKILL) else []
    return ended
