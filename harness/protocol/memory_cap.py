"""What a program on a device answers that runs an agent under a limit: see harness.agent.capped.launcher."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .fields import Answer, Bytes, Count, Reason, Word, bounded_table

# memory.events has six.
MOST_EVENTS = 64
Events = Annotated[dict[Word, Count], *bounded_table(MOST_EVENTS)]
Why = Annotated[
    Literal["no_cgroup2", "no_controller", "no_place"], Field(description='"no_cgroup2", "no_controller", "no_place"')
]


class NoGroup(Answer):
    """No group can be made there."""

    unavailable: Why
    found: Reason


class Counted(Answer):
    """What the kernel counted in a group."""

    limit_bytes: Bytes
    peak_bytes: Bytes | None = Field(description="bytes, a whole number from 0 to 2⁶³ - 1, or null")
    events: Events
