"""Link ``qemu``: a board that QEMU emulates, reached over SSH like any other.

It is switched on with its image, or a snapshot, by ``power_on``; and off by ``power_off``, or by the end of this
process, however that comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from ..device.device import Device
from ..emulator import host_programs
from ..emulator.emulator import Emulator
from ..emulator.image import Image, find_image, image_folder
from ..emulator.machine import machine_of
from ..emulator.record import describe_damage
from ..emulator.snapshot_store import Snapshot
from ..errors import EmulatorError, HilgateError, LinkError, LinkLost
from ..protocol import BoardFacts, Packets, parse
from . import ssh
from ._link import LinkType, SnapshotPower, WayCheck, WayStatus, skip_checks
from .ssh.process import Process
from .ssh.tunnel import BackTunnel


class Link(LinkType):
    """Programs on an emulated board."""

    emulated = True
    can_count = True
    tunnels_back = loses_packets = True
    refused_keys: ClassVar[Mapping[str, str]] = MappingProxyType({"runtime.environment": "packages"})

    def __init__(self, device: Device) -> None:
        """Make a link to a board that is off."""
        super().__init__(device)
        self.where = f"QEMU ({device.name})"
        self.emulator: Emulator | None = None
        self._ssh: ssh.Link | None = None
        self._described: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def check_way(cls, device: Device) -> Iterator[WayCheck]:
        """Check whether this machine has a QEMU that can emulate the device, and its image."""
        try:
            machine = machine_of(device)
        except HilgateError as error:
            yield WayCheck(name="QEMU", status=WayStatus.FAILED, error=error)
            yield from skip_checks(("image",), "QEMU")
            return
        yield WayCheck(name="QEMU", found=f"{host_programs.qemu_version()}: {machine.cpu}, {machine.memory_mib} MiB")
        image = find_image()
        if image is None:
            yield _missing_image(device)
            return
        yield WayCheck(name="image", found=f"{image.name}, kernel {image.record['kernel']}")

    @classmethod
    def describe_unopened(cls, device: Device) -> str:
        """Describe the device without booting it for that."""
        try:
            machine_of(device)
        except EmulatorError as error:
            return f"{error.found or error.what}: {error.hint}"
        return "emulated, its image is there" if find_image() else "emulated; the first run builds its image"

    @property
    def described(self) -> Mapping[str, Any]:
        """What emulates the board: QEMU's version, the image, the snapshot."""
        return self._described

    @property
    def snapshots(self) -> SnapshotPower:
        """The power switch: this link itself."""
        return self

    def power_on(self, image: Image, snapshot: Snapshot | None = None, home: Path | None = None) -> None:
        """Boot the board, or restore a snapshot of it; see SnapshotPower.

        Args:
            image: what it boots from.
            snapshot: what is restored, made from that image.
            home: a disk for the user's home folder; it becomes the board's own.

        Raises:
            DeviceError: the device file does not say what to emulate.
            EmulatorError: it does not come up.
            StorageError: the disk is full.
        """
        self.power_off()
        self.emulator = Emulator.start(self.device.name, image, machine_of(self.device), snapshot=snapshot, home=home)
        # The address and the pinned key come from its own ssh_config, and from no project's files.
        board = replace(self.device, host=self.device.name, known_hosts=None)
        self._ssh = ssh.Link(board, self.emulator.folder.ssh_config)
        self.where = f"QEMU ({self.device.name}, port {self.emulator.port})"
        state = snapshot.folder.name if snapshot else None
        self._described = {"emulator": {"qemu": host_programs.qemu_version(), "image": image.name, "state": state}}

    def save(self, snapshot: Snapshot) -> None:
        """Save the board as it is now into a snapshot's empty folder, and end it.

        Raises:
            EmulatorError: it is off, or cannot be saved.
            StorageError: the disk is full.
        """
        if self.emulator is None:
            raise EmulatorError("the board was switched off while it was prepared")
        self.emulator.save(snapshot)

    def start(self, script: str, *, bulk: bool = False, kill: Callable[[], None] | None = None) -> Process:
        """Start a script on the board; a board that is still off is booted from its image.

        Args:
            script: for a POSIX shell.
            bulk: on the connection for bulk transfers.
            kill: ends the program on the board.

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
        """Choose the cipher as over any SSH."""
        if self._ssh is not None:
            self._ssh.learn(facts)

    def tunnel_back(self, port: int) -> BackTunnel:
        """Have a port of the board's loopback lead to one of this machine's; see LinkType.

        Raises:
            TunnelError: the image's server refuses.
            LinkError: the board is off, or cannot be reached.
        """
        if self._ssh is None:
            raise LinkLost("the board is switched off", where=self.where)
        return self._ssh.tunnel_back(port)

    def lose(self, port: int, percent: float) -> None:
        """Have the guest's init lose packets of a port of its loopback, by tc's netem; see LinkType.

        Raises:
            LinkLost: the board is off.
            EmulatorError: the init refuses, or does not answer.
        """
        if self.emulator is None:
            raise LinkLost("the board is switched off", where=self.where)
        self.emulator.ask("lose", port=port, percent=percent)

    def deliver(self) -> Packets:
        """End that; see LinkType. A board that may lose packets ever after is switched off: others use it next.

        Raises:
            EmulatorError: the init refuses, or does not answer.
            ProtocolError: it answers nonsense.
        """
        if self.emulator is None:
            return super().deliver()
        try:
            return parse(Packets, self.emulator.ask("deliver"), to="deliver", where=self.where)
        except BaseException:
            self.cut_power()
            raise

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
        self.cut_power()
        self.emulator = self._ssh = None

    def cut_power(self) -> None:
        """End QEMU under whatever waits for the board."""
        emulator = self.emulator
        if emulator is not None:
            emulator.close()


def _built_image() -> Image:
    image = find_image()
    if image is None:
        raise EmulatorError("there is no image of an emulated board yet", hint="hilgate image build")
    return image


def _missing_image(device: Device) -> WayCheck:
    if missing := host_programs.missing({**host_programs.TO_RUN, **host_programs.TO_BUILD}):
        found = f"not built yet, and cannot be: not installed: {', '.join(missing)}"
        hint = f"sudo apt-get install {' '.join(host_programs.install_line(missing))}"
        return WayCheck(name="image", status=WayStatus.FAILED, found=found, hint=hint)
    folder = image_folder()
    why = f"damaged: {describe_damage(folder)}" if folder.exists() else "not built yet"
    hint = f"for a look at the rest: hilgate image build {device.name}"
    found = f"{why}; the next run builds it"
    return WayCheck(name="image", status=WayStatus.WARNING, found=found, hint=hint, is_last=True)
