"""A model file, device files, a CI job and an evidence.json of 2026-11-27 mean what they meant then (issue 18)."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from harness.checks.check import Verdict
from harness.device import load_device
from harness.evidence.reading import read_evidence
from harness.measure import known_metrics
from harness.model.model_file import load_model
from harness.run.options import add_options
from tests.support.pages import ROOT

PUBLISHED = ROOT / "tests" / "published"
METRICS = list(known_metrics().values())


def test_the_model_file_declares_what_it_declared(tmp_path: Path) -> None:
    shutil.copy(PUBLISHED / "model.py", tmp_path)
    for path in (ROOT / "examples").glob("digits[._]*[!y]"):
        shutil.copy(path, tmp_path)
    file = load_model(tmp_path / "model.py", METRICS)
    (image,) = file.model.inputs
    assert (image.name, image.shape, image.min_value, image.max_value) == ("image", ("batch", 1, 8, 8), 0.0, 1.0)
    assert (file.name, list(file.model.dims["batch"])) == ("model", list(range(1, 9)))
    assert {limit.key: limit.value for limit in file.limits} == {
        "deadline_ms": 10,
        "latency_p99_ms": 10,
        "accuracy_min": 0.95,
    }


@pytest.mark.parametrize("name", sorted(path.stem for path in (PUBLISHED / "devices").glob("*.toml")))
def test_every_device_file_loads(name: str) -> None:
    assert load_device(name, (PUBLISHED / "devices",), METRICS).backends


def test_every_key_of_a_device_file_means_what_it_meant() -> None:
    device = load_device("every-key", (PUBLISHED / "devices",), METRICS)
    assert (device.link, device.host, device.store) == ("ssh", "pi@192.168.1.20:2222", "/mnt/ssd/hilgate")
    assert (device.arch, device.cpu, device.memory_mib) == ("aarch64", "cortex-a76", 8192)
    assert (device.threads, device.interop_threads, device.flush_denormals) == (2, 1, True)
    assert device.backends == ("torchscript", "libtorch", "onnxruntime", "onnxruntime-cpp")
    assert device.optional == ("libtorch", "onnxruntime-cpp")
    assert {limit.key: limit.value for limit in device.limits} == {
        "memory_peak_mib": 512,
        "load_time_s": 5,
        "artifact_mib": 100,
    }


def test_the_jobs_command_has_options_that_exist() -> None:
    """It is run in tests/integration/test_wheel.py."""
    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    known = {name for option in parser.getgroup("hil").options for name in option.names()}
    (command,) = re.findall(r"- run: (\.venv/bin/pytest .*)", (PUBLISHED / "job.yml").read_text())
    used = {word.partition("=")[0] for word in shlex.split(command) if word.startswith("--")}
    assert used == {"--pyargs", "--device", "--model"}
    assert used - {"--pyargs"} <= known


def entries(entry: BaseModel) -> Iterator[BaseModel]:
    """Yield a record of the evidence and all that it holds."""
    yield entry
    for value in dict(entry).values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, BaseModel):
                yield from entries(item)


def test_an_evidence_file_is_read_and_its_keys_are_still_published() -> None:
    read = read_evidence(PUBLISHED / "evidence.json")
    added = {"answers", "better", "decision", "files", "load", "model_sha256", "raw_sha256", "timed"}  # since then
    assert {key.rpartition(".")[2] for key in read.lacks} == added
    run = read.run
    assert run.verdict is Verdict.FAIL
    assert {cell.backend: cell.verdict for cell in run.cells} == {
        "torchscript": Verdict.FAIL,
        "libtorch": Verdict.PASS,
        "onnxruntime": Verdict.PASS,
        "onnxruntime-cpp": Verdict.PASS,
    }
    # What the schema does not name is what checks add by their metric.
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs/evidence.md").read_text(encoding="utf-8")))
    assert {key for entry in entries(run) for key in entry.model_extra or ()} <= documented
