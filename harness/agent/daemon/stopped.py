"""Daemons that were stopped (SIGSTOP), and are ended by the next run.

They serve nobody, cannot notice that their host is gone, and may have no lock or record by which they could be found
(issue 17).
"""

from __future__ import annotations

import os
import signal

from ..facts import read_text
from ..orphans import end, identity, uid_of

# Exported by the script that starts a daemon, and by no other of ours (harness/board/daemon_client.py).
MARK = "HILGATE_PYTHON="


def end_stopped() -> list[int]:
    """End this user's stopped daemons, and no other user's even as root; return their pids."""
    ended = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        process = identity(pid)
        if process is None or process[2] != "T" or uid_of(pid) != os.geteuid():
            continue
        if any(line.startswith(MARK) for line in read_text(f"/proc/{pid}/environ").split("\0")):
            ended += [pid] if end(pid, process[1], signal.SIGKILL) else []
    return ended
