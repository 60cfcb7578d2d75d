"""One emulated board: booted, or restored from a snapshot; asked, saved, ended."""

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
from typing import Any, Self

from ..errors import EmulatorDied, EmulatorError
from ..host.cache import storage_errors
from . import host_programs
from .faults import inject
from .folder import Folder, new_folder
from .image import Image
from .machine import Files, Machine
from .monitor import Monitor
from .process import CommandLine, Process
from .snapshot_store import Snapshot

# Booting takes six seconds on an idle machine.
BOOT_S = 180.0
RESTORE_S = 30.0
ANSWER_S = 60.0
SAVE_S = 300.0
END_S = 20.0
IGNORE_SHARED = [{"capability": "x-ignore-shared", "state": True}]


class Emulator:
    """One emulated board that runs and is ready for logins. Made by ``start``, ended by ``close``.

    Attributes:
        name: the device's.
        image: what it was booted from.
        folder: what it has on the host; see there.
        monitor: QEMU's monitor, once it is connected.
        port: of 127.0.0.1, where the board's SSH server is.
    """

    def __init__(self, name: str, image: Image, folder: Folder, process: Process) -> None:
        """Hold a QEMU that was launched; ``start`` launches one."""
        self.name, self.image, self.folder = name, image, folder
        self.monitor: Monitor | None = None
        self.port = 0
        self._process = process
        self._pending = b""

    @classmethod
    def start(
        cls, name: str, image: Image, machine: Machine, *, snapshot: Snapshot | None = None, home: Path | None = None
    ) -> Self:
        """Boot a board, or restore a snapshot of it, and wait until it is ready for logins.

        Args:
            name: the device's, for messages and its ssh_config.
            image: what it boots from.
            machine: what QEMU emulates.
            snapshot: what is restored, made from that image and machine.
            home: a disk for the user's home folder; it becomes the board's own.

        Raises:
            EmulatorError: QEMU cannot be started, or the guest does not come up; with the end of its console.
            StorageError: the disk is full.
        """
        folder = new_folder()
        try:
            with storage_errors(folder.path):
                _make_disks(folder, image, snapshot, home)
            command = _command_line(folder, image, machine, snapshot)
        except BaseException:
            folder.abandon()
            raise
        board = cls(name, image, folder, Process.launch(folder, command))
        try:
            board._come_up(snapshot)
        except EmulatorError as error:
            error.found = "\n".join(filter(None, [error.found, board.state()]))
            error.where = error.where or f"the emulated board {name}"
            board.close()
            raise
        except BaseException:
            board.close()
            raise
        return board

    def _come_up(self, snapshot: Snapshot | None) -> None:
        self.monitor = Monitor.connect(self._process.monitor)
        if snapshot is not None:
            self._restore(snapshot)
        else:
            self._expect("ready", BOOT_S)
        self.port = self._forwarded_port()
        with storage_errors(self.folder.path):
            self.folder.describe(self.name, self.image, self.port)

    def _restore(self, snapshot: Snapshot) -> None:
        end = time.monotonic() + RESTORE_S
        try:
            self._qmp("migrate-set-capabilities", capabilities=IGNORE_SHARED)
            self._qmp("migrate-incoming", uri=f"exec:{snapshot.reader}")
            while self._qmp("query-status")["status"] == "inmigrate":
                if time.monotonic() > end:
                    raise EmulatorError("nothing more is read", found=f"QEMU still waits after {RESTORE_S:g} s")
                time.sleep(0.005)
            self._qmp("cont")
        except EmulatorError as error:
            what, where = "the saved state cannot be restored", str(snapshot.folder)
            raise EmulatorError(what, found=f"{error.what}: {error.found}", where=where) from error
        self.ask("resume", clock_ns=time.time_ns(), seed=secrets.token_hex(64))

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Ask the guest's init for an operation, and wait until it is done; see guest/init.py.

        Args:
            operation: one of the init's OPERATIONS.
            **arguments: the operation's own.

        Returns:
            Its answer, as the guest gave it.

        Raises:
            EmulatorError: it refused, did not answer, or is gone.
        """
        control = self._process.control
        control.settimeout(ANSWER_S)
        with contextlib.suppress(OSError):  # why it ended is reported by _expect
            control.sendall(json.dumps({"op": operation, **arguments}).encode() + b"\n")
        return self._expect("done", ANSWER_S, operation)

    def _expect(self, key: str, patience_s: float, said: object = True) -> dict[str, Any]:
        """Wait for a line of the init's that says this of a key; another one comes from a restart meanwhile."""
        end = time.monotonic() + patience_s
        while True:
            line = self._line(key, end)
            if "error" in line:
                raise EmulatorError("the emulated board's init refused", wanted=repr(key), found=line["error"])
            if line.get(key) == said:
                return line

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
        """Describe a board that went wrong: QEMU's state, its output, and the end of the board's console."""
        doing = self._process.ended or self._doing()
        return "\n".join([f"QEMU {self._process.ended or doing}", *self.folder.tails()])

    def _doing(self) -> str:
        """Return QEMU's word for its state: running; paused, as by a fault; io-error, where the host's disk is full."""
        try:
            return f"is {self._qmp('query-status', timeout_s=5.0)['status']}"
        except EmulatorError:
            self._process.wait_ended(1.0)  # whose monitor is gone is about to end
            return "is not answering"

    def inject(self, fault: str) -> None:
        """Inject a fault into the board.

        Args:
            fault: one of faults.FAULTS.

        Raises:
            EmulatorError: QEMU refused, or is gone.
        """
        inject(self._monitored(), fault)

    def check(self) -> None:
        """Check that QEMU still runs.

        Raises:
            EmulatorDied: it has ended.
        """
        if self._process.ended:
            raise EmulatorDied(f"the emulated board {self.name} is gone", found=self.state(), where=self.image.name)

    def save(self, snapshot: Snapshot) -> None:
        """Save the board as it is now, and end it.

        Args:
            snapshot: whose folder is filled; empty. See snapshot_store.

        Raises:
            EmulatorError: QEMU cannot, or took too long.
            StorageError: the disk is full.
        """
        self.ask("deliver")  # a board that is restored loses no packets, whatever was done to this one
        self.ask("sync")
        self._qmp("stop")
        self._qmp("migrate-set-capabilities", capabilities=IGNORE_SHARED)
        self._qmp("migrate", uri=f"exec:{snapshot.writer}")
        end = time.monotonic() + SAVE_S
        while (migration := self._qmp("query-migrate"))["status"] != "completed":
            if migration["status"] in ("failed", "cancelled") or time.monotonic() > end:
                found = f"{migration['status']}: {migration.get('error-desc', 'no reason given')}"
                raise EmulatorError("the board's state cannot be saved", found=found, where=str(snapshot.folder))
            time.sleep(0.02)
        self._qmp("quit")
        self._process.wait_ended(END_S)
        if not self._process.ended:
            raise EmulatorError("QEMU does not end", wanted=f"its end within {END_S:g} s of being told")
        with storage_errors(snapshot.folder):
            for source, target in ((self.folder.disk, snapshot.disk), (self.folder.memory, snapshot.memory)):
                shutil.move(source, target)
            if self.folder.home.exists():
                shutil.move(self.folder.home, snapshot.home)
        self.close()

    def close(self) -> None:
        """End the board; what it has written is lost. Never raises."""
        if self.monitor is not None:
            self.monitor.close()
        self._process.close()
        self.folder.remove()  # a supervisor that was killed could not


def _make_disks(folder: Folder, image: Image, snapshot: Snapshot | None, home: Path | None) -> None:
    _make_overlay(snapshot.disk if snapshot else image.disk, folder.disk)
    if snapshot is not None:
        _make_overlay(snapshot.home, folder.home)
    elif home is not None:
        shutil.move(home, folder.home)


def _command_line(folder: Folder, image: Image, machine: Machine, snapshot: Snapshot | None) -> CommandLine:
    home = folder.home if folder.home.exists() else None
    memory = snapshot.memory if snapshot else folder.memory

    def command(monitor: int, control: int, faults: int) -> list[str]:
        files = Files(
            disk=folder.disk,
            home=home,
            memory=memory,
            console=folder.console,
            monitor=monitor,
            control=control,
            faults=faults,
        )
        return machine.command(image, files, incoming=snapshot is not None)

    return command


def _make_overlay(base: Path, overlay: Path) -> None:
    command = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(overlay)]
    done = subprocess.run(
        [host_programs.program("qemu-img"), *command], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise EmulatorError("a disk of the board cannot be made", found=done.stderr.strip(), where=str(base))
