"""The look at libraries for instructions that a CPU lacks: seconds per 100 MB, against reading and hashing them."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from harness.bundle.target import Platform
from harness.bundle.wheels import Wheel, fetch_wheels
from harness.isa.wheel_scans import scan_wheel, scan_wheels
from tests.support.facts import board_facts

from .support.interleave import Block, interleave, median_of
from .support.row import Aim, Options, Row, ratio_row

NEEDS = ("network",)

BOOKWORM = Platform("3.11.2", "aarch64", "glibc-2.36")
PI4 = board_facts(cpu="cortex-a72", features=["fp", "asimd", "crc32", "cpuid"])
PACKAGES = ("torch==2.9.1", "onnxruntime==1.32.0")
ROUNDS = 3
MB = 1e6


def run(options: Options) -> Iterator[Row]:
    """Time a first scan, against unpacking and hashing, and a later one, which the cache answers."""
    wheels = fetch_wheels(PACKAGES, [], BOOKWORM, where="benchmark")
    size = sum(library.bytes for wheel in wheels for library in scan_wheel(wheel.path, wheel.sha256))
    first, hashed, cached = interleave(
        1 if options.quick else ROUNDS, lambda: _first(wheels), lambda: _hashed(wheels), lambda: _looked(wheels)
    )
    what = f"{size / MB:.0f} MB of libraries ({', '.join(PACKAGES)})"
    per_100_mb = median_of(first) / 1e9 / (size / MB / 100)
    yield Row(f"{what}: the first look, per 100 MB", per_100_mb, "s", f"{median_of(first) / 1e9:.1f} s in all")
    yield ratio_row("the first look", first, hashed, "unpacking and hashing the same files", None)
    yield ratio_row("a later one", cached, first, "the first one", Aim(0.1))


def _first(wheels: tuple[Wheel, ...]) -> Block:
    """With an empty cache."""
    before = os.environ["HILGATE_CACHE"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HILGATE_CACHE"] = folder
        try:
            return _looked(wheels)
        finally:
            os.environ["HILGATE_CACHE"] = before


def _looked(wheels: tuple[Wheel, ...]) -> Block:
    start = time.perf_counter_ns()
    scan_wheels([(wheel.path, wheel.sha256) for wheel in wheels], PI4, {})
    return [time.perf_counter_ns() - start]


def _hashed(wheels: tuple[Wheel, ...]) -> Block:
    start = time.perf_counter_ns()
    for wheel in wheels:
        with zipfile.ZipFile(wheel.path) as archive:
            for name in archive.namelist():
                if ".so" in Path(name).name:
                    hashlib.sha256(archive.read(name))
    return [time.perf_counter_ns() - start]
