"""One emulated board: a QEMU process with its overlay, console and monitor, from its launch to its end.

Its folder is EMULATORS/NAME in the cache, and goes with it:

    disk.qcow2     what it writes, above the image's disk or a saved state's
    home.qcow2     a second disk, the user's home folder, where there is one: the same
    memory         its memory, where it was not restored from a saved state
    console.log    what its kernel and init say
    qemu.log       what QEMU says
    faults         a socket of QEMU's monitor, for whoever injects faults from outside
    board.json     {"device": …, "pid": …, "port": …}, for the same
    ssh_config     ssh -F THIS board
    lock           held for as long as the supervisor lives
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..cache import cache_folder, storage_errors
from ..errors import EmulatorDied, EmulatorError
from . import host, supervisor
from .faults import SOCKET, inject
from .image import Image
from .machine import Files, Machine
from .monitor import Monitor
from .saved import Saved

EMULATORS = "emulators"
# Six seconds on an idle machine.
BOOT_S = 180.0
RESTORE_S = 30.0
ANSWER_S = 30.0
END_S = 20.0
SAVE_S = 300.0
TAIL_LINES = 20
IGNORE_SHARED = [{"capability": "x-ignore-shared", "state": True}]


class Emulator:
    """See the module. It runs, and is ready for logins, once it is made; ``close`` ends it."""

    def __init__(
        self, name: str, image: Image, machine: Machine, saved: Saved | None = None, home: Path | None = None
    ) -> None:
        """Boot, or restore a saved state.

        Args:
            home: a disk for the user's home folder; it becomes the board's own.

        Raises:
            EmulatorError: QEMU cannot be started, or the guest does not come up; with the end of its console.
            StorageError: the disk is full.
        """
        self.name, self.image, self.machine = name, image, machine
        self.folder = _new_folder()
        self._said = b""
        self._ended = ""
        self._pending = b""
        try:
            self._launch(saved, home)
            if saved is not None:
                self._restore(saved)
            else:
                self._expect("ready", BOOT_S)
            self.port = self._forwarded_port()
            self._describe()
        except EmulatorError as error:
            error.found = "\n".join(filter(None, [error.found, self.state()]))
            error.where = error.where or f"the emulated board {name}"
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    def _launch(self, saved: Saved | None, home: Path | None) -> None:
        disk, own_home, memory = self.folder / "disk.qcow2", self.folder / "home.qcow2", self.folder / "memory"
        _make_overlay(saved.disk if saved else self.image.disk, disk)
        if saved is not None:
            memory = saved.memory
            _make_overlay(saved.home, own_home)
        elif home is not None:
            shutil.move(home, own_home)
        ours, theirs = zip(*(socket.socketpair() for _ in range(2)), strict=True)
        with _listening(self.folder / SOCKET) as faults:
            descriptors = theirs[0].fileno(), theirs[1].fileno(), faults.fileno()
            second = own_home if own_home.exists() else None
            files = Files(disk, second, memory, self.folder / "console.log", *descriptors)
            command = self.machine.command(self.image, files, incoming=saved is not None)
            lifeline, self._lifeline = os.pipe()
            listed = ",".join(map(str, descriptors))
            supervise = [sys.executable, "-I", "-S", supervisor.__file__, str(lifeline), listed, str(self.folder)]
            self._supervisor = subprocess.Popen(
                [*supervise, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=(lifeline, *descriptors),
                start_new_session=True,
            )
            for end in (lifeline, *(one.detach() for one in theirs)):
                os.close(end)
        self._control: socket.socket = ours[1]
        self._control.setblocking(False)
        self.monitor = Monitor(ours[0])

    def _restore(self, saved: Saved) -> None:
        self.monitor("migrate-set-capabilities", capabilities=IGNORE_SHARED)
        self.monitor("migrate-incoming", uri=f"exec:{saved.reader}")
        end = time.monotonic() + RESTORE_S
        while self.monitor("query-status")["status"] == "inmigrate":
            if time.monotonic() > end or self.ended:
                raise EmulatorError("the saved state cannot be restored", where=str(saved.folder))
            time.sleep(0.005)
        self.monitor("cont")
        self.ask("resume", clock_ns=time.time_ns(), seed=secrets.token_hex(64))

    def ask(self, operation: str, **arguments: Any) -> None:
        """Have the guest's caretaker do something; see guest/caretaker.py.

        Raises:
            EmulatorError: it refused, did not answer, or is gone.
        """
        self._control.setblocking(True)
        self._control.settimeout(ANSWER_S)
        with contextlib.suppress(OSError):  # what ended it is said below
            self._control.sendall(json.dumps({"op": operation, **arguments}).encode() + b"\n")
        self._expect("done", ANSWER_S)

    def _expect(self, key: str, patience_s: float) -> None:
        """Wait for a line of the caretaker's."""
        end = time.monotonic() + patience_s
        while b"\n" not in self._pending:
            left = end - time.monotonic()
            if self.ended:
                raise EmulatorError("the emulated board ended while it was being started")
            if left <= 0:
                raise EmulatorError("the emulated board does not answer", wanted=f"{key!r} within {patience_s:g} s")
            if select.select([self._control], [], [], min(left, 0.2))[0]:
                with contextlib.suppress(OSError):
                    self._pending += self._control.recv(4096)
        line, _, self._pending = self._pending.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise EmulatorError("the emulated board's caretaker refused", wanted=repr(key), found=answer["error"])
        if key not in answer:  # of a restart since
            self._expect(key, max(end - time.monotonic(), 0.0))

    def _forwarded_port(self) -> int:
        said = self.monitor("human-monitor-command", command_line="info usernet")
        found = re.search(r"HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(\d+)", said)
        if found is None:
            raise EmulatorError("QEMU forwards no port", wanted="a port of 127.0.0.1", found=said)
        return int(found[1])

    def _describe(self) -> None:
        """Leave what a person needs who wants to log in by hand, or to inject a fault."""
        known_hosts = self.folder / "known_hosts"
        alias = f"hilgate-{self.image.folder.name[:16]}"
        known_hosts.write_text(f"{alias} {self.image.host_key}\n", encoding="ascii")
        settings = {
            "HostName": "127.0.0.1",
            "Port": self.port,
            "User": "pi",
            "HostKeyAlias": alias,
            "IdentitiesOnly": "yes",
            "IdentityFile": f'"{self.image.key}"',
            "UserKnownHostsFile": f'"{known_hosts}"',
            "GlobalKnownHostsFile": "none",
        }
        text = "".join(f"    {key} {value}\n" for key, value in settings.items())
        self.ssh_config.write_text(f"Host {self.name}\n{text}", encoding="utf-8")
        record = {"device": self.name, "pid": os.getpid(), "port": self.port}
        (self.folder / "board.json").write_text(json.dumps(record) + "\n", encoding="utf-8")

    @property
    def ssh_config(self) -> Path:
        """A file for ssh -F, in which the board has its device's name."""
        return self.folder / "ssh_config"

    @property
    def ended(self) -> str:
        """How QEMU ended, in words; "" while it runs."""
        stream = self._supervisor.stdout
        while not self._ended and stream is not None and select.select([stream], [], [], 0)[0]:
            chunk = os.read(stream.fileno(), 4096)
            self._said += chunk
            status = re.search(rb"exit (-?\d+)\n", self._said)
            if status is not None:
                self._ended = _words(int(status[1]))
            elif not chunk:
                self._ended = "ended with its supervisor, which was killed"
        return self._ended

    def state(self) -> str:
        """What is to be known of a board that went wrong: QEMU's state, what it said, the end of the console."""
        parts = [f"QEMU {self.ended or self._doing()}"]
        for name, title in (("qemu.log", "QEMU said"), ("console.log", "its console ends")):
            lines = _tail(self.folder / name)
            parts += [f"{title}:\n{lines}"] if lines else []
        return "\n".join(parts)

    def _doing(self) -> str:
        """In QEMU's words: running; paused, as by a fault; io-error, where the host's disk is full."""
        try:
            return f"is {self.monitor('query-status', timeout_s=5.0)['status']}"
        except (EmulatorError, AttributeError):  # it never came so far
            return "is not answering"

    def inject(self, fault: str) -> None:
        """Let something happen to the board: one of faults.FAULTS.

        Raises:
            EmulatorError: QEMU refused, or is gone.
        """
        inject(self.monitor, fault)

    def check(self) -> None:
        """Raises EmulatorDied where QEMU has ended."""
        if self.ended:
            raise EmulatorDied(f"the emulated board {self.name} is gone", found=self.state(), where=str(self.folder))

    def save(self, folder: Path) -> None:
        """Save the board as it is now, into an empty folder, and end it; see saved.

        Raises:
            EmulatorError: QEMU cannot, or took too long.
            StorageError: the disk is full.
        """
        self.ask("sync")
        saved = Saved(folder, {})
        self.monitor("stop")
        self.monitor("migrate-set-capabilities", capabilities=IGNORE_SHARED)
        self.monitor("migrate", uri=f"exec:{saved.writer}")
        end = time.monotonic() + SAVE_S
        while (status := self.monitor("query-migrate")["status"]) != "completed":
            if status in ("failed", "cancelled") or time.monotonic() > end:
                raise EmulatorError("the board's state cannot be saved", found=status, where=str(folder))
            time.sleep(0.02)
        self.monitor("quit")
        end = time.monotonic() + END_S
        while not self.ended and time.monotonic() < end:
            time.sleep(0.01)
        with storage_errors(folder):
            for path in (saved.disk, saved.home, saved.memory):
                shutil.move(self.folder / path.name, path)
        self.close()

    def close(self) -> None:
        """End it: what it has written is gone. Never raises."""
        if (monitor := getattr(self, "monitor", None)) is not None:
            monitor.close()
        if (control := getattr(self, "_control", None)) is not None:
            control.close()
        process = getattr(self, "_supervisor", None)
        if process is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        with contextlib.suppress(OSError):
            os.close(self._lifeline)
            self._lifeline = -1
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._ended = self._ended or "was ended"


def _make_overlay(base: Path, overlay: Path) -> None:
    command = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(overlay)]
    done = subprocess.run([host.program("qemu-img"), *command], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise EmulatorError("a disk of the board cannot be made", found=done.stderr.strip(), where=str(base))


def _words(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"


def _tail(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-TAIL_LINES:])


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """A Unix socket that listens at a path of any length: the kernel takes 108 bytes, and more through a descriptor."""
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        listener.listen(1)
        yield listener


def _new_folder() -> Path:
    """A folder for one board; those of boards that are gone go first."""
    place = cache_folder() / EMULATORS
    with storage_errors(place):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in place.iterdir():
            _remove_left(folder)
        return Path(tempfile.mkdtemp(prefix="board-", dir=place))


def _remove_left(folder: Path) -> None:
    """Remove the folder of a board whose supervisor is gone: that of a machine that was switched off."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder / "lock", os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def running() -> list[tuple[Path, Mapping[str, Any]]]:
    """(folder, board.json) of every emulated board of this user that is running."""
    found = []
    for path in sorted((cache_folder() / EMULATORS).glob("*/board.json")):
        with contextlib.suppress(OSError, ValueError):
            found.append((path.parent, json.loads(path.read_text(encoding="utf-8"))))
    return found
