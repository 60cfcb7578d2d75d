"""What the keeper answers, operation by operation (see harness.agent.keeper.operations), and how long each may take.

``limit_s`` is an operation's end by the host's clock: a keeper that says again and again that it is still at work
cannot put it off. What has to do with many bytes is given more by their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from .asked import KEPT
from .facts import BoardFacts
from .fields import (
    FEW,
    Answer,
    Bytes,
    Count,
    Entry,
    Few,
    Kib,
    Many,
    Mib,
    Number,
    Path,
    Pid,
    Reason,
    Sha256,
    Story,
    Text,
    Truth,
    Whole,
    bounded_table,
)
from .state import DeviceState

FILES = 1 << 16
# A card that is worn out, hashing and unpacking at the same time, does no worse than this.
SLOWEST_BYTES_S = 1 << 18
# A store of 20 GiB on such a card, its files only looked at or removed.
STORE_S = 900.0


class KeeperAnswer(Answer):
    """An answer of the keeper's.

    Attributes:
        operation: what it answers to.
        limit_s: how long that may take.
        payload: how many bytes may follow it.
    """

    operation: ClassVar[str]
    limit_s: ClassVar[float] = 60.0
    payload: ClassVar[int] = 0

    @classmethod
    def kind(cls, said: Mapping[str, Any]) -> type[KeeperAnswer]:
        """Tell which schema it must keep, where there are several."""
        return cls


class Hello(Answer):
    """The first frame."""

    hello: Annotated[Literal["hilgate-keeper"], Field(description='the greeting of our keeper, "hilgate-keeper"')]


class Working(Answer):
    """It is at work: not the answer yet."""

    working: Literal[True] = Field(description="true")


class Refusal(Answer):
    """An operation failed; where it was the file system's doing, with what that said."""

    error: Reason
    traceback: Story = ""
    errno: Whole | None = Field(None, description="a whole number, or null")
    path: Text | None = Field(None, description="a path, or null")
    free_bytes: Bytes | None = Field(None, description="bytes, a whole number from 0 to 2⁶³ - 1, or null")
    no_home: bool = Field(False, description="true or false")
    repair: Text = ""
    wanted: Text = ""


class Facts(BoardFacts, KeeperAnswer):
    """See op_facts."""

    operation = "facts"
    limit_s = 120.0


class Holder(Answer):
    """Who holds a device: what its run says of itself; and of the machine's own lock what the kernel says.

    Attributes:
        lock: the machine's, where that is the one that is held.
        user, pid: whose process holds it, by the kernel.
    """

    run: Text = "?"
    who: Text = "somebody"
    since: Text | None = Field(None, description="a text, or null")
    age_s: Number | None = Field(None, description="seconds, a number from 0 to 10³⁰")
    lock: Text | None = Field(None, description="a path, or null")
    user: Text | None = Field(None, description="a user's name, or null")
    pid: Pid | None = Field(None, description="a process id, or null")


class Look(KeeperAnswer):
    """See harness.agent.keeper.look."""

    operation = "look"
    limit_s = STORE_S
    store: Path
    holder: Holder | None = Field(description="a table, or null")
    entries: Count
    damaged: Few[Text]
    used_bytes: Bytes
    free_bytes: Bytes
    state: DeviceState = Field(description="the device's state, a table")
    time: Number
    swap_total_kib: Kib
    swap_used_kib: Kib


class Tried(KeeperAnswer):
    """See op_try."""

    operation = "try"
    limit_s = 120.0
    executable: Truth


class Taking(KeeperAnswer):
    """Whether the device was taken; see op_open."""

    operation = "open"
    limit_s = STORE_S

    @classmethod
    def kind(cls, said: Mapping[str, Any]) -> type[Taking]:
        """Tell which of the two it is."""
        return Busy if "busy" in said else Opened


class Busy(Taking):
    """Another run holds the device."""

    busy: Holder = Field(description="a table")


class Opened(Taking):
    """The device is ours."""

    store: Path
    damaged: Few[Text]
    entries: Many[Entry]
    reaped: Few[Pid]
    stuck: Few[Pid]
    executable: Truth


class Pong(KeeperAnswer):
    """It is still there."""

    operation = "ping"
    limit_s = 20.0


class Room(KeeperAnswer):
    """See Store.make_room."""

    operation = "room"
    limit_s = STORE_S
    needed_bytes: Bytes
    free_bytes: Bytes
    removed: Few[Entry]


class Made(KeeperAnswer):
    """See op_make."""

    operation = "make"
    limit_s = STORE_S


class AgentsEnded(KeeperAnswer):
    """See op_end_agents."""

    operation = "end_agents"
    limit_s = 120.0
    reaped: Few[Pid]


class Obituary(KeeperAnswer):
    """See harness.agent.keeper.obituary."""

    operation = "obituary"
    killed: bool | None = Field(description="true, false or null")
    resident_kib: Kib = 0
    memory_mib: Mib = 0


class Left(KeeperAnswer):
    """See op_leave."""

    operation = "leave"
    limit_s = 120.0


class Collected(KeeperAnswer):
    """See op_collect; what was found follows it."""

    operation = "collect"
    limit_s = 120.0
    payload = KEPT
    found: Truth


class Cleared(KeeperAnswer):
    """See op_clear."""

    operation = "clear"
    limit_s = STORE_S
    freed_bytes: Bytes


class Offered(KeeperAnswer):
    """See Receiver.offer: how many bytes of each file are there; null for one that is whole."""

    operation = "offer"
    limit_s = 120.0
    have: Annotated[dict[Sha256, Bytes | None], *bounded_table(FILES)]


class Arrived(KeeperAnswer):
    """The end of an upload: files that came in as others than announced, and what they are."""

    operation = "done"
    limit_s = 120.0
    wrong: Annotated[dict[Sha256, Sha256], *bounded_table(FILES)]


class Taken(Arrived):
    """See op_take."""

    operation = "take"


class Adopted(Arrived):
    """See op_adopt."""

    operation = "adopt"
    limit_s = STORE_S


class Missing(KeeperAnswer):
    """See op_missing."""

    operation = "missing"
    missing: Few[Entry]


class Verified(KeeperAnswer):
    """See op_verify: entries that were removed, with what is wrong with them, and how many are still to be hashed."""

    operation = "verify"
    limit_s = 120.0
    damaged: Annotated[dict[Entry, Text], *bounded_table(FEW)]
    left: Count
    hashed_bytes: Bytes
