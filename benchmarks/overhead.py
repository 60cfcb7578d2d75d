"""What the harness adds to the device's loading and inferring: whole runs of ``pytest -m hil``, exports cached."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .support.deploy import EXAMPLES, ROOT
from .support.row import RATIO, Aim, Options, Row

IS_QUICK = True

DIGITS_AIM = Aim(20.0)  # seconds
VIT_AIM = Aim(0.3)
REPEATS = 3
# What a bound of p99 needs, and so what a run takes that has the time. The harness's part hardly depends on it; on a
# busy machine fewer fit into the time limit, and the share as it was measured would grow.
SAMPLES = 459


@dataclass(frozen=True)
class HilRun:
    """One run: its evidence; samples in seconds by backend; what it took by the clock, and of CPU, the device's too."""

    evidence: Mapping[str, Any]
    samples: Mapping[str, Sequence[float]]
    status: int
    wall_s: float
    cpu_s: float

    @property
    def device_s(self) -> float:
        """What the device took to load and infer."""
        return float(self.evidence["harness"]["device_s"])

    @property
    def harness_s(self) -> float:
        """All else."""
        return float(self.evidence["harness"]["harness_s"])

    @property
    def backends(self) -> str:
        """Which backends ran, in words: a machine without a compiler leaves some out."""
        return " and ".join(cell["backend"] for cell in self.evidence["cells"])

    def device_s_at(self, count: int) -> float:
        """Estimate what the device would have taken with this many samples of each backend."""
        return self.device_s + sum((count - len(each)) * statistics.mean(each) for each in self.samples.values())

    def details(self) -> dict[str, Any]:
        """For the JSON file."""
        counts = {backend: len(each) for backend, each in self.samples.items()}
        times = {"wall_s": self.wall_s, "cpu_s": self.cpu_s, **self.evidence["harness"]}
        return {**times, "samples": counts, "verdict": self.evidence["verdict"], "exit_status": self.status}


def run(options: Options) -> Iterator[Row]:
    """Yield the harness's time for digits in seconds, for vit_base as a share."""
    yield from _digits()
    if not options.quick:
        yield from _vit_base(options.time_limit_s)


def _digits() -> Iterator[Row]:
    """Yield the best of several runs: other work on the machine only ever adds."""
    _warm("digits")
    runs = [_warm_run("digits") for _ in range(REPEATS)]
    best = min(runs, key=lambda one: one.wall_s)
    median_s = statistics.median(one.wall_s for one in runs)
    details = {"runs": [one.details() for one in runs]}
    against = f"best of {REPEATS} runs; median {median_s:.1f} s"
    what, walls = f"digits, {best.backends}: the whole run", [one.wall_s for one in runs]
    yield Row(what, best.wall_s, "s", against, DIGITS_AIM, details, walls)
    against, cpus = f"the whole run: {best.wall_s:.1f} s", [one.cpu_s for one in runs]
    yield Row("digits: CPU of all its processes", best.cpu_s, "s", against, rounds=cpus)
    against, own = f"loading and inferring: {best.device_s:.1f} s", [one.harness_s for one in runs]
    yield Row("digits: the harness", best.harness_s, "s", against, rounds=own)
    shares = [one.harness_s / one.device_s for one in runs]
    against = "the device's loading and inferring"
    yield Row("digits: the harness", statistics.median(shares), RATIO, against, rounds=shares)


def _vit_base(time_limit_s: float) -> Iterator[Row]:
    _warm("vit_base")
    made = _warm_run("vit_base", "--time-limit", f"{time_limit_s:g}")
    measured, at_samples = made.device_s, made.device_s_at(SAMPLES)
    counts = " + ".join(str(len(each)) for each in made.samples.values())
    fixed = f"the device's {at_samples:.0f} s at {SAMPLES} samples a backend, computed from {counts}"
    yield Row("vit_base: the harness", made.harness_s / at_samples, RATIO, fixed, VIT_AIM, made.details())
    yield Row("vit_base: the harness", made.harness_s / measured, RATIO, f"the device's {measured:.0f} s, as measured")
    yield Row("vit_base: the harness", made.harness_s, "s", f"the whole run: {made.wall_s:.0f} s")


def _warm(example: str) -> None:
    """Fill the cache of exports."""
    hil_run(example, "-k", "artifact_size")


def _warm_run(example: str, *arguments: str) -> HilRun:
    made = hil_run(example, *arguments)
    if made.evidence["harness"]["export_s"]:
        raise RuntimeError(f"{example} was exported anew: the cache does not work, or harness/export was just edited")
    return made


def hil_run(example: str, *arguments: str, device: str = "local") -> HilRun:
    """Run ``pytest -m hil`` on examples/EXAMPLE.py, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-m", "hil", "--model", str(EXAMPLES / f"{example}.py")]
        before, start = _children_cpu_s(), time.monotonic()
        done = subprocess.run(
            [*command, "--device", device, "--evidence", folder, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        wall_s, cpu_s = time.monotonic() - start, _children_cpu_s() - before
        evidence, samples = _read(Path(folder))
    cells = evidence.get("cells", [])
    # A limit that was missed (status 1 too) is no matter here; a cell that did not run, or half a run, is.
    if not cells or not evidence["finished"] or any(cell["error"] for cell in cells):
        said = (done.stdout + done.stderr)[-4000:]
        raise RuntimeError(f"the run of {example} failed (exit status {done.returncode}):\n{said}")
    return HilRun(evidence, samples, done.returncode, wall_s, cpu_s)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Read a run's evidence, and the raw samples in seconds by backend; empty where it left none."""
    try:
        evidence: dict[str, Any] = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, {}
    checks = [(cell["backend"], check) for cell in evidence["cells"] for check in cell["checks"]]
    raw = {backend: check["raw"] for backend, check in checks if check["metric"] == "latency_p50_ms" and check["raw"]}
    return evidence, {backend: (np.load(folder / path) / 1e9).tolist() for backend, path in raw.items()}


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
