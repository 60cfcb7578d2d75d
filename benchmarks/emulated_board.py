"""An emulated Pi 4: switched on, deployed to and tested, from its saved state against the way without one."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pip

from harness.board import new_board, open_board, snapshot_build
from harness.bundle import Bundle
from harness.device import Device, load_device
from harness.emulator.image import Image, provide_image
from harness.emulator.machine import machine_of
from harness.emulator.snapshot_store import Snapshot, find_snapshot
from harness.links import LinkType, qemu
from harness.links.ssh import STORE
from harness.measure import known_metrics

from .overhead import HilRun, hil_run
from .support import parts
from .support.deploy import ROOT, Prepared, prepare_on
from .support.interleave import Block, interleave, median_of
from .support.row import RATIO, Aim, Options, Row, ratio_row

NEEDS = ("emulator", "network")
LIMIT_S = 7200

NAME = "qemu-pi4"
LOGIN_AIM, RUN_AIM, BETTER = Aim(3.0), Aim(30.0), Aim(1.0)  # seconds, seconds, a multiple
ROUNDS = 4
REPEATS = 3
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Emulated:
    """The device with what it is switched on from, and the runtimes of its backends."""

    device: Device
    image: Image
    saved: Snapshot
    bundles: Sequence[Bundle]


def run(options: Options) -> Iterator[Row]:
    """One after the other: each has the machine to itself."""
    emulated = _provide()
    yield from _logins(emulated)
    yield from _first_inference(emulated)
    yield from _whole_run()
    yield from _deployment(emulated, options)


def _provide() -> Emulated:
    """Image and saved state, made where they are not in the cache yet."""
    device = load_device(NAME, (ROOT / "devices",), known_metrics().values())
    with open_board(device):
        pass
    image = provide_image()
    bundles = snapshot_build.foundations(device, image)
    saved = find_snapshot(snapshot_build.snapshot_key(device, image, machine_of(device), bundles))
    if saved is None:
        raise RuntimeError(f"{NAME} was just prepared, and its saved state cannot be found")
    return Emulated(device, image, saved, bundles)


@contextmanager
def _switched_on(emulated: Emulated, saved: Snapshot | None) -> Iterator[qemu.Link]:
    """Boot a board until it lets us log in, once."""
    link = qemu.Link(emulated.device)
    try:
        link.power_on(emulated.image, saved)
        _command(link, "true")
        yield link
    finally:
        link.power_off()


def _command(link: LinkType, script: str) -> None:
    status = link.start(script).finish(PATIENCE_S)
    if status != 0:
        raise RuntimeError(f"{script!r} on {NAME}: exit status {status}")


def _logins(emulated: Emulated) -> Iterator[Row]:
    def login(saved: Snapshot | None) -> float:
        start = time.perf_counter_ns()
        with _switched_on(emulated, saved):
            return time.perf_counter_ns() - start

    def both() -> Block:
        with ThreadPoolExecutor(2) as pool:
            return [max(pool.map(login, [emulated.saved] * 2))]

    sides = interleave(ROUNDS, lambda: [login(None)], lambda: [login(emulated.saved)], both)
    cold, warm, two = sides
    yield Row("cold boot to login", _best_s(cold), "s", _spread(cold), details=_details(cold))
    yield Row("warm start to login", _best_s(warm), "s", _spread(warm), LOGIN_AIM, _details(warm))
    against = f"a cold boot: {median_of(cold) / 1e9:.1f} s; medians, round by round"
    yield ratio_row("warm start to login", warm, cold, against, BETTER)
    yield Row("two boards at once, warm: both logged in", _best_s(two), "s", _spread(two), details=_details(two))
    against = "one board; 2 would be one after the other"
    yield ratio_row("two boards at once, warm", two, warm, against, Aim(2.0))


def _best_s(blocks: Sequence[Block]) -> float:
    return min(duration for block in blocks for duration in block) / 1e9


def _spread(blocks: Sequence[Block]) -> str:
    return f"best of {len(blocks)}; median {median_of(blocks) / 1e9:.1f} s"


def _details(blocks: Sequence[Block]) -> dict[str, Any]:
    return {"seconds": [duration / 1e9 for block in blocks for duration in block]}


def _first_inference(emulated: Emulated) -> Iterator[Row]:
    """Of digits on torch, by a whole board's usual way, from QEMU's launch on."""
    with open_board(emulated.device) as board:
        cell = prepare_on(board, "digits", "torchscript")
    with_it, without = interleave(
        REPEATS - 1, lambda: [_launch_to_answer(cell, True)], lambda: [_launch_to_answer(cell, False)]
    )
    what = "launch to torch's first inference, with its forkserver"
    yield Row(what, _best_s(with_it), "s", _spread(with_it), details=_details(with_it))
    against = f"a new process there, its files in memory: {median_of(without) / 1e9:.1f} s"
    yield ratio_row(what, with_it, without, against, BETTER, _details(without))


def _launch_to_answer(cell: Prepared, forkserver: bool) -> float:
    """In nanoseconds; taking the forkserver away is not counted."""
    start = time.perf_counter_ns()
    with open_board(cell.board.device) as board:
        if not forkserver:
            before = time.perf_counter_ns()
            _command(board.link, f"rm {board.forkserver(cell.bundle)}")
            start += time.perf_counter_ns() - before
        with replace(cell, board=board).deployed():
            return time.perf_counter_ns() - start


def _whole_run() -> Iterator[Row]:
    """Yield the best of several runs: other work on the machine only ever adds."""
    _parted_run()  # fills the cache of exports
    runs = [_parted_run() for _ in range(REPEATS)]
    (best, split) = min(runs, key=lambda one: one[0].wall_s)
    median_s = statistics.median(one.wall_s for one, _ in runs)
    details = {"runs": [{**one.details(), "parts": seconds} for one, seconds in runs]}
    against = f"best of {REPEATS} runs; median {median_s:.1f} s"
    what, walls = f"digits, {best.backends}: the whole warm run", [one.wall_s for one, _ in runs]
    yield Row(what, best.wall_s, "s", against, RUN_AIM, details, walls)
    for part, seconds in split.items():
        yield Row(f"    {part}", seconds / best.wall_s, RATIO, f"of that run: {seconds:.1f} s")
    shares = [one.harness_s / one.device_s for one, _ in runs]
    against = f"the board's loading and inferring: {best.device_s:.1f} s"
    yield Row("digits: the harness", statistics.median(shares), RATIO, against, rounds=shares)


def _parted_run() -> tuple[HilRun, dict[str, float]]:
    """Time a run and its parts, which add up to what it took by our clock."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "parts.json"
        os.environ[parts.VARIABLE] = str(path)
        try:
            made = hil_run("digits", "-p", parts.__name__, device=NAME)
        finally:
            del os.environ[parts.VARIABLE]
        return made, parts.read(path, made.wall_s)


def _deployment(emulated: Emulated, options: Options) -> Iterator[Row]:
    """Against what the board does once, or else would: minutes, and so taken once."""
    what = f"runtimes of {_names(emulated)}: their disk laid out on the host"
    host_s = [_on_the_host_s(emulated) for _ in range(REPEATS)]
    every = ", ".join(f"{one:.1f}" for one in host_s)
    yield Row(what, min(host_s), "s", f"best of {REPEATS}; all: {every} s", details={"seconds": host_s})
    if options.quick:
        return
    there_s = _unpacked_there_s(emulated)
    against = f"sent over SSH and unpacked on the board (Board.put): {there_s:.0f} s, once"
    yield Row("the same", min(host_s) / there_s, RATIO, against, BETTER, {"there_s": there_s})
    # The other has torch's thousands of files, which pip would compile one by one.
    small = replace(emulated, bundles=[min(emulated.bundles, key=_archived)])
    small_s = min(_on_the_host_s(small) for _ in range(REPEATS))
    sent_s, installed_s = _installed_there_s(small)
    against = f"venv and pip install on the board: {installed_s:.0f} s, and {sent_s:.0f} s to send, once"
    details = {"host_s": small_s, "sent_s": sent_s, "installed_s": installed_s}
    what = f"runtime of {_names(small)}: the same in {small_s:.1f} s"
    yield Row(what, small_s / (sent_s + installed_s), RATIO, against, BETTER, details)


def _names(emulated: Emulated) -> str:
    return " and ".join(one.backend for one in emulated.bundles)


def _archived(bundle: Bundle) -> int:
    return sum(archive.bytes for archive in bundle.runtime.archives)


def _on_the_host_s(emulated: Emulated) -> float:
    with tempfile.TemporaryDirectory(prefix="hilgate-bench-") as folder:
        start = time.monotonic()
        snapshot_build.make_home(STORE, emulated.bundles, Path(folder))
        return time.monotonic() - start


def _unpacked_there_s(emulated: Emulated) -> float:
    with _switched_on(emulated, None) as link:
        board = new_board(emulated.device, link)
        board.lease.connect()
        board.lease.acquire(0.0)
        try:
            start = time.monotonic()
            for bundle in emulated.bundles:
                board.put(bundle)
            return time.monotonic() - start
        finally:
            board.lease.release()


def _installed_there_s(emulated: Emulated) -> tuple[float, float]:
    """To send, and to install. The image has no pip: it gets the host's, uncounted; what is needed is resolved here."""
    archives = (archive.source for bundle in emulated.bundles for archive in bundle.runtime.archives)
    wheels = sorted({path for path in archives if path.suffix == ".whl"})
    listed = " ".join(f"./{path.name}" for path in wheels)
    install = f"PYTHONPATH=$PWD env/bin/python -m pip install -q --no-index --no-deps {listed}"
    with _switched_on(emulated, None) as link:
        if link.emulator is None:
            raise AssertionError
        ssh = ["ssh", "-F", str(link.emulator.folder.ssh_config), NAME]
        _send([Path(pip.__file__).parent], ssh)
        start = time.monotonic()
        _send(wheels, ssh)
        sent = time.monotonic()
        script = f"python3 -m venv --without-pip env && {install} && env/bin/python -c 'import numpy' && sync"
        subprocess.run([*ssh, script], check=True, stdin=subprocess.DEVNULL)
        return sent - start, time.monotonic() - sent


def _send(paths: Sequence[Path], ssh: Sequence[str]) -> None:
    sources = [word for path in paths for word in ("-C", str(path.parent), path.name)]
    with subprocess.Popen(["tar", "-c", "--exclude=__pycache__", *sources], stdout=subprocess.PIPE) as packed:
        subprocess.run([*ssh, "busybox tar -x"], check=True, stdin=packed.stdout)
    if packed.returncode:
        raise RuntimeError(f"tar: exit status {packed.returncode}")
