"""First start: from a process's start to its first answer where nothing of it is in the page cache, as after power-on.

How pages are dropped, and how many stayed: see harness.deploy.page_cache. That it worked is seen twice: pages are
counted when they have been dropped, and each process must have read from the disk what it needs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ..checks.finding import Finding
from ..checks.limits import Metric
from ..deploy import plausibility
from ..deploy.deployer import Deployer
from ..deploy.deployment import Deployment, LoadReport
from ..deploy.page_cache import Dropper
from ..errors import DaemonFailure, ImpossibleReport, LinkLost, ProtocolError
from ..model.inputs import Arrays
from ..protocol.page_cache import Dropped
from . import validity
from .measurement import PROCESSES

FIRST_START = Metric(
    "first_start_s",
    "s",
    "from the process's start to its first inference done, worst of 3, page cache cold as after power-on",
    wall_clock=True,
    device_limit=True,
)
METRICS = (FIRST_START,)

UNASKED = "measured only where a limit is set on it, for it costs three more starts: limits={'first_start_s': …}"
# Up to this share of what a start needs may have been in the page cache. What it would have taken to read is allowed
# for in the bound, as if it took as long as all else and the start did nothing but read; where more was there, that
# says too little of a start after power-on.
SPARED_ALLOWED = 0.25
# How many processes that keep pages are named in a reason, and in the evidence.
NAMED, MOST_NAMED = 3, 16
NOT_DROPPED = (
    "first_start_s: only root could drop what the kernel keeps of folders and of files' places on the disk; after "
    "power-on that is read, too, which a start of thousands of small files notices"
)


@dataclass(kw_only=True)
class FirstStarts:
    """The first starts of a cell.

    Attributes:
        loads: Each process's load report.
        dropped: What the device reported before each of them.
        read_bytes: What each of them had read from disks; None where the device does not know.
        states: The device's state before the first and after each start.
        idle_s: How long a call that does nothing took, by the host's clock; one per process.
        interruption: Why there are fewer than were wanted; "" if there are not.
    """

    loads: list[LoadReport] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    read_bytes: list[int | None] = field(default_factory=list)
    states: list[Mapping[str, Any]] = field(default_factory=list)
    idle_s: list[float] = field(default_factory=list)
    interruption: str = ""

    @property
    def seconds(self) -> list[float]:
        """From each process's start to its first answer, in seconds."""
        return [load.load_ns / 1e9 for load in self.loads]

    @property
    def needed_pages(self) -> int:
        """How many pages a start needs: those that were resident after one.

        More are resident where others have read the same files, or hilgate itself has, when it stored and hashed them:
        the fewest count. What is too many all the same is missing in what the process reads; see ``spared``.
        """
        return min((report.before for report in self.dropped), default=0)

    @property
    def spared(self) -> list[float]:
        """The share, 0 to 1, of what a start needs that it did not have to read, in each of them.

        It is what was still resident before it, where pages of which the device's user is not told count as resident
        as far as the model's process uses them; or what was not read from a disk by the process, where that is more:
        others may have read files again since they were dropped, and a file system or a disk far away may have a cache
        of its own.
        """
        shares = []
        for report, read in zip(self.dropped, self.read_bytes, strict=True):
            needed = max(self.needed_pages + report.untold, 1)
            resident = (report.after + report.untold) / needed
            unread = 1 - (read or 0) / (needed * report.page_bytes)
            shares.append(min(max(resident, unread), 1.0))
        return shares

    @property
    def impossible(self) -> str:
        """Why the reported load times cannot be true; "" if they can."""
        for load in self.loads:
            if reason := plausibility.why_load_impossible(load.load_ns, load.first_ns, load.call, load.host_s):
                return reason
        calls = [load.call for load in self.loads if load.call is not None]
        return plausibility.why_rate_impossible(calls, statistics.median(self.idle_s)) if self.idle_s else ""

    @property
    def state_doubt(self) -> str:
        """Why the device was in no state to be measured, such as throttled; "" if it was."""
        reasons = [validity.doubt(before, after) for before, after in pairwise(self.states)]
        return "; ".join(dict.fromkeys(filter(None, reasons)))


def take_first_starts(
    deployer: Deployer, inputs: Sequence[Arrays], time_limit_s: float, report: Callable[[int], None]
) -> FirstStarts:
    """Start a cell's process several times, each time with nothing of it in the device's page cache.

    A connection that drops ends it: when it is back, nobody knows what the device has read meanwhile.

    Args:
        deployer: Starts the processes.
        inputs: One set of inputs, on which the device's state is asked for.
        time_limit_s: The time for all of them, in seconds; one is started at least.
        report: Called with how many processes have been started.

    Raises:
        DeploymentError: The model cannot be run there.
        LinkError: The device cannot be reached.
    """
    starts, end = FirstStarts(), time.monotonic() + time_limit_s
    dropper: Dropper | None = None
    try:
        starts.states.append(_state(deployer.shared()[0], inputs))
        dropper = Dropper.start(deployer)
        while len(starts.loads) < PROCESSES and (not starts.loads or time.monotonic() < end):
            dropped = dropper.drop()
            deployment, load = deployer.fresh()
            dropper = Dropper.start(deployer)
            starts.read_bytes.append(dropper.read_bytes)
            starts.dropped.append(dropped)
            starts.loads.append(load)
            deployment.memory_kib()
            starts.idle_s.append(deployment.last_call.host_s)
            starts.states.append(_state(deployment, inputs))
            report(len(starts.loads))
    except (LinkLost, DaemonFailure, ProtocolError, ImpossibleReport) as error:
        starts.interruption = ": ".join(filter(None, [error.what, " ".join(error.found.split())]))
    finally:
        if dropper is not None:
            dropper.close()
    return starts


def _state(deployment: Deployment, inputs: Sequence[Arrays]) -> Mapping[str, Any]:
    """Ask for the device's state, which the agent reports with an inference that is timed."""
    _, reply = deployment.measure(inputs, 1, 0.0)
    state: Mapping[str, Any] = reply["after"]
    return state


def unasked() -> Finding:
    """Report that nobody has set a limit."""
    return Finding(FIRST_START, not_applicable=UNASKED, unasked=True)


def first_start(starts: FirstStarts) -> Finding:
    """Report the longest of the starts, in seconds.

    It is at least what a robot has after power-on, for what was in the page cache was not waited for. The upper bound
    adds what that would have taken, as long as it is little.
    """
    if impossible := starts.impossible:
        return Finding(FIRST_START, no_bound_reason=impossible)
    if not starts.loads:
        return Finding(FIRST_START, no_bound_reason=starts.interruption or "no process was started")
    worst, share = max(starts.seconds), max(starts.spared)
    bound = worst / (1 - share) if share <= SPARED_ALLOWED and None not in starts.read_bytes else None
    too_few = ""
    if len(starts.loads) < PROCESSES:
        too_few = starts.interruption or (
            f"{len(starts.loads)} of {PROCESSES} processes in the time: give it more with --time-limit"
        )
    return Finding(
        FIRST_START,
        worst,
        None if too_few else bound,
        bound_low=worst,
        samples=len(starts.loads),
        no_bound_reason=too_few,
        undecided_reason=too_few or _why_undecided(starts, share, bound),
        invalid_reason=starts.state_doubt,
        details=_details(starts),
        notes=(NOT_DROPPED,),
    )


def _why_undecided(starts: FirstStarts, share: float, bound: float | None) -> str:
    """Word why a limit above the worst start cannot be shown to be kept."""
    if None in starts.read_bytes:
        return "the device's kernel does not say what a process reads from disks (no read_bytes in /proc/PID/io)"
    why = f"{share:.0%} of what the start needs did not come from the disk"
    if named := _holders(starts)[:NAMED]:
        why += f"; of files that stayed in the page cache parts are mapped by {', '.join(named)}"
    if bound is None:
        return f"{why}. A robot reads all of it after power-on: its first start takes longer than this one"
    return f"{why}. Had that to be read like all else, the start could take {bound:.4g} s"


def _holders(starts: FirstStarts) -> list[str]:
    """Return the processes that have mapped what stayed, "NAME (PID)"; in the reports' order, each once."""
    named = (f"{each.name} ({each.pid})" for report in starts.dropped for each in report.holders)
    return list(dict.fromkeys(named))


def _details(starts: FirstStarts) -> dict[str, Any]:
    def mib(pages: int, report: Dropped) -> float:
        return round(pages * report.page_bytes / 2**20, 1)

    each = [
        {
            "files": report.files,
            "unreadable": report.unreadable,
            "resident_mib": mib(report.before, report),
            "stayed_mib": mib(report.after, report),
            "untold_mib": mib(report.untold, report),
            "read_mib": None if read is None else round(read / 2**20, 1),
            "kept": {kept.path: mib(kept.pages, report) for kept in report.kept},
            "pages": [report.before, report.after, report.untold],
            "page_bytes": report.page_bytes,
            "read_bytes": read,
        }
        for report, read in zip(starts.dropped, starts.read_bytes, strict=True)
    ]
    return {
        "each_s": starts.seconds,
        "page_cache": "cold",
        "spared_share": [round(share, 4) for share in starts.spared],
        "mapped_by": _holders(starts)[:MOST_NAMED],
        "dropped": each,
    }
