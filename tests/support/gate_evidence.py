"""The evidence of a run that never was: what is recorded of each cell follows from samples drawn by a seed.

Everything goes the way of a real run: findings of the measuring room's own functions, judged by the limits of real
files, written by the writer of all evidence.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from harness.bundle import Bundle
from harness.cell import Cell
from harness.checks.check import judge
from harness.checks.finding import Finding
from harness.decision.deciding import decide_all
from harness.deploy.content import BLOCK, UNIFORM, Timed, noise_notes
from harness.deploy.loading import LoadReport
from harness.evidence.parts import describe_artifact, describe_bundle
from harness.evidence.schema import FileEntry, Fingerprint
from harness.evidence.writer import Evidence
from harness.export.artifact import Artifact
from harness.measure.account import describe_timed
from harness.measure.accuracy import ACCURACY
from harness.measure.artifact_size import artifact_size
from harness.measure.growth import memory_growth
from harness.measure.latency import P50, P90, P99, P999, deadline_miss_rate, latency, latency_max
from harness.measure.load_time import load_time
from harness.measure.measurement import PROCESSES, Measurement
from harness.measure.memory import memory_peak
from harness.measure.memory_cap import MemoryCap
from harness.model.model import Array
from harness.parity import PARITY
from harness.run.measuring import describe_measurement

from .gate_bundle import INPUT, OUTPUT, WIDTHS, answer

# What an inference takes: longer than a block of time of the device's file, so that each is a block by itself, and so
# far apart that the same backend is taken on every device.
MS = {"onnxruntime": 21.0, "onnxruntime-cpp": 26.0, "libtorch": 32.0, "torchscript": 40.0}
MEMORY_KIB = {"onnxruntime": 61_000, "onnxruntime-cpp": 22_000, "libtorch": 70_000, "torchscript": 160_000}
CLOSE = {"dtype": "float32", "atol": 2e-5, "rtol": 0.0}
BATCHES = (1, 1, 8)


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A cell, what was deployed for it, and the device as it says of itself."""

    cell: Cell
    artifact: Artifact
    bundle: Bundle
    fingerprint: Fingerprint


def write_evidence(
    folder: Path,
    tested: Sequence[Tested],
    files: Sequence[FileEntry],
    *,
    commit: str | None,
    samples: int,
    age: timedelta,
    model_sha256: str,
) -> None:
    """Write evidence.json, raw samples, manifests and answers, as a run that ended so long ago left them.

    Args:
        folder: need not exist.
        tested: the cells.
        files: of models and devices.
        commit: of the project's repository.
        samples: how many inferences each cell was timed for.
        age: how long ago the run ended.
        model_sha256: of all cells' model.
    """
    evidence = Evidence(folder, [each.cell for each in tested], commit)
    ended = datetime.now(UTC) - age
    evidence.started = ended - timedelta(minutes=5)
    evidence.files = list(files)
    evidence.begin()
    try:
        more = [_record(evidence, each, samples, model_sha256) for each in tested]
        evidence.finish(keep=[each.cell for each in tested])
        evidence.finished = ended
        evidence.asked = evidence.asked.model_validate(
            {"time_limit_s": 300.0, "seed": 0, "selected": None, "narrowed": False}
        )
        evidence.decision = decide_all(evidence.make_entry().cells)
        evidence.write()
    finally:
        evidence.release()
    path = folder / "evidence.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for cell, keys in zip(content["cells"], more, strict=True):
        cell.update(load=keys["load"], answers=keys["answers"])
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _record(evidence: Evidence, tested: Tested, samples: int, model_sha256: str) -> dict[str, Any]:
    """Record a cell; return what the writer does not know yet."""
    cell, record = tested.cell, evidence[tested.cell]
    measured = measure(cell, samples)
    record.model_sha256, record.artifact = model_sha256, describe_artifact(tested.artifact)
    record.device_facts, record.measured_facts = tested.fingerprint, describe_measurement(measured)
    record.bundle = describe_bundle(tested.bundle)
    record.add_notes(noise_notes(measured.contents))
    evidence.add_bundle(cell, tested.bundle)
    is_timed = not cell.device.emulated
    record.timed = describe_timed(measured)
    raw = evidence.save_samples(cell, measured.raw, inputs=measured.raw_inputs) if is_timed else ""
    for finding in _findings(cell, measured, raw, tested.artifact):
        check = judge(finding, cell.limits, emulated=cell.device.emulated)
        record.checks.append(check)
        record.add_notes(check.finding.notes)
    return {
        "load": _load(tested),
        "answers": save_answers(evidence.folder, f"answers/{cell.id}.npz"),
    }


def _findings(cell: Cell, measured: Measurement, raw: str, artifact: Artifact) -> Iterator[Finding]:
    tolerance = cell.file.model.parity_limit
    details = {"seed": 0, "tolerance": tolerance, "fixed_list": {"tried": 93, "of": 93}}
    yield Finding(PARITY, 0.75, 0.75, samples=293, details=details)
    yield Finding(ACCURACY, not_applicable="the model file has no samples")
    for metric in (P50, P90, P99, P999):
        yield latency(measured, metric, raw, cell.limit_value(metric.limit_key))
    yield latency_max(measured, cell.limit_value("latency_max_ms"), raw)
    deadline, rate = cell.limit_value("deadline_ms"), cell.limit_value("deadline_miss_rate")
    yield deadline_miss_rate(measured, deadline, rate, raw)
    yield load_time(measured)
    yield memory_peak(measured, _cap(cell, max(measured.memory_peak_kib) / 1024))
    yield memory_growth(measured)
    yield artifact_size(artifact)


def _cap(cell: Cell, peak_mib: float) -> MemoryCap | None:
    """Say that a process was tried under the limit on memory, if there is one, and kept it."""
    limit = cell.limit_value("memory_peak_mib")
    return None if limit is None else MemoryCap(limit_mib=limit, peak_mib=peak_mib * 0.9, slower=1.02, inferences=20)


def measure(cell: Cell, samples: int) -> Measurement:
    """Make what was measured of a cell in three processes: durations around MS, each of another input."""
    backend = cell.backend.name
    random = np.random.default_rng(list(cell.id.encode()))  # no two cells have the same samples: a judge refuses that
    settings = dict(cell.device.settings)
    state = {
        "boot": "f5b81a04",
        "governor": ["performance"],
        "frequency_khz": [1_800_000] * 4,
        "temperature_mc": [48_200],
        "throttled_bits": 0,
        "throttle_events": 0,
        "swapped_pages": 0,
        "swapped_kib": 0,
    }
    peaks = [MEMORY_KIB[backend] + int(more) for more in random.integers(0, 200, PROCESSES)]
    steps: list[Mapping[str, int]] = [
        {"before_runtime": 8_600, "runtime": peak // 2, "model": 3 * peak // 4, "first": peak - 100} for peak in peaks
    ]
    loads = [
        LoadReport(
            load_ns=410_000_000 + int(random.integers(0, 9_000_000)),
            memory_kib=each,
            outputs=(OUTPUT,),
            runtime={},
            settings=settings,
            first=(),
            first_ns=int(MS[backend] * 2e6),
        )
        for each in steps
    ]
    measured = Measurement(
        loads=loads,
        memory_peak_kib=peaks,
        memory_steps_kib=steps,
        states=[(state, state)] * PROCESSES,
        block_ms=cell.device.measure.block_ms,
        took_s=samples * MS[backend] / 1e3,
    )
    if not cell.device.emulated:
        measured.uniform = _timed(random, MS[backend], samples)
        warm_up = {"elapsed_ns": 2_000_000_000, "iterations": 90, "settled": True, "making_ns": 2_000}
        warm_up["median_ns"] = int(MS[backend] * 1e6)
        measured.warm_ups = [warm_up] * PROCESSES
    return measured


def _timed(random: np.random.Generator, ms: float, samples: int) -> Timed:
    durations = (ms * 1e6 * random.lognormal(0, 0.06, samples)).astype(np.int64)
    processes = np.array_split(durations, PROCESSES)
    return Timed(
        name=UNIFORM,
        processes=processes,
        numbers=np.array_split(BLOCK + np.arange(samples, dtype=np.int64), PROCESSES),
        wanted=samples,
        pace_s=ms / 1e3,
        sizes={"batch": 1},
        block_sizes=[1] * PROCESSES,
    )


def _load(tested: Tested) -> dict[str, Any]:
    cell, runtime = tested.cell, tested.bundle.runtime
    return {
        "artifact": tested.bundle.entry,
        "inputs": [INPUT],
        "outputs": [OUTPUT],
        "operators": list(runtime.operators),
        "options": dict(cell.options),
        **cell.device.settings,
        "library": None if runtime.runner is None else runtime.runner.library,
    }


def save_answers(folder: Path, name: str) -> dict[str, Any]:
    """Write a few inputs with the float64 reference's answers; return the key ``answers`` of a cell."""
    random = np.random.default_rng(4)
    arrays: dict[str, Array] = {}
    for number, batch in enumerate(BATCHES):
        state = random.uniform(-1, 1, (batch, WIDTHS[0])).astype(np.float32)
        arrays |= {f"{number}.in.0": state, f"{number}.out.0": answer(state)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub takes these for its own argument
    sha256 = _save(folder / name, buffer.getvalue())
    return {"path": name, "sha256": sha256, "allowed": [[dict(CLOSE)] for _ in BATCHES]}


def _save(path: Path, content: bytes) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def reseal(folder: Path, cell: Mapping[str, Any]) -> None:
    """Give each check of a cell, as JSON has it, the hashes of the files of samples that lie there now.

    What an attacker does who changes samples and is not clumsy.
    """
    for check in cell["checks"]:
        for key in ("raw", "raw_inputs"):
            if check.get(key):
                check[f"{key}_sha256"] = hashlib.sha256((folder / check[key]).read_bytes()).hexdigest()
