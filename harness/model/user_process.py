"""Processes in which the user's code runs, the model's and the export's: what they find, may take, and how they end."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ..agent.facts import memory_mib, read_text

PR_SET_PDEATHSIG = 1
# How often one is looked at while it works.
LOOK_S = 0.25


@dataclass(frozen=True)
class Bounds:
    """What such a process may take.

    Attributes:
        seconds: for one question, or one export. Exporting ViT-B/16 takes ten; an hour is far beyond anything that was
            seen.
        reading_s: for a question that needs no module, for which the file is read: what is built there is built twice.
        memory_mib: of memory of its own, with all that it has forked. Mapped files do not count: the kernel takes them
            back by itself. A limit on address space (RLIMIT_AS) would not do: torch reserves tens of GiB, and uses
            little of it.
    """

    seconds: float = 3600.0
    reading_s: float = 600.0
    # The rest is for pytest, its device and the desktop: beyond, a machine without swap stands still.
    memory_mib: float = field(default_factory=lambda: 0.8 * memory_mib() or math.inf)


def end_with(parent: int) -> bool:
    """Have this process killed when the one that started it ends; False where that has ended already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def environment() -> dict[str, str]:
    """Ours, but for what makes warnings errors: that is meant for the project's own tests."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}


def search_path() -> tuple[str, ...]:
    """Where this process finds modules, hilgate itself among them, for a process that may have another folder."""
    return tuple(str(Path(folder).absolute()) for folder in sys.path)


def used_mib(leader: int, enough: float = math.inf) -> float:
    """Memory of a process and of all in its session, in MiB.

    Args:
        leader: the process, which leads the session.
        enough: up to here a number that is too large will do: what a fork shares with its parent counts for each, and
            telling that apart takes the kernel a walk over all pages.
    """
    session = _session(leader)
    used = sum(_own_mib(pid) for pid in session)
    if used <= enough or len(session) == 1:
        return used
    return sum(_share_mib(pid) for pid in session)


def _session(leader: int) -> list[int]:
    """The processes of a session: field 6 of /proc/PID/stat; see proc(5)."""
    numbers = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    wanted = str(leader)
    return [pid for pid in numbers if read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[3:4] == [wanted]]


def _own_mib(pid: int) -> float:
    """Anonymous memory, and shared beside mapped files; see proc(5)."""
    return _sum_mib(f"/proc/{pid}/status", "RssAnon:", "RssShmem:")


def _share_mib(pid: int) -> float:
    """The same, but of what several processes have, its share only; where the kernel does not say, all."""
    rollup = f"/proc/{pid}/smaps_rollup"
    return _sum_mib(rollup, "Pss_Anon:", "Pss_Shmem:") if "Pss_Anon:" in read_text(rollup) else _own_mib(pid)


def _sum_mib(path: str, *names: str) -> float:
    lines = (line.split() for line in read_text(path).splitlines())
    return sum(int(line[1]) for line in lines if line and line[0] in names) / 1024


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, and what it has forked.

    It must not have been waited for: as long as it is a zombie its number is no other's.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
