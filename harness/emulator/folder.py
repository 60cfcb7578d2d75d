"""The folder of one emulated board, emulators/board-… in the cache: it is removed when the board ends.

disk.qcow2     what it writes, above the image's disk or a snapshot's
home.qcow2     a second disk, the user's home folder, where there is one: the same
memory         its memory, where it was not restored from a snapshot
console.log    what its kernel and process 1 say
qemu.log       what QEMU says
faults         a socket of QEMU's monitor, for whoever injects faults from outside
board.json     {"device": …, "pid": …, "port": …}, for the same
ssh_config     ssh -F THIS DEVICE
known_hosts    what that file leads to
lock           held for as long as the supervisor lives
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..host.bounded import locked
from ..host.cache import cache_folder, make_private, storage_errors
from .image import Image
from .image_recipe import USER

EMULATORS = "emulators"
TAIL_LINES = 20


@dataclass(frozen=True)
class Folder:
    """The folder of one board; ``lock`` is the descriptor that holds its lock."""

    path: Path
    lock: int

    @property
    def disk(self) -> Path:
        """The overlay of the first disk."""
        return self.path / "disk.qcow2"

    @property
    def home(self) -> Path:
        """The second disk."""
        return self.path / "home.qcow2"

    @property
    def memory(self) -> Path:
        """The memory of a board that was booted."""
        return self.path / "memory"

    @property
    def console(self) -> Path:
        """What the guest's kernel says."""
        return self.path / "console.log"

    @property
    def ssh_config(self) -> Path:
        """A file for ssh -F, in which the board has its device's name."""
        return self.path / "ssh_config"

    def describe(self, name: str, image: Image, port: int) -> None:
        """Write what is needed to log in, and to inject a fault from outside.

        Args:
            name: the device's, which ssh_config has as a host.
            image: what the board was booted from, with its keys.
            port: of 127.0.0.1, where its SSH server is.
        """
        known_hosts, key = self.path / "known_hosts", self.path / "id_ed25519"
        key.touch(mode=0o600)  # a copy: another image may take the place of this one while the board runs
        key.write_bytes(image.key.read_bytes())
        alias = f"hilgate-{image.folder.name[:16]}"
        known_hosts.write_text(f"{alias} {image.host_key}\n", encoding="ascii")
        settings = {
            "HostName": "127.0.0.1",
            "Port": port,
            "User": USER,
            "HostKeyAlias": alias,
            "IdentitiesOnly": "yes",
            "IdentityFile": f'"{key}"',
            "UserKnownHostsFile": f'"{known_hosts}"',
            "GlobalKnownHostsFile": "none",
        }
        text = "".join(f"    {key} {value}\n" for key, value in settings.items())
        self.ssh_config.write_text(f"Host {name}\n{text}", encoding="utf-8")
        record = {"device": name, "pid": os.getpid(), "port": port}
        (self.path / "board.json").write_text(json.dumps(record) + "\n", encoding="utf-8")

    def tails(self) -> list[str]:
        """Quote the ends of QEMU's output and of the board's console, as far as there are any."""
        named = {"qemu.log": "QEMU said", "console.log": "its console ends"}
        found = {title: _tail(self.path / name) for name, title in named.items()}
        return [f"{title}:\n{text}" for title, text in found.items() if text]

    @contextlib.contextmanager
    def listening(self, name: str) -> Iterator[socket.socket]:
        """Listen on a Unix socket in the folder for the time of a block.

        Its path may be longer than the kernel takes (108 bytes, unix(7)): it is bound through a descriptor.

        Args:
            name: the socket's.
        """
        with socket.socket(socket.AF_UNIX) as listener:
            folder = os.open(self.path, os.O_PATH | os.O_DIRECTORY)
            try:
                listener.bind(f"/proc/self/fd/{folder}/{name}")
            finally:
                os.close(folder)
            listener.listen(1)
            yield listener

    def abandon(self) -> None:
        """Remove the folder and release its lock, because nothing was started there."""
        os.close(self.lock)
        self.remove()

    def remove(self) -> None:
        """Remove the folder, where the supervisor has not; may be called twice."""
        shutil.rmtree(self.path, ignore_errors=True)


def new_folder() -> Folder:
    """Make and lock a folder for one board; the folders of boards that are gone are removed first."""
    place = cache_folder() / EMULATORS
    with storage_errors(place):
        make_private(place)
        with locked(place):  # before it is locked, another process would take it for one whose board is gone
            for folder in place.glob("board-*"):
                _remove_left(folder)
            path = Path(tempfile.mkdtemp(prefix="board-", dir=place))
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
    return Folder(path, lock)


def _remove_left(folder: Path) -> None:
    """Remove a folder if its supervisor is gone, as after the machine was switched off."""
    with contextlib.suppress(OSError):
        if not (folder / "lock").exists():
            shutil.rmtree(folder, ignore_errors=True)
        descriptor = os.open(folder / "lock", os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def _is_left(folder: Path) -> bool:
    """Whether nobody has a folder's lock: its supervisor is gone."""
    descriptor = os.open(folder / "lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def running() -> list[tuple[Path, Mapping[str, Any]]]:
    """List (folder, board.json) of every emulated board of this user that is running."""
    found = []
    for path in sorted((cache_folder() / EMULATORS).glob("*/board.json")):
        with contextlib.suppress(OSError, ValueError):
            if _is_left(path.parent):
                continue
            found.append((path.parent, json.loads(path.read_text(encoding="utf-8"))))
    return found


def _tail(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-TAIL_LINES:])
