"""Processes that run the user's code (the model's, the export's): their environment, their bounds, and their end."""

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
# How often, in seconds, a process's use of time and memory is checked while it works.
LOOK_S = 0.25


@dataclass(frozen=True)
class Bounds:
    """What a process that runs the user's code may take.

    Attributes:
        seconds: For one question or one export, in seconds. Exporting ViT-B/16 takes ten; an hour is far beyond
            anything that was seen.
        reading_s: For a question that only needs the file to be read, in seconds: what the file builds when it is
            imported is built once more by build().
        memory_mib: Its own memory, with all processes that it has forked, in MiB. Mapped files do not count, because
            the kernel drops them by itself. RLIMIT_AS is of no use: torch reserves tens of GiB and uses little of it.
    """

    seconds: float = 3600.0
    reading_s: float = 600.0
    # The rest is for pytest, the device and the desktop: a machine without swap that has none left stands still.
    memory_mib: float = field(default_factory=lambda: 0.8 * memory_mib() or math.inf)


def end_with(parent: int) -> bool:
    """Have the kernel kill this process when its parent ends; return False if the parent has ended already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def environment() -> dict[str, str]:
    """Return our environment without PYTHONWARNINGS, by which the project's own tests make warnings errors."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}


def search_path() -> tuple[str, ...]:
    """Return the absolute paths on which this process finds modules, hilgate included, for a process to be started."""
    return tuple(str(Path(folder).absolute()) for folder in sys.path)


def used_mib(leader: int, enough: float = math.inf) -> float:
    """Measure the memory of a process and of all others in its session, in MiB.

    Args:
        leader: The process, which leads the session.
        enough: Up to here an upper estimate will do, in which memory that a fork shares with its parent counts twice:
            telling it apart makes the kernel walk over all pages.
    """
    session = _session(leader)
    upper_mib = sum(_own_mib(pid) for pid in session)
    if upper_mib <= enough or len(session) == 1:
        return upper_mib
    return sum(_share_mib(pid) for pid in session)


def _session(leader: int) -> list[int]:
    """List the processes of a session, by field 6 of /proc/PID/stat; see proc(5)."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    session = [str(leader)]
    return [pid for pid in pids if read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[3:4] == session]


def _own_mib(pid: int) -> float:
    """Read a process's anonymous and shared memory, without mapped files; see proc(5)."""
    return _sum_mib(f"/proc/{pid}/status", "RssAnon:", "RssShmem:")


def _share_mib(pid: int) -> float:
    """Read the same with only its share of what several processes use; all of it if the kernel does not tell."""
    rollup = f"/proc/{pid}/smaps_rollup"
    return _sum_mib(rollup, "Pss_Anon:", "Pss_Shmem:") if "Pss_Anon:" in read_text(rollup) else _own_mib(pid)


def _sum_mib(path: str, *names: str) -> float:
    lines = (line.split() for line in read_text(path).splitlines())
    return sum(int(line[1]) for line in lines if line and line[0] in names) / 1024


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session, and all that it has forked.

    It must not have been waited for: as long as it is a zombie, its number is not given to another process.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
