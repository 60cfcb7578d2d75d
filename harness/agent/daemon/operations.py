"""What the daemon can do: each operation is a method ``op_NAME``, found by the name in the request.

An operation takes the request's header as keyword arguments, and a payload as ``content``; it returns the reply's
header, or that and a payload. Whatever it raises travels back as text. To add one, add a method here and its answer in
harness/protocol/daemon.py.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from .. import orphans, telemetry
from ..facts import facts
from . import device_lock, look, oom, stopped, trial, verify
from .folders import SEAL
from .receive import NotAnnounced, Receiver, adopt, can_be_linked, take
from .store import FULL, Store

# How often to check whether an agent has finished: seldom, for it may be measuring.
POLL_S = 0.2


class Operations:
    """The state of one run's hold on a device, or of one upload."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self.receiver: Receiver | None = None
        self.locks: list[int] = []
        self.record = ""
        self.verification: verify.Verification | None = None

    def op_facts(self, packages: list[str] | None = None) -> dict[str, Any]:
        """Report what the board is; see harness.agent.facts. Takes no lock."""
        return {**facts(packages), "governor": telemetry.governors(), "boot": orphans.boot_id()}

    def op_look(self, store: str) -> dict[str, Any]:
        """Report who holds the device, and what is stored; see look. Takes no lock, writes nothing."""
        return look.look(store)

    def op_try(self, store: str) -> dict[str, Any]:
        """Try what a run needs of a store; see trial. Takes no lock, leaves nothing there. Reply: "executable"."""
        return {"executable": trial.try_store(store)}

    def op_open(
        self, store: str, holder: dict[str, Any], use: list[str], whole: bool, trusted: list[str]
    ) -> dict[str, Any]:
        """Lock the device for this run and clean up after the one before.

        Args:
            store: its path; "~" is the home folder.
            holder: describes this run; "run" names it.
            use: entries that this run has used before, where it reconnects.
            whole: lock the machine, not only this store of it.
            trusted: entries that are known to be intact, and need not be checked.

        Reply: "busy", who holds the device; or "store", its absolute path; "entries", their names; "damaged", the
        entries that were damaged and have been removed; "reaped", processes of earlier runs that were ended, and
        "stuck", those that do not end; "executable", whether programs can be started from the store.
        """
        root = trial.root_of(store)
        trial.make_root(store)
        try:
            self.locks = device_lock.take_all(os.path.join(root, "lock"), holder, whole=whole)
        except device_lock.Busy as busy:
            return {"busy": busy.holder}
        self.store = Store.open(root)
        executable = self._is_executable()
        agents, run = self.store.path("agents"), holder["run"]
        reaped = orphans.reap(agents, spare=run) + stopped.end_stopped()
        stuck = [record["pid"] for record in orphans.living(agents) if record["run"] != run]
        self.store.drop_results(run)
        damaged = self.store.tidy(trusted)
        self._use(use)
        reply = {"store": root, "damaged": damaged, "entries": self.store.entries()}
        return {**reply, "reaped": reaped, "stuck": stuck, "executable": executable}

    def _is_executable(self) -> bool:
        """Whether programs can be started from the store; assumed on a full disk, where it cannot be tried."""
        try:
            return trial.try_root(self._store.root)
        except OSError as error:
            if error.errno in FULL:
                return True
            raise

    def op_ping(self) -> dict[str, Any]:
        """Answer, to show that the daemon is alive."""
        return {}

    def op_room(self, needed: int, files: dict[str, int], paths: dict[str, str], use: list[str]) -> dict[str, Any]:
        """Make room for so many bytes; see Store.make_room.

        Args:
            needed: bytes.
            files: what is going to be sent, SHA-256 -> size.
            paths: where that is on this machine, path -> SHA-256, where host and device are one machine.
            use: entries that this run uses.
        """
        self._use(use)
        near = sum(files[sha256] for path, sha256 in paths.items() if can_be_linked(self._store, path))
        return self._store.make_room(needed, files, near)

    def op_adopt(self, files: dict[str, str]) -> dict[str, Any]:
        """Take files of this machine, path -> SHA-256, where host and device are one. Reply: "wrong", as op_take."""
        wrong = {}
        for path, sha256 in files.items():
            try:
                adopt(self._store, path, sha256)
            except NotAnnounced as error:
                wrong[sha256] = error.found
        return {"wrong": wrong}

    def op_make(self, entry: str, day: str = "", **parts: Any) -> dict[str, Any]:
        """Make an entry of files that were sent, and hashed on arrival; see Store.make.

        Args:
            entry: its name, KIND/SHA-256.
            day: the host's date; see verify.
            **parts: the other arguments of Store.make.
        """
        self._store.make(entry, **parts)
        verify.note_day(self._store.folder(entry), day)
        self._store.use(entry)
        return {}

    def op_verify(self, **asked: Any) -> dict[str, Any]:
        """Hash entries again, for a few seconds; see verify. Without arguments, go on with those before."""
        self.verification, reply = verify.verify(self.verification, self._store, **asked)
        return reply

    def op_missing(self, entries: list[str]) -> dict[str, Any]:
        """Find out which of these entries were removed by somebody else. Reply: "missing", their names."""
        seals = {entry: os.path.join(self._store.folder(entry), SEAL) for entry in entries}
        return {"missing": [entry for entry, path in seals.items() if not os.path.exists(path)]}

    def op_end_agents(self) -> dict[str, Any]:
        """End every process that was started from this store."""
        return {"reaped": orphans.reap(self._store.path("agents"))}

    def op_oom(self, pid: int) -> dict[str, Any]:
        """Find out whether the kernel killed a process when memory ran out; see oom.find_oom_kill."""
        return oom.find_oom_kill(pid)

    def op_leave(self, run: str, use: list[str]) -> dict[str, Any]:
        """End the run: note which entries it used, end its processes, remove results that it did not collect."""
        self._use(use)
        orphans.reap(self._store.path("agents"))
        orphans.end_marked(run)
        self._store.drop_results()
        self._store.drop_incoming()
        return {}

    def op_collect(self, name: str, wait_s: float) -> tuple[dict[str, Any], bytes]:
        """Collect the reply that an agent kept when the connection dropped; wait while an agent of this store runs.

        Afterwards all agents are ended. The kept reply stays until the run's end, for this one may be lost, too.

        Args:
            name: the reply's.
            wait_s: how long to wait for it.

        Reply: "found", whether there is one; it is the payload.
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
        """Remove all that is stored. Reply: "freed_bytes"."""
        before = self._store.used_bytes()
        self._store.clear()
        return {"freed_bytes": before}

    def op_offer(self, store: str, files: dict[str, int]) -> dict[str, Any]:
        """Begin an upload; see Receiver.offer. Reply: "have"."""
        self.receiver = Receiver(store)
        # Lets the next run find and end this process, should the connection hang half-open.
        self.record = orphans.write_record(self.receiver.store.path("agents"))
        return {"have": self.receiver.offer(files)}

    def op_take(self, files: dict[str, int], content: memoryview) -> dict[str, Any]:
        """Take files that came with the request, SHA-256 -> size. Reply: "wrong", announced -> actual SHA-256."""
        return {"wrong": take(self._store, files, content)}

    def op_done(self) -> dict[str, Any]:
        """End an upload. Reply: "wrong", the files that arrived with another hash: announced -> actual SHA-256."""
        if self.receiver is None:
            raise RuntimeError("nothing was offered")
        return {"wrong": self.receiver.wrong}

    def close(self) -> None:
        """Remove this process's record; it is about to end."""
        if self.record:
            with contextlib.suppress(OSError):
                os.unlink(self.record)

    @property
    def root(self) -> str:
        """The store's folder; "" before one is open."""
        store = self.receiver.store if self.receiver else self.store
        return store.root if store else ""

    def _use(self, entries: list[str]) -> None:
        """Note that this run uses entries: they stay until it ends, and are evicted after all that it does not use."""
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                self._store.use(entry)

    @property
    def _store(self) -> Store:
        if self.store is None:
            raise RuntimeError("the device has not been opened")
        return self.store
