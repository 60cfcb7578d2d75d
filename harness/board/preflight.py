"""Checks that are made before anything is sent: is it the right board, and has it room?"""

from __future__ import annotations

import os

from ..bundle import Bundle
from ..device.device import Device
from ..device.memory_size import memory_fits
from ..errors import BackendError, DeviceError, ModelError, StorageError
from ..model.inputs import describe_sizes, set_bytes
from ..model.model import Model
from ..protocol import BoardFacts
from ..protocol.daemon import Room

MIB = 1 << 20
# Kept free on a board's disk: other programs of a system fail when its disk is full.
SPARE_BYTES = 32 * MIB


def check_board(device: Device, facts: BoardFacts) -> None:
    """Compare a board with its file: with another board under the same name every figure would be wrong.

    Args:
        device: the device, as its file describes it.
        facts: what the board is.

    Raises:
        DeviceError: its architecture, CPU, memory or Python is not what the file says.
    """
    wrong = differences(device, facts)
    if wrong:
        raise DeviceError(
            f"the board is not what the file of {device.name} says",
            wanted=", ".join(f"{key} {wanted}" for key, wanted, _ in wrong),
            found=", ".join(f"{key} {found}" for key, _, found in wrong),
            where=str(device.path),
            hint="correct the file, or the host that it names",
        )


def differences(device: Device, facts: BoardFacts) -> list[tuple[str, str, str]]:
    """List (key, what the file says, what was found) for each key in which a board is not what its file says."""
    wrong = []
    if device.arch is not None and facts.arch != device.arch:
        wrong.append(("arch", device.arch, facts.arch))
    if device.cpu is not None and facts.cpu.lower() != device.cpu.lower():
        wrong.append(("cpu", device.cpu, facts.cpu))
    if device.arch is not None and facts.bits != 64:
        wrong.append(("a 64-bit Python", "(a 64-bit system)", f"{facts.bits}-bit {facts.executable}"))
    version = device.runtime.python
    if version is not None and not version.startswith("/") and not f"{facts.python}.".startswith(f"{version}."):
        wrong.append(("python", version, f"{facts.python} ({facts.executable})"))
    if device.memory_mib is not None and not memory_fits(device.memory_mib, facts.memory_mib):
        wrong.append(("memory_mib", str(device.memory_mib), str(facts.memory_mib)))
    return wrong


def check_same(device: Device, before: BoardFacts, found: BoardFacts) -> None:
    """Check that it is still the same board after a connection was made again.

    Args:
        device: the device, as its file describes it.
        before: what the board was before the connection dropped.
        found: what it is now.

    Raises:
        DeviceError: it is another one.
    """
    keys = ("serial", "board", "arch", "cpu", "memory_mib")
    changed = [key for key in keys if getattr(before, key) != getattr(found, key)]
    if changed:
        raise DeviceError(
            f"another board answers in place of {device.name}",
            wanted=", ".join(f"{key} {getattr(before, key)}" for key in changed),
            found=", ".join(f"{key} {getattr(found, key)}" for key in changed),
            where=str(device.path),
            hint="give each board an address of its own",
        )


def check_memory(device: Device, bundle: Bundle, facts: BoardFacts) -> None:
    """Refuse a model whose artifact alone exceeds the board's memory; what else it takes only measuring shows.

    Args:
        device: the device.
        bundle: the model's bundle.
        facts: what the board is.

    Raises:
        BackendError: the artifact is larger than the memory.
    """
    size = sum(file.bytes for file in bundle.artifact.values())
    if facts.memory_mib and size > facts.memory_mib * MIB:
        raise BackendError(
            f"the model does not fit into the memory of {device.name}",
            wanted=f"at most {facts.memory_mib} MiB",
            found=f"an artifact of {size / MIB:.0f} MiB",
            where=f"{bundle.entry} for {bundle.backend}",
            hint="a smaller model, or one of reduced precision",
        )


def check_inputs(device: Device, model: Model, facts: BoardFacts, sets: int) -> None:
    """Refuse sizes at which the inputs alone exceed the memory, before any is made.

    The device needs room for two copies of a set: as it arrives, and unpacked.

    Args:
        device: the device.
        model: the model, with the sizes that are measured.
        facts: what the board is.
        sets: how many sets the host makes.

    Raises:
        ModelError: they exceed the memory of the device or of this machine.
    """
    size = set_bytes(model, model.measured_sizes)
    own_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    for where, memory_mib, copies in ((device.name, facts.memory_mib, 2), ("this machine", own_mib, sets + 1)):
        if memory_mib and copies * size > memory_mib * MIB:
            raise ModelError(
                f"the inputs do not fit into the memory of {where} at the sizes that are measured",
                wanted=f"at most {memory_mib} MiB for {copies} sets of inputs",
                found=f"{size / MIB:,.0f} MiB each, at {describe_sizes(model.measured_sizes) or 'their fixed sizes'}",
                where=model.name,
                hint="Model(measure={…}) chooses other sizes; dims says how large an input may be",
            )


def check_disk(device: Device, store: str, room: Room) -> None:
    """Check that the board's disk has room for all that is missing, before a byte is sent.

    Args:
        device: the device.
        store: the store's path there.
        room: what the daemon answered when it was told to make room.

    Raises:
        StorageError: it has not.
    """
    needed = room.needed_bytes
    if needed > room.free_bytes:
        raise StorageError(
            f"the disk of {device.name} is too small",
            wanted=f"{needed / MIB:.0f} MiB free",
            found=f"{room.free_bytes / MIB:.0f} MiB free, after all that this run does not need was removed",
            where=f"{store} on {device.name}",
            hint='free some space there, or name a folder on a larger disk: [device] store = "/…"',
        )
