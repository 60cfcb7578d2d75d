"""What the harness adds to the device's loading and inferring: whole runs of ``pytest -m hil``, exports cached."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .support.deploy import EXAMPLES, ROOT
from .support.row import RATIO, Aim, Options, Row

DIGITS_AIM = Aim(20.0)  # seconds
VIT_AIM = Aim(0.3)
REPEATS = 3


@dataclass(frozen=True)
class HilRun:
    """One run: its evidence; the seconds that it took by the clock, and of CPU, the device's included."""

    evidence: Mapping[str, Any]
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

    def details(self) -> dict[str, Any]:
        """For the JSON file."""
        cells = {cell["backend"]: _samples(cell) for cell in self.evidence["cells"]}
        times = {"wall_s": self.wall_s, "cpu_s": self.cpu_s, **self.evidence["harness"]}
        return {**times, "samples": cells, "verdict": self.evidence["verdict"], "exit_status": self.status}


def run(options: Options) -> Iterator[Row]:
    """digits in seconds, vit_base as a share."""
    yield from _digits()
    if not options.quick:
        yield from _vit_base(options.time_limit_s)


def _digits() -> Iterator[Row]:
    """The best of some: what others do on the machine only ever adds."""
    _warm("digits")
    runs = [_warm_run("digits") for _ in range(REPEATS)]
    best = min(runs, key=lambda one: one.wall_s)
    median_s = statistics.median(one.wall_s for one in runs)
    details = {"runs": [one.details() for one in runs]}
    against = f"best of {REPEATS} runs; median {median_s:.1f} s"
    yield Row("digits, both backends: the whole run", best.wall_s, "s", against, DIGITS_AIM, details)
    yield Row("digits: CPU of all its processes", best.cpu_s, "s", f"the whole run: {best.wall_s:.1f} s")
    yield Row("digits: the harness", best.harness_s, "s", f"loading and inferring: {best.device_s:.1f} s")
    share = statistics.median(one.harness_s / one.device_s for one in runs)
    yield Row("digits: the harness", share, RATIO, "the device's loading and inferring")


def _vit_base(time_limit_s: float) -> Iterator[Row]:
    _warm("vit_base")
    made = _warm_run("vit_base", "--time-limit", f"{time_limit_s:g}")
    details = made.details()
    samples = " + ".join(str(count) for count in details["samples"].values())
    against = f"the device's loading and inferring: {made.device_s:.0f} s, {samples} samples"
    yield Row("vit_base, both backends: the harness", made.harness_s / made.device_s, RATIO, against, VIT_AIM, details)
    yield Row("vit_base: the harness", made.harness_s, "s", f"the whole run: {made.wall_s:.0f} s")


def _samples(cell: Mapping[str, Any]) -> int:
    counts = (check["samples"] for check in cell["checks"] if check["metric"] == "latency_p50_ms")
    return int(next(counts, 0))


def _warm(example: str) -> None:
    """Fill the cache of exports."""
    _hil(example, "-k", "artifact_size")


def _warm_run(example: str, *arguments: str) -> HilRun:
    made = _hil(example, *arguments)
    if made.evidence["harness"]["export_s"]:
        raise RuntimeError(f"{example} was exported anew: the cache does not work, or harness/export was just edited")
    return made


def _hil(example: str, *arguments: str) -> HilRun:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-m", "hil", "--model", str(EXAMPLES / f"{example}.py")]
        before, start = _children_cpu_s(), time.monotonic()
        done = subprocess.run(
            [*command, "--device", "local", "--evidence", folder, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        wall_s, cpu_s = time.monotonic() - start, _children_cpu_s() - before
        path = Path(folder, "evidence.json")
        evidence = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    cells = evidence.get("cells", [])
    # A limit that was missed (status 1 too) is no matter here; a cell that did not run, or half a run, is.
    if not cells or not evidence["finished"] or any(cell["error"] for cell in cells):
        said = (done.stdout + done.stderr)[-4000:]
        raise RuntimeError(f"the run of {example} failed (exit status {done.returncode}):\n{said}")
    return HilRun(evidence, done.returncode, wall_s, cpu_s)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
