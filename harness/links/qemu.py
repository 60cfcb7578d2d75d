"""Link ``qemu``: a board that QEMU emulates, reached over SSH like any other.

It is switched on with its image, or a saved state, by ``power_on``; and off by ``power_off``, or by the end of this
process, however that comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..device.device import Device
from ..emulator import host
from ..emulator.emulator import Emulator
from ..emulator.image import Image, find_image
from ..emulator.machine import machine_of
from ..emulator.snapshot_store import Snapshot
from ..errors import EmulatorError, LinkError
from ..protocol import BoardFacts
from . import ssh
from .ssh.process import Process


class Link:
    """Programs on an emulated board."""

    shares_files = False
    store = ssh.STORE
    python: str | None = None

    def __init__(self, device: Device) -> None:
        self.device = device
        self.where = f"QEMU ({device.name})"
        self.emulator: Emulator | None = None
        self._ssh: ssh.Link | None = None
        self.described: dict[str, Any] = {}

    def power_on(self, image: Image, saved: Snapshot | None = None, home: Path | None = None) -> None:
        """Boot the board, or restore a saved state of it.

        Args:
            home: a disk for the user's home folder; it becomes the board's own.

        Raises:
            DeviceError: the device file does not say what to emulate.
            EmulatorError: it does not come up.
            StorageError: the disk is full.
        """
        self.power_off()
        self.emulator = Emulator(self.device.name, image, machine_of(self.device), saved, home)
        # Of its ssh_config, and of no project's, both the way and the key that is pinned.
        board = replace(self.device, host=self.device.name, known_hosts=None)
        self._ssh = ssh.Link(board, self.emulator.folder.ssh_config)
        self.where = f"QEMU ({self.device.name}, port {self.emulator.port})"
        state = saved.folder.name if saved else None
        self.described = {"emulator": {"qemu": host.qemu_version(), "image": image.name, "state": state}}

    def start(self, script: str, *, bulk: bool = False, kill: Callable[[], None] | None = None) -> Process:
        """Start a script on the board; one that is still off is switched on, as its image has it.

        Raises:
            EmulatorDied: QEMU has ended.
            EmulatorError: the board has no image yet, or does not come up.
            LinkError: it cannot be reached; with what its console says.
        """
        if self.emulator is None or self._ssh is None:
            self.power_on(_built_image())
            return self.start(script, bulk=bulk, kill=kill)
        self.emulator.check()
        try:
            return self._ssh.start(script, bulk=bulk, kill=kill)
        except LinkError as error:
            self.emulator.check()
            error.found = "\n".join(filter(None, [error.found, self.emulator.state()]))
            raise

    def learn(self, facts: BoardFacts) -> None:
        """As over SSH."""
        if self._ssh is not None:
            self._ssh.learn(facts)

    def abort(self) -> None:
        """Close the sockets."""
        if self._ssh is not None:
            self._ssh.abort()

    def close(self) -> None:
        """Log out; the board stays on."""
        if self._ssh is not None:
            self._ssh.close()

    def power_off(self) -> None:
        """End QEMU; what the board has written is gone."""
        self.close()
        if self.emulator is not None:
            self.emulator.close()
        self.emulator = self._ssh = None


def _built_image() -> Image:
    image = find_image()
    if image is None:
        raise EmulatorError("there is no image of an emulated board yet", hint="hilgate image build")
    return image
