"""Running a cell's process under a limit to its memory: in a memory cgroup of the user's own, without swap.

The process that a board starts is put behind a program of ours (harness.agent.capped), which makes the group, starts
the process inside it, and tells in the end what the kernel counted. It takes no root.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field, replace

from ..agent.capped.launcher import MARK
from ..board import Board
from ..bundle import Bundle
from ..errors import DeploymentError, LinkLost
from ..links import GREETING_ALLOWED, Channel
from ..protocol import parse
from ..protocol.border import parse_text
from ..protocol.memory_cap import Counted, NoGroup
from .deployer import Deployer
from .handed import END_S, handed_script, read_header

# The program's modules, in the order in which they import each other.
MODULES = ("wire", "capped.group", "capped.launcher")
PROBE_S = 60.0
OPERATION = "make a memory cgroup"
WHAT = "the program that makes a memory cgroup"
HINTS = {
    "no_cgroup2": "boot with systemd.unified_cgroup_hierarchy=1, or mount cgroup2",
    "no_controller": "on a Raspberry Pi add cgroup_enable=memory to the line in /boot/firmware/cmdline.txt, and reboot",
    "no_place": "log in as a user with a systemd of its own (loginctl enable-linger USER), or give it a group: "
    "docs/boards.md",
}


# The kernel rounds a limit down to pages, of 64 KiB at most.
PAGE_BYTES = 1 << 16


@dataclass(kw_only=True)
class CappedBoard(Board):
    """A board whose agents are started in a memory cgroup. Made by ``capped_deployer``.

    Attributes:
        limit_bytes: the group's limit.
        channels: the agents that were started.
    """

    limit_bytes: int
    channels: list[Channel] = field(default_factory=list)

    def start(self, bundle: Bundle) -> Channel:
        """Start an agent in the group; see Board.start."""
        self.channels.append(super().start(bundle))
        return self.channels[-1]

    def forkserver(self, bundle: Bundle) -> str:
        """Return a path where no forkserver listens: one that it forked would not be in the group."""
        return f"{self.store}/forkservers/none"

    def counted(self) -> Counted | None:
        """Return what the kernel counted in the last agent's group, once it has ended; None where that is not told."""
        lines = self.channels[-1].stderr_tail().splitlines() if self.channels else []
        told = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
        return parse_text(Counted, told[-1]) if told else None

    def _agent_script(self, bundle: Bundle) -> str:
        return _script(self, self.limit_bytes, super()._agent_script(bundle))


def capped_deployer(deployer: Deployer, board: CappedBoard) -> Deployer:
    """Make a deployer of a cell that starts its processes under a limit; what fails there does not end the cell.

    Args:
        deployer: the cell's.
        board: see capped_board.
    """
    return Deployer(
        cell=replace(deployer.cell, network=None),  # the proxy's memory would count in the group
        board=board,
        bundle=deployer.bundle,
        timeouts=deployer.timeouts,
        device_time=deployer.device_time,
        tainted=deployer.tainted,
        begun=True,
        credentials=deployer.credentials,
    )


def capped_board(board: Board, limit_bytes: int) -> CappedBoard:
    """Make a board of another that starts agents under a limit; it is the same board, and is not to be closed."""
    return CappedBoard(lease=board.lease, verified=board.verified, snapshot=board.snapshot, limit_bytes=limit_bytes)


def why_not(board: Board, limit_bytes: int, where: str) -> str:
    """Try to make a group with a limit, and remove it; return why that cannot be and what to do, "" where it can.

    What earlier ones have left behind there is removed.

    Args:
        board: the board.
        limit_bytes: the limit.
        where: which cell and device it is, for errors.

    Raises:
        LinkError: the device cannot be reached.
    """
    channel = board.lease.retry(lambda: board.link.start(_script(board, limit_bytes, None)))
    try:
        header = read_header(channel, PROBE_S, where, WHAT, skip=GREETING_ALLOWED)
        if "unavailable" in header:
            refusal = parse(NoGroup, header, to=OPERATION, where=where)
            return f"no memory cgroup of the user's own: {refusal.found}. {HINTS[refusal.unavailable]}"
        made = parse(Counted, header, to=OPERATION, where=where)
    except DeploymentError as error:
        return f"{error.what}: {error.found}"
    finally:
        with contextlib.suppress(LinkLost):
            channel.finish(END_S)
    return "" if is_limit(made, limit_bytes) else f"the kernel limits it to {made.limit_bytes} bytes, not {limit_bytes}"


def is_limit(counted: Counted, limit_bytes: int) -> bool:
    """Say whether a group's limit is what was asked for, and what it counted can be true under it."""
    is_rounded = limit_bytes - PAGE_BYTES < counted.limit_bytes <= limit_bytes
    return is_rounded and (counted.peak_bytes is None or counted.peak_bytes <= limit_bytes)


def _script(board: Board, limit_bytes: int, script: str | None) -> str:
    return handed_script(board, MODULES, json.dumps({"limit_bytes": limit_bytes, "script": script}))
