"""Memory on the host while a real network is judged: the whole run of SSDlite, as pytest -m hil makes it.

Aim (issue 15): no process above 1.6 GiB. The network is one of tests/networks, its packages are in their folder in the
user's cache.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from harness.host.cache import cache_folder
from harness.host.shipped import SUITE
from tests.networks import copied
from tests.networks.environment import provide

from .support.row import Aim, Options, Row

NEEDS = ("network",)

NETWORK = "detector_ssdlite"
AIM_MIB = 1.6 * 1024
EVERY_S = 0.05


def run(options: Options) -> Iterator[Row]:
    """One run in ONNX Runtime, nothing of it exported before."""
    packages, missing = provide(cache_folder())
    if missing:
        yield Row("host memory of SSDlite's run", 0.0, "MiB", f"not run: {missing}")
        return
    with tempfile.TemporaryDirectory() as folder:
        models = copied(Path(folder) / "models", packages)
        (Path(folder) / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        started = time.monotonic()
        peaks, together = _watch(_command(models / f"{NETWORK}.py"), Path(folder))
        cell = json.loads((Path(folder) / "build/hil/evidence.json").read_text(encoding="utf-8"))["cells"][0]
        took = f"{cell['verdict']} after {time.monotonic() - started:.0f} s; {len(peaks)} processes"
    details = {"peaks_mib": sorted(peaks.values(), reverse=True)}
    largest = max(peaks.values(), default=0.0)
    yield Row("host memory of SSDlite's run, its largest process", largest, "MiB", took, Aim(AIM_MIB), details)
    yield Row("host memory of SSDlite's run, all processes at once", together, "MiB", "shared pages counted once")


def _command(model: Path) -> list[str]:
    suite = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-m", "hil", str(SUITE), f"--model={model}"]
    return [*suite, "--device", "local", "--backend", "onnxruntime", "-k", "parity", "-p", "no:cacheprovider"]


def _watch(command: list[str], folder: Path) -> tuple[dict[int, float], float]:
    """Run a command; returns the peak of each of its processes, and of all together, in MiB."""
    peaks: dict[int, float] = {}
    together = 0.0
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        tree = _tree(process.pid)
        peaks |= {pid: peak for pid in tree if (peak := _field(pid, "status", "VmHWM:"))}
        together = max(together, sum(_field(pid, "smaps_rollup", "Pss:") for pid in tree))
        time.sleep(EVERY_S)
    return peaks, together


def _tree(root: int) -> list[int]:
    """Return a process and all that came from it and still have it above them."""
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                found += map(int, (task / "children").read_text(encoding="ascii").split())
            except OSError:  # ended meanwhile
                continue
    return found


def _field(pid: int, file: str, name: str) -> float:
    """Return one of the kernel's figures in MiB, or 0 where the process ended meanwhile."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)
