"""An emulated board's image from nothing, against the same packages installed with their scripts under emulation."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from harness.emulator.image_recipe import ARCH, PACKAGES, SUITE
from harness.host.debian import apt_options, debian_sources

from .support.deploy import ROOT
from .support.namespace import obstacle, run_with_arm64
from .support.row import RATIO, Aim, Options, Row

NEEDS = ("emulator", "network")
LIMIT_S = 7200

IMAGE_AIM, BETTER = Aim(120.0), Aim(1.0)  # seconds, a multiple
REPEATS = 2
PROGRAM = "from harness.cli import main; main()"  # hilgate
OTHER = "the same packages, their scripts run under user-mode emulation"


def run(options: Options) -> Iterator[Row]:
    """Yield the best of several builds, for packages come over the network; the other side, ten minutes, runs once."""
    seconds = [_image_s() for _ in range(REPEATS)]
    against = f"best of {REPEATS}; all: {', '.join(f'{one:.1f}' for one in seconds)} s"
    why = "takes ten minutes, left out by --quick" if options.quick else obstacle()
    if why:
        against += f"; no ratio to {OTHER}: {why}"
    best = min(seconds)
    yield Row("image from nothing (hilgate image build)", best, "s", against, IMAGE_AIM, {"seconds": seconds})
    if not why:
        scripted = _scripted_s()
        against = f"{OTHER}, not yet a disk: {scripted:.0f} s, once"
        yield Row("image from nothing", best / scripted, RATIO, against, BETTER, {"scripted_s": scripted})


def _image_s() -> float:
    """As a new user does it, the program's own start included."""
    with tempfile.TemporaryDirectory(prefix="hilgate-bench-") as cache:
        start = time.monotonic()
        subprocess.run(
            [sys.executable, "-c", PROGRAM, "image", "build", "qemu-pi4"],
            cwd=ROOT,
            check=True,
            env={**os.environ, "HILGATE_CACHE": cache},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        return time.monotonic() - start


def _scripted_s() -> float:
    """Run mmdebstrap as it is mostly used, from the same mirror.

    dpkg and the other essential packages come too: the scripts need them.
    """
    with tempfile.TemporaryDirectory(prefix="hilgate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt has a user of its own
        options = folder / "apt.conf"
        options.write_text(apt_options(), encoding="utf-8")
        command = [
            *("mmdebstrap", f"--architectures={ARCH}", "--mode=root", "--variant=essential", "--skip=check/qemu"),
            *(f"--include={','.join(PACKAGES)}", f"--aptopt={options}"),
            *(SUITE, str(folder / "root"), *debian_sources(SUITE)),
        ]
        start = time.monotonic()
        run_with_arm64(command, folder / "log")
        return time.monotonic() - start
