"""The daemon's answers, operation by operation (see harness.agent.daemon.operations), and how long each may take.

``limit_s`` bounds an operation by the host's clock, also if the daemon says again and again that it is still at work.
An operation on many bytes is given more, by their number.
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
# A worn-out memory card that hashes and unpacks at the same time is no slower than this.
SLOWEST_BYTES_S = 1 << 18
# For a store of 20 GiB on such a card, whose files are only listed or removed.
STORE_S = 900.0


class DaemonAnswer(Answer):
    """An answer of the daemon's.

    Attributes:
        operation: the operation's name.
        limit_s: how long it may take, in seconds.
        payload: how many bytes may follow the answer.
    """

    operation: ClassVar[str]
    limit_s: ClassVar[float] = 60.0
    payload: ClassVar[int] = 0

    @classmethod
    def kind(cls, said: Mapping[str, Any]) -> type[DaemonAnswer]:
        """Choose the schema of an answer, for an operation that has several."""
        return cls


class Hello(Answer):
    """The first frame: the daemon's greeting."""

    hello: Annotated[Literal["hilgate-daemon"], Field(description='the greeting of our daemon, "hilgate-daemon"')]


class Refusal(Answer):
    """An operation failed; if the file system refused something, with its error."""

    error: Reason
    traceback: Story = ""
    errno: Whole | None = Field(None, description="a whole number, or null")
    path: Text | None = Field(None, description="a path, or null")
    free_bytes: Bytes | None = Field(None, description="bytes, a whole number from 0 to 2⁶³ - 1, or null")
    no_home: bool = Field(False, description="true or false")
    repair: Text = ""
    wanted: Text = ""


class Facts(BoardFacts, DaemonAnswer):
    """The answer to "facts"; see op_facts."""

    operation = "facts"
    limit_s = 120.0


class Holder(Answer):
    """Who holds a device: what the run says of itself, and what the kernel says of who holds the machine's lock.

    Attributes:
        run: the run's name.
        who: its user and host.
        since: when it has acquired the device.
        age_s: how long ago that is, by the device's clock, in seconds.
        lock: path of the machine's lock, where that is the one that is held.
        user: whose process holds that lock, by the kernel.
        pid: that process.
    """

    run: Text = "?"
    who: Text = "somebody"
    since: Text | None = Field(None, description="a text, or null")
    age_s: Number | None = Field(None, description="seconds, a number from 0 to 10³⁰")
    lock: Text | None = Field(None, description="a path, or null")
    user: Text | None = Field(None, description="a user's name, or null")
    pid: Pid | None = Field(None, description="a process id, or null")


class Look(DaemonAnswer):
    """The answer to "look"; see harness.agent.daemon.look."""

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


class Tried(DaemonAnswer):
    """The answer to "try"; see op_try."""

    operation = "try"
    limit_s = 120.0
    executable: Truth


class Taking(DaemonAnswer):
    """The answer to "open": whether the device was acquired; see op_open."""

    operation = "open"
    limit_s = STORE_S

    @classmethod
    def kind(cls, said: Mapping[str, Any]) -> type[Taking]:
        """Choose between Busy and Opened."""
        return Busy if "busy" in said else Opened


class Busy(Taking):
    """The device was not acquired: another run holds it."""

    busy: Holder = Field(description="a table")


class Opened(Taking):
    """The device was acquired."""

    store: Path
    damaged: Few[Text]
    entries: Many[Entry]
    reaped: Few[Pid]
    stuck: Few[Pid]
    executable: Truth


class Pong(DaemonAnswer):
    """The answer to "ping"."""

    operation = "ping"
    limit_s = 20.0


class Room(DaemonAnswer):
    """The answer to "room"; see Store.make_room."""

    operation = "room"
    limit_s = STORE_S
    needed_bytes: Bytes
    free_bytes: Bytes
    removed: Few[Entry]


class Made(DaemonAnswer):
    """The answer to "make"; see op_make."""

    operation = "make"
    limit_s = STORE_S


class AgentsEnded(DaemonAnswer):
    """The answer to "end_agents"; see op_end_agents."""

    operation = "end_agents"
    limit_s = 120.0
    reaped: Few[Pid]


class OomRecord(DaemonAnswer):
    """The answer to "oom"; see harness.agent.daemon.oom."""

    operation = "oom"
    killed: bool | None = Field(description="true, false or null")
    resident_kib: Kib = 0
    memory_mib: Mib = 0


class Left(DaemonAnswer):
    """The answer to "leave"; see op_leave."""

    operation = "leave"
    limit_s = 120.0


class Collected(DaemonAnswer):
    """The answer to "collect", followed by what was found; see op_collect."""

    operation = "collect"
    limit_s = 120.0
    payload = KEPT
    found: Truth


class Cleared(DaemonAnswer):
    """The answer to "clear"; see op_clear."""

    operation = "clear"
    limit_s = STORE_S
    freed_bytes: Bytes


class Offered(DaemonAnswer):
    """The answer to "offer": how many bytes of each file are there, null for a complete one; see Receiver.offer."""

    operation = "offer"
    limit_s = 120.0
    have: Annotated[dict[Sha256, Bytes | None], *bounded_table(FILES)]


class Arrived(DaemonAnswer):
    """The answer to "done", the end of an upload: SHA-256 announced -> what the file has, for those that differ."""

    operation = "done"
    limit_s = 120.0
    wrong: Annotated[dict[Sha256, Sha256], *bounded_table(FILES)]


class Taken(Arrived):
    """The answer to "take"; see op_take."""

    operation = "take"


class Adopted(Arrived):
    """The answer to "adopt"; see op_adopt."""

    operation = "adopt"
    limit_s = STORE_S


class Missing(DaemonAnswer):
    """The answer to "missing"; see op_missing."""

    operation = "missing"
    missing: Few[Entry]


class Verified(DaemonAnswer):
    """The answer to "verify": damaged entries, now removed, and how many are still to be hashed; see op_verify."""

    operation = "verify"
    limit_s = 120.0
    damaged: Annotated[dict[Entry, Text], *bounded_table(FEW)]
    left: Count
    hashed_bytes: Bytes
