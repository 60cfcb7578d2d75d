"""One emulated board: booted, or restored from a saved state; asked, saved, ended."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from ..errors import EmulatorDied, EmulatorError
from ..host.cache import storage_errors
from . import host
from .faults import inject
from .folder import new_folder
from .image import Image
from .machine import Files, Machine
from .monitor import Monitor
from .process import Process
from .snapshot_store import Snapshot

# Six seconds on an idle machine.
BOOT_S = 180.0
RESTORE_S = 30.0
ANSWER_S = 30.0
SAVE_S = 300.0
END_S = 20.0
IGNORE_SHARED = [{"capability": "x-ignore-shared", "state": True}]


class Emulator:
    """See the module. It runs, and is ready for logins, once it is made; ``close`` ends it.

    Attributes:
        folder: what it has on the host; see there.
        port: of 127.0.0.1, where its SSH server is.
    """

    def __init__(
        self, name: str, image: Image, machine: Machine, saved: Snapshot | None = None, home: Path | None = None
    ) -> None:
        """Boot, or restore a saved state.

        Args:
            home: a disk for the user's home folder; it becomes the board's own.

        Raises:
            EmulatorError: QEMU cannot be started, or the guest does not come up; with the end of its console.
            StorageError: the disk is full.
        """
        self.name, self.image = name, image
        self.monitor: Monitor | None = None
        self._pending = b""
        self.folder = new_folder()
        try:
            with storage_errors(self.folder.path):
                self._make_disks(saved, home)
            command = self._command(machine, saved)
        except BaseException:
            self.folder.abandon()
            raise
        self._process = Process(self.folder, command)
        try:
            self.monitor = Monitor(self._process.monitor)
            if saved is not None:
                self._restore(saved)
            else:
                self._expect("ready", BOOT_S)
            self.port = self._forwarded_port()
            with storage_errors(self.folder.path):
                self.folder.describe(name, image, self.port)
        except EmulatorError as error:
            error.found = "\n".join(filter(None, [error.found, self.state()]))
            error.where = error.where or f"the emulated board {name}"
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    def _make_disks(self, saved: Snapshot | None, home: Path | None) -> None:
        _make_overlay(saved.disk if saved else self.image.disk, self.folder.disk)
        if saved is not None:
            _make_overlay(saved.home, self.folder.home)
        elif home is not None:
            shutil.move(home, self.folder.home)

    def _command(self, machine: Machine, saved: Snapshot | None) -> Any:
        home = self.folder.home if self.folder.home.exists() else None
        memory = saved.memory if saved else self.folder.memory

        def command(monitor: int, control: int, faults: int) -> list[str]:
            files = Files(self.folder.disk, home, memory, self.folder.console, monitor, control, faults)
            return machine.command(self.image, files, incoming=saved is not None)

        return command

    def _restore(self, saved: Snapshot) -> None:
        end = time.monotonic() + RESTORE_S
        try:
            self._qmp("migrate-set-capabilities", capabilities=IGNORE_SHARED)
            self._qmp("migrate-incoming", uri=f"exec:{saved.reader}")
            while self._qmp("query-status")["status"] == "inmigrate":
                if time.monotonic() > end:
                    raise EmulatorError("nothing more is read", found=f"QEMU still waits after {RESTORE_S:g} s")
                time.sleep(0.005)
            self._qmp("cont")
        except EmulatorError as error:
            what, where = "the saved state cannot be restored", str(saved.folder)
            raise EmulatorError(what, found=f"{error.what}: {error.found}", where=where) from error
        self.ask("resume", clock_ns=time.time_ns(), seed=secrets.token_hex(64))

    def ask(self, operation: str, **arguments: Any) -> None:
        """Have the guest's caretaker do something; see guest/caretaker.py.

        Raises:
            EmulatorError: it refused, did not answer, or is gone.
        """
        control = self._process.control
        control.settimeout(ANSWER_S)
        with contextlib.suppress(OSError):  # what ended it is said below
            control.sendall(json.dumps({"op": operation, **arguments}).encode() + b"\n")
        self._expect("done", ANSWER_S)

    def _expect(self, key: str, patience_s: float) -> None:
        """Wait for a line of the caretaker's that has this key; others are of a restart since."""
        end = time.monotonic() + patience_s
        while True:
            line = self._line(key, end)
            if "error" in line:
                raise EmulatorError("the emulated board's caretaker refused", wanted=repr(key), found=line["error"])
            if key in line:
                return

    def _line(self, key: str, end: float) -> dict[str, Any]:
        control = self._process.control
        while b"\n" not in self._pending:
            left = end - time.monotonic()
            if self._process.ended:
                raise EmulatorError("the emulated board ended while it was being started")
            if left <= 0:
                raise EmulatorError("the emulated board does not answer", wanted=f"{key!r} in time")
            if select.select([control], [], [], min(left, 0.2))[0]:
                with contextlib.suppress(OSError):
                    self._pending += control.recv(4096)
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _monitored(self) -> Monitor:
        if self.monitor is None:
            raise EmulatorError("QEMU's monitor is not there", where=f"the emulated board {self.name}")
        return self.monitor

    def _qmp(self, command: str, **arguments: Any) -> Any:
        return self._monitored()(command, **arguments)

    def _forwarded_port(self) -> int:
        said = self._qmp("human-monitor-command", command_line="info usernet")
        found = re.search(r"HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(\d+)", said)
        if found is None:
            raise EmulatorError("QEMU forwards no port", wanted="a port of 127.0.0.1", found=said)
        return int(found[1])

    def state(self) -> str:
        """What is to be known of a board that went wrong: QEMU's state, what it said, the end of the console."""
        doing = self._process.ended or self._doing()
        return "\n".join([f"QEMU {self._process.ended or doing}", *self.folder.tails()])

    def _doing(self) -> str:
        """In QEMU's words: running; paused, as by a fault; io-error, where the host's disk is full."""
        try:
            return f"is {self._qmp('query-status', timeout_s=5.0)['status']}"
        except EmulatorError:
            self._process.wait_ended(1.0)  # whose monitor is gone is about to end
            return "is not answering"

    def inject(self, fault: str) -> None:
        """Let something happen to the board: one of faults.FAULTS.

        Raises:
            EmulatorError: QEMU refused, or is gone.
        """
        inject(self._monitored(), fault)

    def check(self) -> None:
        """Raises EmulatorDied where QEMU has ended."""
        if self._process.ended:
            raise EmulatorDied(f"the emulated board {self.name} is gone", found=self.state(), where=self.image.name)

    def save(self, saved: Snapshot) -> None:
        """Save the board as it is now, into an empty folder, and end it; see saved.

        Raises:
            EmulatorError: QEMU cannot, or took too long.
            StorageError: the disk is full.
        """
        self.ask("sync")
        self._qmp("stop")
        self._qmp("migrate-set-capabilities", capabilities=IGNORE_SHARED)
        self._qmp("migrate", uri=f"exec:{saved.writer}")
        end = time.monotonic() + SAVE_S
        while (migration := self._qmp("query-migrate"))["status"] != "completed":
            if migration["status"] in ("failed", "cancelled") or time.monotonic() > end:
                found = f"{migration['status']}: {migration.get('error-desc', 'no reason given')}"
                raise EmulatorError("the board's state cannot be saved", found=found, where=str(saved.folder))
            time.sleep(0.02)
        self._qmp("quit")
        self._process.wait_ended(END_S)
        if not self._process.ended:
            raise EmulatorError("QEMU does not end", wanted=f"its end within {END_S:g} s of being told")
        with storage_errors(saved.folder):
            for source, target in ((self.folder.disk, saved.disk), (self.folder.memory, saved.memory)):
                shutil.move(source, target)
            if self.folder.home.exists():
                shutil.move(self.folder.home, saved.home)
        self.close()

    def close(self) -> None:
        """End it: what it has written is gone. Never raises."""
        if self.monitor is not None:
            self.monitor.close()
        self._process.close()
        self.folder.remove()  # a supervisor that was killed could not


def _make_overlay(base: Path, overlay: Path) -> None:
    command = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(overlay)]
    done = subprocess.run([host.program("qemu-img"), *command], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise EmulatorError("a disk of the board cannot be made", found=done.stderr.strip(), where=str(base))
