"""The cap: a limit on a process's memory tried out, in a memory cgroup of that size without swap.

VmHWM, which is judged, is what the process had resident; a cgroup counts otherwise: the page cache that the process
fills, which is reclaimable but slow to read again, the kernel's own memory for it, and no page that another has read
first. So before the try what the process reads is dropped from the page cache where that is possible.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..agent.pacing import NEVER
from ..deploy.deployer import Deployer
from ..deploy.deployment import Deployment
from ..deploy.memory_cap import capped_board, capped_deployer, is_limit, why_not
from ..deploy.page_cache import Dropper
from ..errors import (
    DaemonFailure,
    DeploymentError,
    HilgateError,
    ImpossibleReport,
    LinkLost,
    ProtocolError,
)
from ..model.inputs import Arrays
from ..network import Network
from ..protocol.memory_cap import Counted

# As many inferences as the issue asks for: enough for buffers that are made once to be there.
INFERENCES = 20
# The kernel counts in a long.
MOST_BYTES = 1 << 62
COLD, WARM = "cold", "warm"


@dataclass(frozen=True, kw_only=True)
class MemoryCap:
    """What came of a try under a limit.

    Attributes:
        limit_mib: The limit.
        unavailable: Why it could not be tried, and what to do about it; "" if it was.
        killed: Whether the kernel killed a process there, for the limit was reached.
        doubt: Why nobody knows how it went; "" if that is known.
        peak_mib: The most that the kernel counted; None where it does not tell (before Linux 5.19).
        slower: An inference's median there over one outside, both in a process that has just loaded; None where no
            clock is believed, or a network is shaped outside.
        inferences: How many came to their end there.
        events: memory.events of the group.
        page_cache: COLD where what the process reads was dropped before, else WARM.
    """

    limit_mib: float
    unavailable: str = ""
    killed: bool = False
    doubt: str = ""
    peak_mib: float | None = None
    slower: float | None = None
    inferences: int = 0
    events: Mapping[str, int] = field(default_factory=dict)
    page_cache: str = WARM

    @property
    def failure(self) -> str:
        """Why the check fails, whatever was resident outside; "" if it does not."""
        if not self.killed:
            return ""
        told = ", ".join(f"{name} {count}" for name, count in self.events.items() if count)
        done = f"after {self.inferences} inferences" if self.inferences else "before its inferences came to their end"
        return (
            f"the kernel killed it, {done}, in a memory cgroup that is limited to {self.limit_mib:g} MiB, without swap "
            f"(memory.events: {told})"
        )

    @property
    def described(self) -> dict[str, Any]:
        """The details of the check."""
        if self.unavailable:
            return {"limit_mib": self.limit_mib, "unavailable": self.unavailable}
        return {
            "limit_mib": self.limit_mib,
            "killed": self.killed,
            "peak_mib": None if self.peak_mib is None else round(self.peak_mib, 1),
            "slower": None if self.slower is None else round(self.slower, 3),
            "inferences": self.inferences,
            "events": dict(self.events),
            "page_cache": self.page_cache,
        }


def try_cap(deployer: Deployer, inputs: Sequence[Arrays], limit_mib: float, budget_s: float) -> MemoryCap:
    """Load a cell's model, and infer, in a memory cgroup with a limit.

    Args:
        deployer: Starts the cell's processes; what fails in the group does not end the cell.
        inputs: Sets of inputs, which are taken in turn.
        limit_mib: The limit.
        budget_s: How long the inferences may take, in seconds.

    Raises:
        DamagedError: What the process ran on is damaged.
        DeploymentError: The model cannot be run outside of the group either.
        LinkError: The device cannot be reached.
    """
    limit_bytes = int(min(max(limit_mib, 0.0) * 2**20, MOST_BYTES))
    deployer.close()
    if why := why_not(deployer.board, limit_bytes, deployer.cell.id):
        return MemoryCap(limit_mib=limit_mib, unavailable=why)
    outside_ns, page_cache = 0.0, WARM
    if not deployer.cell.device.emulated:
        outside_ns = _infer(deployer.shared()[0], inputs, budget_s)[0]
        page_cache = _drop(deployer)
    deployer.close()
    board = capped_board(deployer.board, limit_bytes)
    capped = capped_deployer(deployer, board)
    inside_ns, inferences, lost = 0.0, 0, ""
    try:
        inside_ns, inferences = _infer(capped.fresh()[0], inputs, budget_s)
    except (DeploymentError, LinkLost) as error:
        lost = _worded(error)
    finally:
        capped.close()
    counted = board.counted()
    if counted is None:  # the program there may have been killed, too, and what it made is still there
        with contextlib.suppress(LinkLost):
            why_not(deployer.board, limit_bytes, deployer.cell.id)
    return MemoryCap(
        limit_mib=limit_mib,
        **_outcome(counted, limit_bytes, lost),
        slower=_slower(inside_ns, outside_ns, deployer.cell.network),
        inferences=inferences,
        page_cache=page_cache,
    )


def _infer(deployment: Deployment, inputs: Sequence[Arrays], budget_s: float) -> tuple[float, int]:
    """Return the median of the first inferences after loading, in nanoseconds, and how many there were.

    Of calls to another computer those that failed have no duration; the median is 0 if all did.
    """
    durations, _ = deployment.measure(inputs, INFERENCES, budget_s)
    answered = durations[durations != NEVER]
    return float(np.median(answered)) if len(answered) else 0.0, len(durations)


def _slower(inside_ns: float, outside_ns: float, network: Network | None) -> float | None:
    """Compare medians; None without both, or where a network was shaped outside alone: that is no matter of memory."""
    is_shaped = network is not None and network.is_shaping
    return inside_ns / outside_ns if not is_shaped and inside_ns > 0 and outside_ns > 0 else None


def _drop(deployer: Deployer) -> str:
    """Drop what the cell's process has read from the page cache, so that the next one's group is charged for it."""
    try:
        Dropper.start(deployer).drop()
    except (DaemonFailure, ProtocolError, ImpossibleReport, LinkLost):
        return WARM
    return COLD


def _outcome(counted: Counted | None, limit_bytes: int, lost: str) -> dict[str, Any]:
    """Judge a try by what the kernel counted, and by what ended the process, "" where nothing did."""
    if counted is None:
        return {"doubt": lost or "what the kernel counted was not told"}
    known: dict[str, Any] = {"events": counted.events}
    if counted.peak_bytes is not None:
        known["peak_mib"] = counted.peak_bytes / 2**20
    if not is_limit(counted, limit_bytes) or counted.peak_bytes == 0:
        told = f"limit {counted.limit_bytes} bytes, peak {counted.peak_bytes}"
        return {**known, "doubt": f"what the device says of it cannot be true: {told}; the limit was {limit_bytes}"}
    kills, limit_reached = counted.events.get("oom_kill", 0), counted.events.get("oom", 0)
    if kills and limit_reached:
        return {**known, "killed": True}
    if kills:  # the whole board's memory ran out: that says nothing of the limit
        return {**known, "doubt": f"the kernel killed it, but not for the limit: oom_kill {kills}, oom 0"}
    return {**known, "doubt": lost}


def _worded(error: HilgateError) -> str:
    found = error.found.partition("\n")[0].partition("; its stderr")[0]
    return f"{error.what}: {found}" if found else error.what
