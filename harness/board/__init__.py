"""A board: a device that was reached, looked at and locked for this run, with its store.

    with open_board(device, …) as board:
        board.put(bundle)                what is missing there is sent, verified, unpacked
        channel = board.start(bundle)    the agent, speaking frames

When the connection drops it is made again, for a while, at the next use.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from ..bundle import Bundle, Entry
from ..device import Device
from ..errors import DeviceBusy, LinkError, LinkLost
from ..links import Channel, LinkType, open_link
from .keeper import Heartbeat, Keeper
from .preflight import check_board, check_disk, check_memory
from .upload import Files, Report, upload

T = TypeVar("T")

# How long a dropped connection is tried to be made again.
RECONNECT_S = 60.0
RETRY_PAUSE_S = 2.0
BUSY_POLL_S = 1.0
# An upload that gets no further this many times in a row is given up.
UPLOAD_TRIES = 3
# Beyond the block itself: what an agent may take to see that its host has gone, and to write down what it has.
COLLECT_GRACE_S = 15.0


@dataclass
class Board:
    """See the module. Made by open_board."""

    device: Device
    link: LinkType
    run: str
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    say: Callable[[str], None] = lambda line: None
    store: str = ""
    _keeper: Keeper | None = None
    _heartbeat: Heartbeat | None = None
    _entries: set[str] = field(default_factory=set)
    _used: set[str] = field(default_factory=set)
    _results: int = 0

    def look(self) -> None:
        """Reach the board and find out what it is; nothing is written there.

        Raises:
            LinkError: it cannot be reached.
            DeviceError: it has no usable Python, or is not what its file says.
        """
        self._keeper = Keeper(self.link, self.device)
        if not self.facts:
            shipped = bool(self.device.runtime.packages)
            self.facts = self._keeper.request("facts", packages=[] if shipped else None)
            self.link.learn(self.facts)
            check_board(self.device, self.facts)

    def lock(self, wait_s: float) -> None:
        """Take the board for this run, and tidy up after the one before.

        Raises:
            DeviceBusy: another run holds it, also after so many seconds.
            StorageError: its store cannot be written.
        """
        keeper, end, said = self._opened, time.monotonic() + wait_s, False
        path = self.device.store or self.link.store
        while True:
            reply = keeper.request("open", store=path, holder=self._holder())
            if "busy" not in reply:
                break
            if time.monotonic() >= end:
                raise _busy(self.device, path, reply["busy"], wait_s)
            if not said:
                self.say(f"waiting for {self.device.name}: {_who(reply['busy'])}")
                said = True
            time.sleep(BUSY_POLL_S)
        self.store, self._entries = reply["store"], set(reply["entries"])
        self._note_found(reply)
        self._heartbeat = Heartbeat(keeper, self._used)

    def _holder(self) -> dict[str, str]:
        with contextlib.suppress(KeyError, OSError):  # a container's user may have no name
            return {"run": self.run, "who": f"{getpass.getuser()}@{socket.gethostname()}", "since": _now()}
        return {"run": self.run, "who": f"uid {os.getuid()}@{socket.gethostname()}", "since": _now()}

    def _note_found(self, reply: Mapping[str, Any]) -> None:
        if reply["reaped"]:
            self.notes.append(f"processes of an earlier run were still there and were ended: {reply['reaped']}")
        if reply["damaged"]:
            names = ", ".join(name[:22] for name in reply["damaged"])
            self.notes.append(f"what was stored on {self.device.name} had been changed and was removed: {names}")

    def put(self, bundle: Bundle, report: Report = lambda done, total: None) -> None:
        """Make sure that the board has a bundle, whole and verified; what it has already is not sent.

        Raises:
            StorageError: the board's disk is too small, or cannot be written.
            BackendError: the artifact alone exceeds the board's memory.
            LinkError: the board cannot be reached.
            DeploymentError: what arrived is not what was sent.
        """
        check_memory(self.device, bundle, self.facts)
        if not all(entry.name in self._entries for entry in bundle.entries):
            self._again(lambda: self._put(bundle, report))
        self._used.update(entry.name for entry in bundle.entries)

    def _put(self, bundle: Bundle, report: Report) -> None:
        missing = [entry for entry in bundle.entries if entry.name not in self._entries]
        present = [entry.name for entry in bundle.entries if entry.name in self._entries]
        room = self._opened.request("room", needed=sum(entry.bytes for entry in missing), use=present)
        self._entries -= set(room["removed"])
        check_disk(self.device, self.store, missing, room)
        self._send(missing, report)
        for entry in missing:
            self._opened.request(
                "make",
                entry=entry.name,
                files={path: file.sha256 for path, file in entry.files.items()},
                archives=[archive.sha256 for archive in entry.archives],
                texts=dict(entry.texts),
                links=dict(entry.links),
            )
            self._entries.add(entry.name)

    def _send(self, entries: list[Entry], report: Report) -> None:
        files: Files = {
            **{file.sha256: (file.source, file.bytes) for entry in entries for file in entry.files.values()},
            **{one.sha256: (one.source, one.bytes) for entry in entries for one in entry.archives},
        }
        if not files:
            return
        if self.link.shares_files:
            self._opened.request("adopt", files={str(path): sha256 for sha256, (path, _) in files.items()})
            return
        best, fruitless = -1, 0

        def noted(done: int, total: int) -> None:
            nonlocal best, fruitless
            if done > best and best >= 0:
                fruitless = 0
            best = max(best, done)
            report(done, total)

        while True:
            try:
                self._upload(files, noted)
            except LinkLost:
                fruitless += 1
                if fruitless >= UPLOAD_TRIES:
                    raise
                self._reopen()
            else:
                return

    def _upload(self, files: Files, report: Report) -> None:
        courier = Keeper(self.link, self.device, bulk=True)
        try:
            upload(courier, self.store, files, report)
        finally:
            courier.close()

    def start(self, bundle: Bundle) -> Channel:
        """Start the agent of a bundle that was put there.

        Raises:
            LinkError: the board cannot be reached.
        """
        return self._again(lambda: self.link.start(self._agent_script(bundle), kill=self._end_agents))

    def _agent_script(self, bundle: Bundle) -> str:
        folder = shlex.quote(f"{self.store}/{bundle.name}")
        python = shlex.quote(self.facts["executable"])
        shipped = bool(bundle.runtime.archives)
        # Shipped, it sees the standard library and what was shipped: no package of the board's own.
        flags, path = ("-S -s -B", '"PYTHONPATH=$PWD/runtime"') if shipped else ("-B", "")
        store = {name: shlex.quote(f"{self.store}/{name}") for name in ("agents", "results")}
        return (
            f"test -e {folder}/manifest.json && cd {folder} && "
            # With PYTHONSAFEPATH, -m would not look into the current folder.
            f"exec env -u PYTHONSAFEPATH {path} {python} {flags} -m agent "
            f"--records {store['agents']} --results {store['results']} --run {self.run}"
        )

    def _end_agents(self) -> None:
        with contextlib.suppress(LinkError):
            self._opened.request("end_agents")

    def result_name(self) -> str:
        """A new name under which an agent keeps what must not be lost."""
        self._results += 1
        return f"{self.run}-{self._results}"

    def collect(self, name: str, wait_s: float) -> bytes | None:
        """What an agent kept when the connection dropped: a frame; None where it kept nothing.

        Args:
            wait_s: how long what it was doing may still take.

        Raises:
            LinkError: the board cannot be reached any more.
        """

        def ask() -> bytes | None:
            reply, content = self._opened.request_with_payload("collect", name=name, wait_s=wait_s + COLLECT_GRACE_S)
            return content if reply["found"] else None

        return self._again(ask)

    def _again(self, action: Callable[[], T]) -> T:
        """Do it, and once more where the connection was found to have dropped."""
        try:
            if self._keeper is None:
                self._reopen()
            return action()
        except LinkLost:
            self._reopen()
            return action()

    def _reopen(self) -> None:
        """Make the connection again.

        Raises:
            LinkLost: not within a minute; with the last reason.
        """
        self.link.abort()  # whatever still waits for it need not wait longer
        self._let_go()
        end = time.monotonic() + RECONNECT_S
        while True:
            try:
                self.look()
                self.lock(wait_s=max(end - time.monotonic(), 0.0))
            except LinkError as error:
                self.link.abort()
                self._let_go()
                if isinstance(error, DeviceBusy) or time.monotonic() > end:
                    what = f"the connection to {self.device.name} dropped and could not be made again"
                    raise LinkLost(what, found=str(error), where=self.link.where) from error
                time.sleep(RETRY_PAUSE_S)
            else:
                self.notes.append(f"the connection to {self.device.name} dropped and was made again")
                return

    @property
    def _opened(self) -> Keeper:
        if self._keeper is None:
            raise LinkLost(f"the connection to {self.device.name} is closed", where=self.link.where)
        return self._keeper

    def request(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Ask the keeper for something else: see harness.agent.keeper.serve."""
        return self._opened.request(operation, **arguments)

    def close(self) -> None:
        """Let go of the board: the next run may have it. Never raises."""
        if self._keeper is not None and self._heartbeat is not None:
            with contextlib.suppress(Exception):
                self._keeper.ping(sorted(self._used))
        self._let_go()

    def _let_go(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._keeper is not None:
            self._keeper.close()
        self._keeper = self._heartbeat = None
        self.link.close()


def open_board(device: Device, *, wait_s: float = 0.0, say: Callable[[str], None] = lambda line: None) -> Board:
    """Reach a device, look at it, and take it for this run.

    Args:
        wait_s: how long to wait for another run to let go of it.
        say: told that this is being waited for.

    Raises:
        LinkError: it cannot be reached, or another run holds it.
        DeviceError: it is not what its file says, or has no usable Python.
        StorageError: its store cannot be written.
    """
    board = Board(device, open_link(device), uuid.uuid4().hex[:16], say=say)
    try:
        board.look()
        board.lock(wait_s)
    except BaseException:
        board.close()
        raise
    return board


@contextmanager
def looked_at(device: Device) -> Iterator[Board]:
    """A board that is looked at only: no lock, and nothing is written there."""
    board = Board(device, open_link(device), uuid.uuid4().hex[:16])
    try:
        board.look()
        yield board
    finally:
        board.close()


def _busy(device: Device, store: str, holder: Mapping[str, Any], waited_s: float) -> DeviceBusy:
    return DeviceBusy(
        f"device {device.name} is in use by another run",
        wanted="one run at a time: two would measure each other",
        found=_who(holder) + (f"; waited {waited_s:g} s for it" if waited_s else ""),
        where=f"{store}/lock there ({device.path})",
        hint="wait for it: --wait SECONDS",
    )


def _who(holder: Mapping[str, Any]) -> str:
    since = f"since {holder.get('since', 'an unknown time')}"
    age = f" (for {_duration(holder['age_s'])})" if "age_s" in holder else ""
    return f"held by {holder.get('who', 'somebody')} {since}{age}, run {holder.get('run', '?')}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
