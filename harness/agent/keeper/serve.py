"""The keeper's process: requests in on stdin, replies out on stdout, as frames (see wire).

Its header's "op" names a method below; a reply holds what the method returns, or "error" (and "errno", "path") where
it raised. It ends when the host goes, or when nothing was heard of the host for a while: the host sends something every
few seconds, and a device must not stay locked by a host that is gone without a word.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import queue
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from .. import orphans, telemetry
from ..facts import facts
from ..private import NotOurs
from ..wire import Head, pack_head, read_head
from . import lock, look, obituary, stopped, trial, verify
from .folders import SEAL, free_bytes
from .receive import NotAnnounced, Receiver, adopt, is_near, take
from .store import FULL, Store

# Beyond this silence the host is gone. It sends something every 3 seconds, also while it is busy.
SILENCE_S = 60.0
SIGN_OF_LIFE_S = 2.0
# How often it is looked whether an agent has finished: seldom, for it may be measuring.
POLL_S = 0.2
F_SETPIPE_SZ = 1031  # fcntl has the name from Python 3.10 on
PIPE_SIZE = 1 << 20


class Keeper:
    """The state of one run's hold on a device, or of one upload."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self.receiver: Receiver | None = None
        self.locks: list[int] = []
        self.record = ""
        self.verification: verify.Verification | None = None

    def op_facts(self, packages: list[str] | None = None) -> dict[str, Any]:
        """What the board is; see harness.agent.facts. Asks for no lock."""
        return {**facts(packages), "governor": telemetry.governors(), "boot": orphans.boot_id()}

    def op_look(self, store: str) -> dict[str, Any]:
        """Who holds the device, and what is stored; see look. Asks for no lock, writes nothing."""
        return look.look(store)

    def op_try(self, store: str) -> dict[str, Any]:
        """Try what a run needs of a store; see trial. Asks for no lock, leaves nothing there. Reply: "executable"."""
        return {"executable": trial.try_store(store)}

    def op_open(
        self, store: str, holder: dict[str, Any], use: list[str], whole: bool, trusted: list[str]
    ) -> dict[str, Any]:
        """Lock the device for this run and tidy up after the one before.

        Args:
            use: entries that this run has used, where it comes back.
            whole: lock the machine, not only this store of it.
            trusted: entries that are known to be what was stored, and need not be looked at.

        Reply: "busy", who holds it; or "store", its path; "entries", what is there; "damaged", what was and has been
        removed; "reaped", processes of earlier runs that were ended, and "stuck", those that do not end;
        "executable", whether programs can be started from there.
        """
        root = trial.root_of(store)
        trial.make_root(store)
        try:
            self.locks = lock.take_all(os.path.join(root, "lock"), holder, whole=whole)
        except lock.Busy as busy:
            return {"busy": busy.holder}
        self.store = Store(root)
        executable = self._try()
        agents, run = self.store.path("agents"), holder["run"]
        reaped = orphans.reap(agents, spare=run) + stopped.end_stopped()
        stuck = [record["pid"] for record in orphans.living(agents) if record["run"] != run]
        self.store.drop_results(run)
        damaged = self.store.tidy(trusted)
        self._use(use)
        reply = {"store": root, "damaged": damaged, "entries": self.store.entries()}
        return {**reply, "reaped": reaped, "stuck": stuck, "executable": executable}

    def _try(self) -> bool:
        """Whether programs can be started from the store; on a full disk room is made first, and then the rest is
        told."""
        try:
            return trial.try_root(self._store.root)
        except OSError as error:
            if error.errno in FULL:
                return True
            raise

    def op_ping(self) -> dict[str, Any]:
        """Still there."""
        return {}

    def op_room(self, needed: int, files: dict[str, int], paths: dict[str, str], use: list[str]) -> dict[str, Any]:
        """Make room for so many bytes; see Store.make_room.

        Args:
            files: what is going to be sent, SHA-256 -> size.
            paths: where that is on this machine, path -> SHA-256, for a link that leads nowhere else.
        """
        self._use(use)
        near = sum(files[sha256] for path, sha256 in paths.items() if is_near(self._store, path))
        return self._store.make_room(needed, files, near)

    def op_adopt(self, files: dict[str, str]) -> dict[str, Any]:
        """Take files of this machine, path -> SHA-256, for a link that leads nowhere else: "wrong", as op_take."""
        wrong = {}
        for path, sha256 in files.items():
            try:
                adopt(self._store, path, sha256)
            except NotAnnounced as error:
                wrong[sha256] = error.found
        return {"wrong": wrong}

    def op_make(self, entry: str, day: str = "", **parts: Any) -> dict[str, Any]:
        """Make an entry of what has come in, hashed as it was written; see Store.make.

        Args:
            day: the host's; see verify.
        """
        self._store.make(entry, **parts)
        verify.note_day(self._store.folder(entry), day)
        self._store.use(entry)
        return {}

    def op_verify(self, **asked: Any) -> dict[str, Any]:
        """Hash entries again, for a few seconds; see verify. Without arguments: go on."""
        self.verification, reply = verify.verify(self.verification, self._store, **asked)
        return reply

    def op_missing(self, entries: list[str]) -> dict[str, Any]:
        """Which of these entries, that were here, somebody has removed: "missing", their names."""
        seals = {entry: os.path.join(self._store.folder(entry), SEAL) for entry in entries}
        return {"missing": [entry for entry, path in seals.items() if not os.path.exists(path)]}

    def op_end_agents(self) -> dict[str, Any]:
        """End every process that was started from this store."""
        return {"reaped": orphans.reap(self._store.path("agents"))}

    def op_obituary(self, pid: int) -> dict[str, Any]:
        """Whether the kernel killed a process when memory ran out; see obituary."""
        return obituary.obituary(pid)

    def op_leave(self, run: str, use: list[str]) -> dict[str, Any]:
        """The run is over: note what it used, end what is left of it, drop what it did not collect."""
        self._use(use)
        orphans.reap(self._store.path("agents"))
        orphans.end_marked(run)
        self._store.drop_results()
        self._store.drop_incoming()
        return {}

    def op_collect(self, name: str, wait_s: float) -> tuple[dict[str, Any], bytes]:
        """What an agent kept when the connection dropped, "found" or not; waits while one of this store is at it.

        Then ends what is left of them. What was found stays until the run's end, for this reply may be lost, too.
        """
        path = self._store.path("results", name)
        deadline = time.monotonic() + wait_s
        while not os.path.exists(path) and time.monotonic() < deadline:
            if not orphans.living(self._store.path("agents")):
                break
            time.sleep(POLL_S)
        self.op_end_agents()
        try:
            with open(path, "rb") as file:
                return {"found": True}, file.read()
        except FileNotFoundError:
            return {"found": False}, b""

    def op_clear(self) -> dict[str, Any]:
        """Remove the store's content."""
        before = self._store.used_bytes()
        self._store.clear()
        return {"freed_bytes": before}

    def op_offer(self, store: str, files: dict[str, int]) -> dict[str, Any]:
        """Begin an upload; see Receiver.offer."""
        self.receiver = Receiver(store)
        # Found and ended by the next run, should this one's connection hang half-open.
        self.record = orphans.write_record(self.receiver.store.path("agents"))
        return {"have": self.receiver.offer(files)}

    def op_take(self, files: dict[str, int], content: memoryview) -> dict[str, Any]:
        """Take files that came with the request, SHA-256 -> size: "wrong", those that are others than announced."""
        return {"wrong": take(self._store, files, content)}

    def op_done(self) -> dict[str, Any]:
        """End an upload: "wrong", files that came in as others than announced."""
        if self.receiver is None:
            raise RuntimeError("nothing was offered")
        return {"wrong": self.receiver.wrong}

    def close(self) -> None:
        """The process ends."""
        if self.record:
            with contextlib.suppress(OSError):
                os.unlink(self.record)

    @property
    def root(self) -> str:
        """The store's folder; "" before it is known."""
        store = self.receiver.store if self.receiver else self.store
        return store.root if store else ""

    def _use(self, entries: list[str]) -> None:
        """Keep entries for as long as this run goes on, and longer than those that it did not use."""
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                self._store.use(entry)

    @property
    def _store(self) -> Store:
        if self.store is None:
            raise RuntimeError("the device has not been opened")
        return self.store


class Gone(Exception):
    """The host has closed its end."""


class Silent(Exception):
    """Nothing was heard of the host for a while, or it takes nothing in."""


class Host:
    """Frames over two descriptors."""

    def __init__(self) -> None:
        self.source, self.sink = os.dup(0), os.dup(1)
        with contextlib.suppress(OSError):  # fewer wake-ups in an upload; more than a user may have will not do
            fcntl.fcntl(self.source, F_SETPIPE_SZ, PIPE_SIZE)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)

    def receive(self) -> Head:
        """The next request. Raises: Gone, Silent."""
        return read_head(self._read)

    def _read(self, size: int) -> bytearray:
        buffer = bytearray(size)
        self.read_into(memoryview(buffer))
        return buffer

    def read_into(self, view: memoryview) -> None:
        """Fill a buffer."""
        poll = select.poll()
        poll.register(self.source, select.POLLIN)
        while view:
            if not poll.poll(SILENCE_S * 1e3):
                raise Silent
            count = os.readv(self.source, [view])
            if not count:
                raise Gone
            view = view[count:]

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Write one frame. Raises: Gone, Silent."""
        view = memoryview(pack_head(header, len(payload)) + payload)
        poll = select.poll()
        poll.register(self.sink, select.POLLOUT)
        while view:
            if not poll.poll(SILENCE_S * 1e3):
                raise Silent
            try:  # so much at once never waits, pipe(7)
                view = view[os.write(self.sink, view[: select.PIPE_BUF]) :]
            except BrokenPipeError:
                raise Gone from None


def serve(host: Host, keeper: Keeper) -> None:
    """Answer until the host goes. A file is not answered: the upload's end says what was wrong."""
    while True:
        request = host.receive()
        header = dict(request.header)
        operation = header.pop("op", "")
        try:
            if operation == "file" and keeper.receiver is not None:
                keeper.receiver.file(header, request.payload_size, host.read_into)
                continue
            if request.payload_size:
                content = memoryview(bytearray(request.payload_size))
                host.read_into(content)
                header["content"] = content
            result = _patiently(host, lambda: getattr(keeper, f"op_{operation}")(**header))  # noqa: B023  # run at once
        except (Gone, Silent):
            raise
        except Exception as error:  # noqa: BLE001  # the host's to judge
            host.send(_refusal(error, keeper.root))
            if operation == "file":
                return  # what follows can no longer be told apart
            continue
        reply, payload = result if isinstance(result, tuple) else (result, b"")
        host.send(reply, payload)


def _patiently(host: Host, work: Callable[[], Any]) -> Any:
    """What it returns; meanwhile the host is told that the board lives."""
    done: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except Exception as error:  # noqa: BLE001  # raised again below
            done.put((None, error))

    threading.Thread(target=run, name="work", daemon=True).start()
    while True:
        with contextlib.suppress(queue.Empty):
            result, error = done.get(timeout=SIGN_OF_LIFE_S)
            if error is not None:
                raise error
            return result
        host.send({"working": True})


def _refusal(error: Exception, root: str) -> dict[str, Any]:
    refusal: dict[str, Any] = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc(limit=-6)}
    if isinstance(error, OSError):
        path = str(error.filename or root)  # what is written through a descriptor has no name
        refusal.update(errno=error.errno, path=path, free_bytes=free_bytes(path) if path.startswith("/") else None)
        refusal["no_home"] = isinstance(error, trial.NoHome)
        if isinstance(error, NotOurs):
            refusal.update(repair=error.repair, wanted=error.wanted)
    return refusal


def main() -> None:
    """Say hello, serve."""
    os.umask(0o077)
    keeper = Keeper()
    try:
        host = Host()
        host.send({"hello": "hilgate-keeper", "python": platform.python_version(), "executable": sys.executable})
        serve(host, keeper)
    except Gone:
        pass
    except Silent:
        print(f"keeper: nothing was heard of the host for {SILENCE_S:g} s: ending", file=sys.stderr)
    finally:
        keeper.close()
