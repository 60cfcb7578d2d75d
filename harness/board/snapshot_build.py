"""Builds the snapshot of an emulated board: its disk laid out, booted, runtimes deployed, forkservers started."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..agent.daemon.folders import seal
from ..agent.daemon.receive import adopt
from ..agent.daemon.store import Store
from ..agent.daemon.verify import note_day
from ..backends import load_backend
from ..bundle import Bundle, Entry, make_bundle
from ..bundle.planning import plan_runtime
from ..device.device import Device
from ..emulator import host_programs
from ..emulator.disk import make_disk
from ..emulator.image import Image
from ..emulator.machine import Machine
from ..emulator.snapshot_store import Snapshot
from ..emulator.step import check_disk
from ..errors import EmulatorError, HilgateError, LinkError
from ..host.cache import file_sha256
from ..host.exit_cause import describe_status
from ..host.manifest import today
from ..host.progress_log import progress_logger
from ..host.shipped import room_sources
from ..isa.diagnosis import illegal_instruction
from ..links import STORE, Channel, ChannelClosed, open_link, stderr_of
from ..protocol import BoardFacts
from .board import new_board
from .daemon_client import BOOT, packed_sources, python_script, sources

LOG = progress_logger(__name__)

# Half a minute for torch, on an idle machine.
IMPORT_S = 300.0
READY = b"ready\n"
WAITS = "waits"
# Free disk space that a snapshot needs: the board's saved memory, its disks, and temporary copies of them.
NEEDED_BYTES = 4 << 30
# The rooms whose code decides what a snapshot holds.
ROOMS = ("board", "emulator", "links")


def foundations(device: Device, image: Image) -> list[Bundle]:
    """Make the bundle of each backend without a model: what every model of it needs.

    A backend whose runtime cannot be had is left out here; its cells report why.

    Args:
        device: the device, whose backends these are.
        image: what it boots from, which the runtimes must fit.
    """
    bundles = []
    for name in device.backends:
        try:
            backend = load_backend(name)
            bundles.append(make_bundle(None, backend, plan_runtime(device, backend, image.facts)))
        except HilgateError:
            continue
    return bundles


def snapshot_key(device: Device, image: Image, machine: Machine, bundles: Sequence[Bundle]) -> str:
    """Hash all that a snapshot depends on, as 64 hexadecimal digits."""
    parts = {
        "device": [device.store, device.runtime.python],
        "image": [image.name, str(image.folder.resolve())],  # the disks refer to the image's by its path
        "qemu": host_programs.qemu_version(),
        "machine": [machine.cpu, machine.memory_mib, machine.cores, machine.counting],
        # How it is laid out, started, prepared and saved.
        "program": [file_sha256(path) for path in room_sources(*ROOMS)],
        "daemon": [BOOT.read_text(encoding="utf-8"), sources()],
        "bundles": [bundle.foundation for bundle in bundles],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def build_snapshot(device: Device, image: Image, bundles: Sequence[Bundle], folder: Path) -> Mapping[str, Any]:
    """Lay out a board's disk, boot it, start the forkservers, and save it.

    Args:
        device: the device to emulate.
        image: what it boots from.
        bundles: what is deployed; see foundations.
        folder: where the snapshot goes; empty.

    Returns:
        What the snapshot's record has beside its files: the device's name, the store's entries, and for each forkserver
        that it waits, or why it does not.

    Raises:
        EmulatorError: the board does not come up, or cannot be saved.
        LinkError: it cannot be reached.
        StorageError: the disk is full.
    """
    check_disk(folder, NEEDED_BYTES, f"prepare {device.name}")
    link = open_link(device)
    power, board = link.snapshots, new_board(device, link)
    if power is None:
        raise EmulatorError(f"{device.name} has no snapshots", found=f"link = {device.link!r}", where=str(device.path))
    forkservers = dict[str, str]()
    try:
        with _timed("laid out its disk"):
            home = make_home(device.store or STORE, bundles, folder)
        with _timed("booted it"):
            power.power_on(image, home=home)
        board.lease.connect()
        board.lease.acquire(0.0)
        with _timed("started hilgate's own program there"):
            channel = link.start(python_script(device, link, forkserver=True))
            channel.send(packed_sources(device), time.monotonic() + IMPORT_S)
            forkservers["daemon"] = _wait_started(channel, board.facts, {})
        for bundle in bundles:
            board.put(bundle)  # entries that its disk lacks, or has with another content
            if bundle.runtime.runner is not None:
                continue  # a runner starts in no time
            with _timed(f"started the forkserver of {bundle.backend}"):
                channel = board.start_forkserver(bundle)
                forkservers[bundle.backend] = _wait_started(channel, board.facts, bundle.runtime.packages)
        entries = sorted(board.entries)
        board.lease.release()
        with _timed("saved its state"):
            power.save(Snapshot(folder, {}))
    finally:
        board.close()
    return {"device": device.name, "entries": entries, "forkservers": forkservers}


def make_home(place: str, bundles: Sequence[Bundle], folder: Path) -> Path:
    """Make a disk with the user's home folder and the runtimes in its store, on the host, with the daemon's own code.

    Unpacked on the emulated board itself, torch's nine thousand files take more than a minute. A store outside of the
    home folder has to be filled there nevertheless.

    Args:
        place: the store's path on the board, such as "~/.cache/hilgate".
        bundles: what is put into the store.
        folder: where the disk is made.

    Returns:
        The disk's path.
    """
    here, place = (bundles, place) if place.startswith("~/") else ((), STORE)
    with tempfile.TemporaryDirectory(prefix="home-", dir=folder) as work:
        root = Path(work) / "home"
        store = Store.open(str(root / place.removeprefix("~/")))
        for entry in (entry for bundle in here for entry in bundle.entries):
            if entry.name not in store.entries():
                _make_entry(store, entry)
        disk = folder / "home.new"
        make_disk(root, disk, home=root)
        return disk


def _make_entry(store: Store, entry: Entry) -> None:
    """Make an entry of a store on this machine, as the daemon would that has hashed what arrived."""
    for sha256, (path, _) in entry.sources.items():
        adopt(store, str(path), sha256)
    store.make(entry.name, **entry.parts)
    _round_times(Path(store.folder(entry.name)))
    # Else the board hashes all of it once more before it uses it, which takes minutes there.
    note_day(store.folder(entry.name), today())


def _round_times(entry: Path) -> None:
    """Round an entry's times to whole seconds, as mke2fs does, and write its seal again, which has the times."""
    for path in entry.rglob("*"):
        seconds = int(path.lstat().st_mtime)
        os.utime(path, (seconds, seconds), follow_symlinks=False)
    seal(str(entry))


def _wait_started(channel: Channel, facts: BoardFacts, packages: Mapping[str, str]) -> str:
    """Wait for a forkserver; return WAITS, or why it does not wait: programs then start without it, and say more.

    Raises:
        EmulatorError: it takes too long. At another time it may not, and this snapshot would last.
    """
    try:
        said = channel.receive(len(READY), time.monotonic() + IMPORT_S)
    except TimeoutError:
        channel.finish(0)
        what, wanted = "the board takes too long to import a runtime", f"at most {IMPORT_S:g} s"
        raise EmulatorError(what, wanted=wanted, hint="try again when this machine has less to do") from None
    except (ChannelClosed, LinkError) as error:
        status = channel.finish(1.0)
        cause = illegal_instruction(channel.stderr_tail(), facts, packages) if status == -signal.SIGILL else None
        why = cause.found if cause else f"{describe_status(status)}, {type(error).__name__}; {stderr_of(channel)}"
        LOG.info(f"    it does not wait: {why}")
        return why
    channel.finish(5.0)
    return WAITS if said == READY else f"said {bytes(said)!r}"


@contextmanager
def _timed(what: str) -> Iterator[None]:
    """Log what a block did, and in how many seconds."""
    start = time.monotonic()
    yield
    LOG.info(f"    {what} ({time.monotonic() - start:.1f} s)")
