"""Hashes a board's store again: before its first use on a day, and where something went wrong (issue 17).

The other half is harness.agent.daemon.verify. The day is the host's, because the board's clock may be wrong.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from ..errors import ProtocolError
from ..host.manifest import today
from ..protocol import daemon as answers
from .lease import Lease

# The time for 10 GB on the slowest memory card.
LONGEST_S = 1800.0


def verify(lease: Lease, entries: Collection[str], *, again: bool) -> dict[str, str]:
    """Hash entries of a board's store again; the board removes damaged ones. Call it while nothing is measured there.

    Args:
        lease: the lease of the board.
        entries: names of entries.
        again: also hash those that were hashed today.

    Returns:
        Name of each damaged entry -> what is wrong with it.

    Raises:
        LinkError: the board cannot be reached.
        DeploymentError: it cannot hash them, or does not come to an end of it.
    """
    # Entries of an emulated board's snapshot are verified with the snapshot.
    names = sorted(set(entries) - lease.trusted)
    if not names:
        return {}
    reply = lease.request(answers.Verified, entries=names, day=today(), again=again)
    damaged = dict(reply.damaged)
    end = time.monotonic() + LONGEST_S
    while reply.left:
        if time.monotonic() > end:
            what, where = "the board does not come to an end of hashing what it has stored", lease.link.where
            raise ProtocolError(what, wanted=f"at most {LONGEST_S:.0f} s", found=f"{reply.left} left", where=where)
        reply = lease.request(answers.Verified)
        damaged |= reply.damaged
    lease.entries -= set(damaged)
    return damaged


def describe(device: str, damaged: Mapping[str, str]) -> str:
    """Describe for a person what was damaged.

    Args:
        device: the device's name.
        damaged: name of each damaged entry -> what is wrong with it.
    """
    listed = "; ".join(f"{name[:22]}: {wrong}" for name, wrong in sorted(damaged.items()))
    return f"what was stored on {device} was damaged, and was removed: {listed}"
