"""A run's hold on a board: its keeper, which has the lock, and the connection, made again when it drops."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from ..device.device import Device
from ..errors import DeviceBusy, EmulatorDied, HostKeyError, LinkError, LinkLost
from ..host.progress_log import progress_logger
from ..links import LinkType
from ..protocol import BoardFacts
from ..protocol import keeper as answers
from .keeper import Heartbeat, Keeper
from .preflight import check_board, check_same
from .snapshot import Snapshot

LOG = progress_logger(__name__)

T = TypeVar("T")
A = TypeVar("A", bound=answers.KeeperAnswer)

# How long a dropped connection is tried to be made again.
RECONNECT_S = 60.0
RETRY_PAUSE_S = 2.0
BUSY_POLL_S = 1.0
# Of what a board lists, and of each, so much is said.
LISTED, LISTED_CHARACTERS = 20, 80


@dataclass
class Hold:
    """See the module; what a run does with the board is in Board.

    Attributes:
        run: names the run on the board.
        known: what the board is, once it was looked at; see ``facts``.
        notes: what was out of the ordinary.
        store: the store's path there.
        entries: what the store has.
        used: what this run uses of that.
        reopened: whether the connection was made again since a program was started.
        trusted: what the store had when the board's state was saved: it is not looked at again, save after a restart.
        executable: whether programs and libraries can be started from the store.
        snapshot: what an emulated board runs from, see harness.board.snapshot.
    """

    device: Device
    link: LinkType
    run: str
    known: BoardFacts | None = None
    notes: list[str] = field(default_factory=list)
    store: str = ""
    entries: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    reopened: bool = False
    trusted: frozenset[str] = frozenset()
    executable: bool = True
    snapshot: Snapshot = field(default_factory=Snapshot)
    _keeper: Keeper | None = None
    _heartbeat: Heartbeat | None = None
    _given_up: bool = False

    def look(self) -> None:
        """Reach the board and find out what it is; nothing is written there.

        Raises:
            LinkError: it cannot be reached.
            DeviceError: it has no usable Python, or is not what its file says.
        """
        self._keeper = Keeper(self.link, self.device)
        shipped = bool(self.device.runtime.packages)
        found = self._keeper.request(answers.Facts, packages=[] if shipped else None)
        check_board(self.device, found)
        if self.known is not None:
            check_same(self.device, self.known, found)
            if found.boot != self.known.boot:
                self.notes.append(f"{self.device.name} was restarted while it was used")
        self.known = found
        self.link.learn(found)

    def lock(self, wait_s: float) -> None:
        """Take the board for this run, and tidy up after the one before.

        Raises:
            DeviceBusy: another run holds it, also after so many seconds.
            StorageError: its store cannot be written.
        """
        keeper, end, said = self.opened, time.monotonic() + wait_s, False
        path = self.device.store or self.link.store
        asked: dict[str, Any] = {
            "use": sorted(self.used),
            "whole": not self.link.shares_files,  # this machine's own programs look after themselves
            "trusted": [] if self.store else sorted(self.trusted),
        }
        while True:
            reply = keeper.request(answers.Taking, store=path, holder=self._holder(), **asked)
            if isinstance(reply, answers.Opened):
                break
            holder = reply.busy if isinstance(reply, answers.Busy) else answers.Holder()
            if time.monotonic() >= end:
                raise _busy(self.device, path, holder, wait_s)
            if not said:
                LOG.info(f"waiting for {self.device.name}: {_who(holder)}")
                said = True
            time.sleep(BUSY_POLL_S)
        self._note_found(reply, again=bool(self.store))
        self.store, self.entries, self.executable = reply.store, set(reply.entries), reply.executable
        self._heartbeat = Heartbeat(keeper)

    def _holder(self) -> dict[str, str]:
        try:
            who = getpass.getuser()
        except (KeyError, OSError):  # a container's user may have no name
            who = f"uid {os.getuid()}"
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return {"run": self.run, "who": f"{who}@{socket.gethostname()}", "since": now}

    def _note_found(self, reply: answers.Opened, *, again: bool) -> None:
        if reply.reaped and not again:  # this run's own uploads are no others'
            self.notes.append(f"processes of an earlier run were still there and were ended: [{_listed(reply.reaped)}]")
        if reply.stuck:
            raise DeviceBusy(
                f"processes of an earlier run are still on {self.device.name}, and do not end",
                wanted="a board to itself: what is measured beside them would be wrong",
                found=f"process ids {_listed(reply.stuck)}",
                where=self.link.where,
                hint="end them there by hand, or restart the board",
            )
        if reply.damaged:
            names = _listed([name[:22] for name in reply.damaged])
            self.notes.append(f"what was stored on {self.device.name} had been changed and was removed: {names}")

    def again(self, action: Callable[[], T]) -> T:
        """Do it, and once more where the connection was found to have dropped.

        Raises:
            LinkLost: it dropped again, or could not be made again.
        """
        try:
            if self._keeper is None:
                self.reopen()
            return action()
        except LinkLost:
            self.reopen()
            return action()

    def reopen(self) -> None:
        """Make the connection again.

        For a minute; once that was in vain, each later use of the board tries it no more than once.

        Raises:
            LinkLost: it cannot be; with the last reason.
            HostKeyError: another machine answers.
        """
        end = time.monotonic() + (0 if self._given_up else RECONNECT_S)
        while True:
            self._abandon()
            try:
                self.look()
                self.lock(wait_s=max(end - time.monotonic(), 0.0))
            except (HostKeyError, EmulatorDied):
                raise
            except LinkError as error:
                if isinstance(error, DeviceBusy) or time.monotonic() > end:
                    self._abandon()
                    self._given_up = True
                    what = f"the connection to {self.device.name} dropped and could not be made again"
                    raise LinkLost(what, found=str(error), where=self.link.where) from error
                time.sleep(RETRY_PAUSE_S)
            except BaseException:
                self._abandon()
                raise
            else:
                self._given_up = False
                self.reopened = True
                self.notes.append(f"the connection to {self.device.name} dropped and was made again")
                return

    @property
    def opened(self) -> Keeper:
        """The keeper. Raises: LinkLost, where there is no connection."""
        if self._keeper is None:
            raise LinkLost(f"the connection to {self.device.name} is closed", where=self.link.where)
        return self._keeper

    @property
    def facts(self) -> BoardFacts:
        """What the board is. Raises: LinkLost, where it was not reached yet."""
        if self.known is None:
            raise LinkLost(f"{self.device.name} was not looked at", where=self.link.where)
        return self.known

    def request(self, answer: type[A], **arguments: Any) -> A:
        """Ask the keeper for something: see Keeper.request."""
        return self.opened.request(answer, **arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the board, and switch it off if it was switched on for this run. Never raises."""
        self.let_go()
        self.link.power_off()

    def let_go(self) -> None:
        """Let go of the board: the next run may have it, and finds nothing of this one running. Never raises."""
        if self._keeper is not None and self._heartbeat is not None:
            try:
                self._keeper.request(answers.Left, run=self.run, use=sorted(self.used))
            except Exception:  # noqa: BLE001  # it cannot be told; the next run tidies up
                self.link.abort()
        self._let_go()

    def _abandon(self) -> None:
        self.link.abort()  # whatever still waits for it need not wait longer
        self._let_go()

    def _let_go(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._keeper is not None:
            self._keeper.close()
        self._keeper = self._heartbeat = None
        with contextlib.suppress(Exception):
            self.link.close()


def _busy(device: Device, store: str, holder: answers.Holder, waited_s: float) -> DeviceBusy:
    wait = "wait for it: --wait SECONDS"
    if holder.lock is not None:  # the machine's own, which any of its users may hold for as long as he likes
        kill = f": sudo kill {holder.pid}" if holder.pid else ""
        wait += f"; or ask its user, or who administers the board{kill}"
    return DeviceBusy(
        f"device {device.name} is in use by another run",
        wanted="one run at a time: two would measure each other",
        found=_who(holder) + (f"; waited {waited_s:g} s for it" if waited_s else ""),
        where=f"{holder.lock or f'{store}/lock'} there ({device.path})",
        hint=wait,
    )


def _who(holder: answers.Holder) -> str:
    """Say who holds a board: whose process it is, by the kernel's word; and what it says of itself, by its own."""
    words = []
    if holder.user:
        words.append(f"held by {holder.user}" + (f", pid {holder.pid}" if holder.pid else ""))
    if holder.lock is None or holder.since is not None:
        age = f" (for {_duration(holder.age_s)})" if holder.age_s is not None else ""
        since = (holder.since or "an unknown time")[:LISTED_CHARACTERS]
        held = "as" if words else "held by"
        words.append(f"{held} {holder.who[:LISTED_CHARACTERS]} since {since}{age}, run {holder.run[:32]}")
    return ", ".join(words)


def _listed(items: Sequence[object]) -> str:
    """The first few of them."""
    more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return ", ".join(map(str, items[:LISTED])) + more


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
