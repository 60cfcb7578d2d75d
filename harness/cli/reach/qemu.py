"""The way to an emulated board: QEMU and an image, on this machine."""

from __future__ import annotations

from collections.abc import Iterator

from ...device.device import Device
from ...emulator import host
from ...emulator.image import find_image, image_folder
from ...emulator.machine import machine_of
from ...emulator.sealed import damage
from ...errors import EmulatorError, HilgateError
from ..report import FAILED, OK, WARNING, Check, failed, skipped


def state(device: Device) -> str:
    """Say whether the board could be started; it is not, for that."""
    try:
        machine_of(device)
    except EmulatorError as error:
        return f"{error.found or error.what}: {error.hint}"
    return "emulated, its image is there" if find_image() else "emulated; the first run builds its image"


def checks(device: Device) -> Iterator[Check]:
    """Check that QEMU can emulate the board, and that there is an image for it."""
    try:
        machine = machine_of(device)
    except HilgateError as error:
        yield failed("QEMU", error)
        yield from skipped(("image",), "QEMU")
        return
    yield Check("QEMU", OK, f"{host.qemu_version()}: {machine.cpu}, {machine.memory_mib} MiB")
    image = find_image()
    if image is None:
        yield _missing_image(device)
        return
    yield Check("image", OK, f"{image.name}, kernel {image.record['kernel']}")


def _missing_image(device: Device) -> Check:
    if missing := host.missing({**host.TO_RUN, **host.TO_BUILD}):
        hint = f"sudo apt-get install {' '.join(host.install_line(missing))}"
        return Check("image", FAILED, f"not built yet, and cannot be: not installed: {', '.join(missing)}", hint)
    folder = image_folder()
    why = f"damaged: {damage(folder)}" if folder.exists() else "not built yet"
    return Check(
        "image", WARNING, f"{why}; the next run builds it", f"for a look at the rest: hilgate image build {device.name}"
    )
