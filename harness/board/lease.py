"""A run's lease of a board: an exclusive session that is acquired, renewed when the connection drops, and released."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from ..device.device import Device
from ..errors import DeviceBusy, EmulatorDied, HostKeyError, LinkError, LinkLost
from ..host.progress_log import progress_logger
from ..links import LinkType
from ..protocol import BoardFacts
from ..protocol import daemon as answers
from .daemon_client import DaemonClient, Heartbeat
from .holder import busy_error, describe_holder
from .preflight import check_board, check_same

LOG = progress_logger(__name__)

T = TypeVar("T")
A = TypeVar("A", bound=answers.DaemonAnswer)

# How long reconnecting is tried after a connection has dropped, and the pause between two tries.
RECONNECT_S = 60.0
RETRY_PAUSE_S = 2.0
BUSY_POLL_S = 1.0
# At most this many items of a list from the board are quoted.
LISTED = 20


@dataclass(kw_only=True)
class Lease:
    """An exclusive session with a board: the connection, the daemon behind it, and the board's lock.

    ``connect``, then ``acquire``; ``release`` ends it. When the connection drops, ``retry`` and ``reconnect`` make both
    again: the lock is the daemon's, and is lost with the connection. The entries of the store are what the daemon
    reported when the lock was acquired, kept up to date by whoever adds or removes some.

    Attributes:
        device: the device, as its file describes it.
        link: the way to it.
        run: the run's name on the board.
        known: what the board is, once ``connect`` has asked; see ``facts``.
        notes: what was out of the ordinary, for the evidence.
        store: path of the store on the board; "" until the lock was acquired for the first time.
        entries: names of the store's entries.
        used: names of the entries that this run uses; the board does not evict them.
        reopened: whether the connection was made again since a program was last started.
        trusted: entries of an emulated board's snapshot: verified with the snapshot, and not again until a restart.
        executable: whether programs and libraries in the store can be executed.
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
    _daemon: DaemonClient | None = None
    _heartbeat: Heartbeat | None = None
    _has_given_up: bool = False

    def connect(self) -> None:
        """Reach the board and find out what it is; nothing is written there.

        Raises:
            LinkError: it cannot be reached.
            DeviceError: it has no usable Python, or is not what its file says.
        """
        self._daemon = DaemonClient.start(self.link, self.device)
        ships_packages = bool(self.device.runtime.packages)
        facts = self._daemon.request(answers.Facts, packages=[] if ships_packages else None)
        check_board(self.device, facts)
        if self.known is not None:
            check_same(self.device, self.known, facts)
            if facts.boot != self.known.boot:
                self.notes.append(f"{self.device.name} was restarted while it was used")
        self.known = facts
        self.link.learn(facts)

    def acquire(self, wait_s: float) -> None:
        """Lock the board for this run, and have the daemon clean up after the run before.

        Args:
            wait_s: how long to wait while another run holds it.

        Raises:
            DeviceBusy: another run holds it, also after ``wait_s``.
            StorageError: its store cannot be written.
        """
        daemon, end, is_waiting = self.daemon, time.monotonic() + wait_s, False
        path = self.device.store or self.link.store
        arguments: dict[str, Any] = {
            "use": sorted(self.used),
            "whole": not self.link.shares_files,  # of this machine itself only the store is locked, not all of it
            "trusted": [] if self.store else sorted(self.trusted),
        }
        while True:
            reply = daemon.request(answers.Taking, store=path, holder=self._described_holder(), **arguments)
            if isinstance(reply, answers.Opened):
                break
            holder = reply.busy if isinstance(reply, answers.Busy) else answers.Holder()
            if time.monotonic() >= end:
                raise busy_error(self.device, path, holder, wait_s)
            if not is_waiting:
                LOG.info(f"waiting for {self.device.name}: {describe_holder(holder)}")
                is_waiting = True
            time.sleep(BUSY_POLL_S)
        self._note_cleanup(reply, is_renewed=bool(self.store))
        self.store, self.entries, self.executable = reply.store, set(reply.entries), reply.executable
        self._heartbeat = Heartbeat.start(daemon)

    def _described_holder(self) -> dict[str, str]:
        try:
            who = getpass.getuser()
        except (KeyError, OSError):  # a container's user may have no name
            who = f"uid {os.getuid()}"
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return {"run": self.run, "who": f"{who}@{socket.gethostname()}", "since": now}

    def _note_cleanup(self, reply: answers.Opened, *, is_renewed: bool) -> None:
        """Note what the daemon had to clean up, and refuse a board on which something of an earlier run goes on."""
        if reply.reaped and not is_renewed:  # in a renewed lease these are this run's own uploads
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

    def retry(self, action: Callable[[], T]) -> T:
        """Run an action, and once more on a new connection if it failed because the connection had dropped.

        Raises:
            LinkLost: it dropped again, or could not be made again.
        """
        try:
            if self._daemon is None:
                self.reconnect()
            return action()
        except LinkLost:
            self.reconnect()
            return action()

    def reconnect(self) -> None:
        """Make the connection again and acquire the board on it.

        This is tried for RECONNECT_S; once that was in vain, each later call tries it only once.

        Raises:
            LinkLost: it could not be made; with the last reason.
            HostKeyError: another machine answers.
        """
        end = time.monotonic() + (0 if self._has_given_up else RECONNECT_S)
        while True:
            self._abort()
            try:
                self.connect()
                self.acquire(wait_s=max(end - time.monotonic(), 0.0))
            except (HostKeyError, EmulatorDied):
                raise
            except LinkError as error:
                if isinstance(error, DeviceBusy) or time.monotonic() > end:
                    self._abort()
                    self._has_given_up = True
                    what = f"the connection to {self.device.name} dropped and could not be made again"
                    raise LinkLost(what, found=str(error), where=self.link.where) from error
                time.sleep(RETRY_PAUSE_S)
            except BaseException:
                self._abort()
                raise
            else:
                self._has_given_up = False
                self.reopened = True
                self.notes.append(f"the connection to {self.device.name} dropped and was made again")
                return

    @property
    def daemon(self) -> DaemonClient:
        """The daemon at the other end of the connection.

        Raises:
            LinkLost: there is no connection.
        """
        if self._daemon is None:
            raise LinkLost(f"the connection to {self.device.name} is closed", where=self.link.where)
        return self._daemon

    @property
    def facts(self) -> BoardFacts:
        """What the board is.

        Raises:
            LinkLost: it was not reached yet.
        """
        if self.known is None:
            raise LinkLost(f"{self.device.name} was not looked at", where=self.link.where)
        return self.known

    def request(self, answer: type[A], **arguments: Any) -> A:
        """Ask the daemon for an operation; see DaemonClient.request.

        Args:
            answer: the type of its answer, which names the operation.
            **arguments: the operation's own, and DaemonClient.request's ``silence_s`` and ``more_s``.
        """
        return self.daemon.request(answer, **arguments)

    def release(self) -> None:
        """Release the board: nothing of this run goes on there, and the next run may have it. Never raises."""
        if self._daemon is not None and self._heartbeat is not None:
            try:
                self._daemon.request(answers.Left, run=self.run, use=sorted(self.used))
            except Exception:  # noqa: BLE001  # it cannot be told; the next run cleans up
                self.link.abort()
        self._disconnect()

    def _abort(self) -> None:
        self.link.abort()  # whatever still waits for the board fails at once
        self._disconnect()

    def _disconnect(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._daemon is not None:
            self._daemon.close()
        self._daemon = self._heartbeat = None
        with contextlib.suppress(Exception):
            self.link.close()


def _listed(items: Sequence[object]) -> str:
    """Join the first items of a list, and say how many more there are."""
    more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return ", ".join(map(str, items[:LISTED])) + more
