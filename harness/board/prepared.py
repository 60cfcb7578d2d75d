"""An emulated board as a run finds it: switched on, its runtimes deployed, a resident of each waiting.

All of that takes minutes, and depends on nothing that changes between runs. So it is done once, and the board's state
is saved; from then on the state is restored. A state is named by all that it depends on, so that what has changed makes
another one.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..agent.keeper.folders import seal
from ..agent.keeper.receive import adopt
from ..agent.keeper.store import Store
from ..backends import load_backend
from ..bundle import Bundle, make_bundle
from ..bundle.planning import plan_runtime
from ..device.device import Device
from ..emulator import host
from ..emulator.disk import make_disk
from ..emulator.image import Image, provide_image
from ..emulator.machine import Machine, machine_of
from ..emulator.saved import Saved, find_saved, keep, state_folder
from ..emulator.sealed import damage
from ..emulator.step import check_disk
from ..errors import EmulatorError, HilgateError, LinkError
from ..host.bounded import making
from ..host.cache import file_sha256
from ..host.death import describe_status
from ..host.progress_log import progress_logger
from ..host.shipped import room_sources
from ..isa.diagnosis import illegal_instruction
from ..links import Channel, ChannelClosed, stderr_of
from ..links.qemu import Link
from ..links.ssh import STORE
from ..protocol import BoardFacts
from .board import Board
from .keeper import BOOT, packed_sources, python_script, sources
from .snapshot import Snapshot

LOG = progress_logger(__name__)

# Half a minute for torch, on an idle machine.
IMPORT_S = 300.0
READY = b"ready\n"
WAITS = "waits"
# What the board's memory and disks, and the copies of them that are made on the way, may take beside its memory.
NEEDED_BYTES = 4 << 30
# The rooms whose code decides what a saved state holds.
ROOMS = ("board", "emulator", "links")


def switched_on(board: Board, wait_s: float) -> None:
    """Have an emulated board run, looked at and locked, from its saved state; made now where there is none.

    A state that is of no use, or whose board is not, is dropped and made anew, once.

    Args:

    Raises:
        DeviceError: the device file does not say what to emulate, or the board is not what it says.
        EmulatorError: the host lacks a program, or the board does not come up.
        LinkError: it cannot be reached.
        StorageError: the disk is full.
    """
    device = board.device
    machine, image = machine_of(device), provide_image()
    bundles = foundations(device, image)
    key = state_key(device, image, machine, bundles)
    if (saved := find_saved(key)) is not None and _restored(board, image, saved, wait_s):
        return
    with making(state_folder(key)):
        other = find_saved(key)  # made by another run, while this one waited
        if other is not None and other.id != (saved.id if saved else None):
            if _restored(board, image, other, wait_s):
                return
        elif state_folder(key).exists() and other is None:
            LOG.info(f"the saved state of {device.name} is not what was saved ({damage(state_folder(key))})")
        backends = ", ".join(bundle.backend for bundle in bundles) or "nothing"
        LOG.info(f"preparing {device.name}, once, for about two minutes: booting it, deploying {backends}")
        made = keep(key, lambda folder: _prepare(device, image, bundles, folder))
    _restore(board, image, made, wait_s)


def _restored(board: Board, image: Image, saved: Saved, wait_s: float) -> bool:
    """Whether a state is of use: its board comes up, says what it is, and can be locked."""
    try:
        _restore(board, image, saved, wait_s)
    except HilgateError as error:
        board.close()
        LOG.info(f"the saved state of {board.device.name} is of no use and is made anew: {error.what}")
        return False
    return True


def _restore(board: Board, image: Image, saved: Saved, wait_s: float) -> None:
    if not isinstance(board.link, Link):
        raise TypeError(f"{board.link.where} is not emulated")
    board.link.power_on(image, saved)
    board.snapshot = Snapshot.of([saved.folder, image.folder])
    board.trusted = frozenset(saved.record["entries"])
    board.look()
    board.lock(wait_s)
    without = {name: why for name, why in saved.record["residents"].items() if why != WAITS}
    board.notes += [f"no resident of {name} waits on {board.device.name}: {why}" for name, why in without.items()]


def foundations(device: Device, image: Image) -> list[Bundle]:
    """What each backend needs, without a model. One that cannot be had is left to its cells: they say why."""
    found = []
    for name in device.backends:
        try:
            backend = load_backend(name)
            found.append(make_bundle(None, backend, plan_runtime(device, backend, image.facts)))
        except HilgateError:
            continue
    return found


def state_key(device: Device, image: Image, machine: Machine, bundles: Sequence[Bundle]) -> str:
    """All that a saved state depends on."""
    parts = {
        "device": [device.store, device.runtime.python],
        "image": [image.name, str(image.folder.resolve())],  # the disks refer to the image's by its path
        "qemu": host.qemu_version(),
        "machine": [machine.cpu, machine.memory_mib, machine.cores, machine.counting],
        # How it is laid out, started, prepared and saved.
        "program": [file_sha256(path) for path in room_sources(*ROOMS)],
        "keeper": [BOOT.read_text(encoding="utf-8"), sources()],
        "bundles": [bundle.foundation for bundle in bundles],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _prepare(device: Device, image: Image, bundles: Sequence[Bundle], folder: Path) -> Mapping[str, Any]:
    """Lay out a board's disk, boot it, start the residents, save; returns what is to be noted of the state."""
    link = Link(device)
    board = Board(device, link, uuid.uuid4().hex[:16])
    residents = dict[str, str]()
    check_disk(folder, NEEDED_BYTES, f"prepare {device.name}")
    try:
        with _timed("laid out its disk"):
            home = make_home(device.store or STORE, bundles, folder)
        with _timed("booted it"):
            link.power_on(image, home=home)
        board.look()
        board.lock(0.0)
        with _timed("started hilgate's own program there"):
            channel = link.start(python_script(device, link, resident=True))
            channel.send(packed_sources(), time.monotonic() + IMPORT_S)
            residents["keeper"] = _started(channel, board.facts, {})
        for bundle in bundles:
            board.put(bundle)  # whatever its disk does not have, or has as something else
            if bundle.runtime.runner is not None:
                continue  # it starts in no time
            with _timed(f"started the resident of {bundle.backend}"):
                resident = board.start_resident(bundle)
                residents[bundle.backend] = _started(resident, board.facts, bundle.runtime.packages)
        entries = sorted(board.entries)
        board.let_go()
        if link.emulator is None:
            raise EmulatorError("the board was switched off while it was prepared")
        with _timed("saved its state"):
            link.emulator.save(Saved(folder, {}))
    finally:
        board.close()
    return {"device": device.name, "entries": entries, "residents": residents}


def make_home(place: str, bundles: Sequence[Bundle], folder: Path) -> Path:
    """A disk with the user's home folder, the runtimes in its store: by the keeper's own code, but here.

    Unpacked on the emulated board itself torch's nine thousand files take more than a minute; those of a store that is
    elsewhere than in the home folder are.
    """
    here, place = (bundles, place) if place.startswith("~/") else ((), STORE)
    with tempfile.TemporaryDirectory(prefix="home-", dir=folder) as work:
        root = Path(work) / "home"
        store = Store(str(root / place.removeprefix("~/")))
        for entry in (entry for bundle in here for entry in bundle.entries):
            if entry.name not in store.entries():
                for sha256, (path, _) in entry.sources.items():
                    adopt(store, str(path), sha256)
                store.make(entry.name, **entry.parts)
                _round_times(Path(store.folder(entry.name)))
        disk = folder / "home.new"
        make_disk(root, disk, home=root)
        return disk


def _round_times(entry: Path) -> None:
    """Whole seconds, which is all that mke2fs hands on; and the seal anew, for it holds the times."""
    for path in entry.rglob("*"):
        seconds = int(path.lstat().st_mtime)
        os.utime(path, (seconds, seconds), follow_symlinks=False)
    seal(str(entry))


def _started(channel: Channel, facts: BoardFacts, packages: Mapping[str, str]) -> str:
    """Wait for a resident; returns "waits", or why it does not: then programs start without it, and say more.

    Raises:
        EmulatorError: it takes too long; on another day it may not, and this state would last.
    """
    try:
        said = channel.receive(len(READY), time.monotonic() + IMPORT_S)
    except TimeoutError:
        channel.finish(0)
        what, wanted = "the board takes too long to import a runtime", f"at most {IMPORT_S:g} s"
        raise EmulatorError(what, wanted=wanted, hint="try again when this machine has less to do") from None
    except (ChannelClosed, LinkError) as error:
        status = channel.finish(1.0)
        death = illegal_instruction(channel.stderr_tail(), facts, packages) if status == -signal.SIGILL else None
        why = death.found if death else f"{describe_status(status)}, {type(error).__name__}; {stderr_of(channel)}"
        LOG.info(f"    it does not wait: {why}")
        return why
    channel.finish(5.0)
    return WAITS if said == READY else f"said {bytes(said)!r}"


@contextmanager
def _timed(what: str) -> Iterator[None]:
    """Log what was done, and in how many seconds."""
    start = time.monotonic()
    yield
    LOG.info(f"    {what} ({time.monotonic() - start:.1f} s)")
