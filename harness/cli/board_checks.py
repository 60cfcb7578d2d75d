"""The checks of `hilgate doctor` on a board that was reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..board.preflight import SPARE_BYTES, differences
from ..board.trial import Trial
from ..bundle.target import Platform
from ..device.device import Device
from ..errors import BackendError
from ..measure.validity import PI_NOW, PI_SINCE_BOOT
from ..protocol import BoardFacts, DeviceState
from ..protocol.daemon import Holder, Look
from .doctor_check import FAILED, OK, WARNING, Check, failed
from .text import PERFORMANCE, size

NAMES = (
    "architecture",
    "CPU",
    "memory",
    "C library",
    "disk",
    "store",
    "lock",
    "sessions",
    "governor",
    "swap",
    "clock",
    "temperature",
    "throttling",
)
# A runtime with torch takes about half of this, unpacked: below it, there may be no room for a second one.
ROOMY_BYTES = 1 << 30
CLOCK_S = 60.0
# A Raspberry Pi begins to throttle at 80 °C; others a little later.
HOT_C = 75.0


def python(device: Device, facts: BoardFacts) -> Check:
    """Compare the Python that runs there with the one that the device file names."""
    return _compared(device, facts, "Python", "python", f"{facts.python} ({facts.executable})")


def board(device: Device, facts: BoardFacts) -> Iterator[Check]:
    """Compare what the board is with what its device file says."""
    yield _compared(device, facts, "architecture", "arch", facts.arch)
    yield _compared(device, facts, "CPU", "cpu", f"{facts.cpu}, {facts.cores} cores")
    yield _compared(device, facts, "memory", "memory_mib", f"{facts.memory_mib} MiB")
    yield _c_library(device, facts)


def _compared(device: Device, facts: BoardFacts, name: str, key: str, found: str) -> Check:
    wrong = [
        f"{device.path} says {what} {expected}, found {actual}"
        for what, expected, actual in differences(device, facts)
        if what == key or (name == "architecture" and "bit" in what)
    ]
    if wrong:
        return Check(name, FAILED, "; ".join(wrong), "correct the file, or the host that it names")
    return Check(name, OK, found)


def _c_library(device: Device, facts: BoardFacts) -> Check:
    if device.runtime.packages:
        try:
            Platform(facts.python, facts.arch, facts.libc).check(str(device.path))
        except BackendError as error:
            return Check("C library", FAILED, f"{error.what}; found {error.found}", error.hint)
    return Check("C library", OK, facts.libc or "does not say")


def store(device: Device, look: Look, trial: Trial) -> Iterator[Check]:
    """Check whether the disk has room, what is stored is undamaged, and the device is free.

    Args:
        device: the device.
        look: the state of the board and of its store.
        trial: what the board refused to do when it was tried.
    """
    free, place = look.free_bytes, f"for {look.store}"
    another = '; or name a folder on another disk: [device] store = "/…"'
    if trial.store is not None:
        yield failed("disk", trial.store)
    elif free < SPARE_BYTES:
        yield Check("disk", FAILED, f"{size(free)} free {place}", f"free some space there{another}")
    elif free < ROOMY_BYTES:
        yield Check("disk", WARNING, f"{size(free)} free {place}: little for a runtime and a model", "free some space")
    else:
        yield Check("disk", OK, f"{size(free)} free {place}")
    yield _stored(device, look)
    yield _lock(look.holder)
    if trial.sessions is not None:
        yield failed("sessions", trial.sessions)
    else:
        yield Check("sessions", OK, "a second one, and a connection for transfers")


def _stored(device: Device, look: Look) -> Check:
    what = f"{look.entries} entries, {size(look.used_bytes)}"
    if look.damaged:
        names = ", ".join(name[:22] for name in look.damaged)
        hint = f"nothing: the next run removes them and sends them again. To begin anew: hilgate clean {device.name}"
        return Check("store", WARNING, f"{what}; changed since they were stored: {names}", hint)
    if look.entries:
        return Check("store", OK, f"{what}, all whole")
    part = f"; {size(look.used_bytes)} of an upload that broke off, for the next run" if look.used_bytes else ""
    return Check("store", OK, f"empty{part}")


def _lock(holder: Holder | None) -> Check:
    if holder is None:
        return Check("lock", OK, "free")
    found = f"held by {holder.who} since {holder.since}"
    return Check("lock", FAILED, found, "wait until that run ends: pytest -m hil --wait SECONDS …")


def condition(facts: BoardFacts, look: Look, behind_s: float) -> Iterator[Check]:
    """Check for what makes figures worse, or invalid: governor, swap, clock, temperature, throttling.

    Args:
        facts: what the board is.
        look: its state.
        behind_s: how many seconds its clock is behind the host's.
    """
    yield _governor(facts.governor)
    yield _swap(look)
    yield _clock(behind_s)
    yield _temperature(look.state.temperature_mc)
    yield _throttling(look.state)


def _governor(governors: Sequence[str]) -> Check:
    if not governors:
        return Check("governor", OK, "none: the kernel does not change the frequency, or cannot say")
    text = ", ".join(governors)
    if set(governors) == {"performance"}:
        return Check("governor", OK, text)
    return Check("governor", WARNING, f"{text}: times vary with the CPU's frequency", f"on the device: {PERFORMANCE}")


def _swap(look: Look) -> Check:
    total, used = look.swap_total_kib << 10, look.swap_used_kib << 10
    if not total:
        return Check("swap", OK, "none")
    text = f"{size(used)} of {size(total)} used"
    if not used:
        return Check("swap", OK, text)
    hint = "end what else runs there; a measurement that swaps says nothing (INCONCLUSIVE)"
    return Check("swap", WARNING, text, hint)


def _clock(behind_s: float) -> Check:
    if abs(behind_s) <= CLOCK_S:
        return Check("clock", OK, "as this machine's")
    text = f"{abs(behind_s):.0f} s {'behind' if behind_s > 0 else 'ahead of'} this machine's"
    return Check("clock", WARNING, text, "set it (timedatectl); evidence takes its times from this machine")


def _temperature(millidegrees: Sequence[int]) -> Check:
    sensible = [value / 1000 for value in millidegrees if 0 < value < 150_000]
    if not sensible:
        return Check("temperature", OK, "no sensor")
    text = f"{max(sensible):.0f} °C at the warmest sensor"
    if max(sensible) < HOT_C:
        return Check("temperature", OK, text)
    return Check("temperature", WARNING, f"{text}: it will throttle soon", "cool it, or let it cool down")


def _throttling(state: DeviceState) -> Check:
    bits = state.throttled_bits
    if bits is None:
        return Check("throttling", OK, "the board does not say; each measurement looks for it")
    if bits & PI_NOW:
        return Check("throttling", WARNING, f"now (get_throttled {bits:#x})", "check the supply and the cooling")
    if bits & PI_SINCE_BOOT:
        hint = "check the supply and the cooling, then boot anew"
        return Check("throttling", WARNING, f"not now, but since it was booted (get_throttled {bits:#x})", hint)
    return Check("throttling", OK, "never since it was booted")
