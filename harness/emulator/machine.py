"""What QEMU emulates: one CPU and its memory, as the device file says, and the devices that all our boards have.

The command is part of what a snapshot depends on: it is restored into the very machine that it was saved from.
"""

from __future__ import annotations

import functools
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..device.device import Device
from ..errors import DeviceError
from . import host_programs
from .image import Image

ARCH = "aarch64"
CORES = 2
LEAST_MIB = 256
CONTROL_PORT = "hilgate"
# Of the CPUs that QEMU lists, Cortex-A5 to A17 and all M and R have 32 bits.
SIXTY_FOUR_BITS = re.compile(r"cortex-a(?!1[57])\d\d|neoverse-|a64fx")
TRANSLATED_MIB = 512
# A panic ends the machine: QEMU is told to take a reboot as the end. Errors of the kernel go to the console, and the
# processes that it kills.
KERNEL_LINE = "console=ttyAMA0 quiet loglevel=4 panic=-1"
# A machine that counts: its clock goes on by 2**ICOUNT_SHIFT nanoseconds with each instruction, and by nothing else
# while there is something to do. With 0 the kernel's 250 ticks a second come every four million instructions, and so
# into few samples; the guest reads its clock in steps of 16 ns, 16 instructions.
ICOUNT_SHIFT = 0
# Every process of a restored snapshot finds its memory where it was in the others.
COUNTING_KERNEL_LINE = f"{KERNEL_LINE} norandmaps"


@dataclass(frozen=True)
class Machine:
    """A CPU as QEMU spells it, how many of it, and memory; ``counting``, whether its clock counts instructions."""

    cpu: str
    memory_mib: int
    cores: int = CORES
    counting: bool = False

    def command(self, image: Image, files: Files, incoming: bool) -> list[str]:
        """Build QEMU's command line.

        Args:
            image: what the board boots from.
            files: where disk, memory and console are, and the descriptors of the channels to us.
            incoming: wait for a snapshot to be restored, in place of booting.
        """
        memory = f"memory-backend-file,id=ram,size={self.memory_mib}M,mem-path={_quoted(files.memory)}"
        return [
            *(host_programs.program(host_programs.QEMU), "-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", "virt,gic-version=3,memory-backend=ram", "-cpu", self.cpu, "-smp", str(self.cores)),
            *("-accel", f"tcg,thread={'single' if self.counting else 'multi'},tb-size={TRANSLATED_MIB}"),
            *(("-icount", f"shift={ICOUNT_SHIFT}") if self.counting else ()),
            *("-m", f"{self.memory_mib}M"),
            # Restored, the file is only read: what the board writes stays its own, and boards share what they do not.
            *("-object", f"{memory},share={'off' if incoming else 'on'}"),
            *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
            *("-append", COUNTING_KERNEL_LINE if self.counting else KERNEL_LINE),
            # What is written is thrown away with the board, so nothing waits for the host's disk.
            *("-drive", f"if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file={_quoted(files.disk)}"),
            *("-device", "virtio-blk-pci,drive=disk"),
            *self._home(files),
            # Port 0: the kernel chooses a free one, and nobody can take it between choosing and listening.
            *("-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
            *("-device", "virtio-net-pci,id=nic,netdev=net,romfile="),
            *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=control,fd={files.control}"),
            *("-device", f"virtserialport,chardev=control,name={CONTROL_PORT}"),
            *("-chardev", f"socket,id=monitor,fd={files.monitor}", "-mon", "chardev=monitor,mode=control"),
            *("-chardev", f"socket,id=faults,fd={files.faults},server=on,wait=off"),
            *("-mon", "chardev=faults,mode=control"),
            *("-serial", f"file:{files.console}", "-action", "reboot=shutdown"),
            *(("-incoming", "defer") if incoming else ()),
        ]

    @staticmethod
    def _home(files: Files) -> list[str]:
        if files.home is None:
            return []
        drive = f"if=none,id=home,format=qcow2,cache=unsafe,discard=unmap,file={_quoted(files.home)}"
        return ["-drive", drive, "-device", "virtio-blk-pci,drive=home"]


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files and sockets that one board's QEMU has open.

    Attributes:
        disk: path of the first disk.
        home: path of the second disk, for the user's home folder; None where there is none.
        memory: path of the guest's memory.
        console: path of what the guest's kernel prints.
        monitor: descriptor of a connected socket, for QEMU's monitor.
        control: descriptor of a connected socket, for the guest's init.
        faults: descriptor of a listening socket, for a person who injects faults.
    """

    disk: Path
    home: Path | None
    memory: Path
    console: Path
    monitor: int
    control: int
    faults: int

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that QEMU inherits."""
        return self.monitor, self.control, self.faults


def machine_of(device: Device) -> Machine:
    """Work out which machine a device file asks for.

    Raises:
        DeviceError: it does not say, or QEMU has no such CPU.
        EmulatorError: there is no QEMU to ask.
    """
    asked = {"arch": device.arch, "cpu": device.cpu, "memory_mib": device.memory_mib}
    left_out = [f"device.{key}" for key, value in asked.items() if value is None]
    if left_out or device.arch != ARCH or device.cpu is None or device.memory_mib is None:
        raise DeviceError(
            'a device with link = "qemu" says what is emulated',
            wanted=f'arch = "{ARCH}", cpu = "cortex-a72", memory_mib = 2048',
            found=", ".join(f"no {key}" for key in left_out) or f"arch = {device.arch!r}",
            where=str(device.path),
        )
    if device.memory_mib < LEAST_MIB:
        raise DeviceError(
            "an emulated board needs more memory",
            wanted=f"at least {LEAST_MIB} MiB: its kernel, Python and a runtime",
            found=str(device.memory_mib),
            where=f"{device.path}: device.memory_mib",
        )
    if device.cpu not in known_cpus():
        raise DeviceError(
            f"QEMU emulates no CPU {device.cpu!r}",
            wanted="one of " + ", ".join(known_cpus()),
            found=repr(device.cpu),
            where=f"{device.path}: device.cpu",
            hint=f"{host_programs.qemu_version()}; a newer one may know it",
        )
    if device.counting:  # another CPU's instructions would move the clock, too
        return Machine(device.cpu, device.memory_mib, 1, counting=True)
    return Machine(device.cpu, device.memory_mib, max(CORES, device.threads))


@functools.cache
def known_cpus() -> tuple[str, ...]:
    """List the 64-bit CPUs of Arm that this QEMU knows."""
    host_programs.qemu_version()
    command = [host_programs.program(host_programs.QEMU), "-machine", "virt", "-cpu", "help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=host_programs.VERSION_S, check=False)
    names = (line.strip() for line in done.stdout.splitlines())
    return tuple(name for name in names if SIXTY_FOUR_BITS.match(name))


def _quoted(path: Path) -> str:
    """Quote a path for an option of QEMU's, in which a comma ends a value."""
    return str(path).replace(",", ",,")
