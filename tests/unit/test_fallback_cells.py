"""A cell with a fallback as it is planned, bundled and described; what cannot be one is refused at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.backends import load_backend
from harness.bundle import make_bundle
from harness.bundle.planning import plan_runtime
from harness.bundle.runtime import Runtime
from harness.cell import Cell
from harness.device.device import Device
from harness.endpoint import Calls
from harness.errors import BackendError, ExportError, HilgateError
from harness.evidence.cell_record import CellRecord
from harness.evidence.parts import describe_fallback
from harness.export.artifact import read_artifact, write_record
from harness.export.endpoint import make_description
from harness.model.build import build_model
from harness.run import fallback as of_runs
from harness.run.fallback import fallback_artifact, fallback_notes, named_fallback
from tests.support.facts import board_facts
from tests.unit.test_remote_cells import ENDPOINT, model_file

LISTED = ("onnxruntime", "onnxruntime-cpp", "oip", "sagemaker")


def cell_of(fallback: Any, backend: str = "oip", files: Any = (), **options: Any) -> Cell:
    """A cell whose device names a fallback, which is not looked at yet."""
    given = {backend: {"endpoint": "laptop", "fallback": fallback, **options}, "onnxruntime": {}}
    device = Device(
        name="robot", path=Path("robot.toml"), description="a robot", link="local", backends=LISTED, options=given
    )
    return Cell(model_file(files=dict(files)), device, load_backend(backend), endpoint=ENDPOINT)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        pytest.param(cell_of("onnxrutime"), ["no such backend", "did you mean 'onnxruntime'?"], id="unknown"),
        pytest.param(cell_of("torchscript"), ["has no backend torchscript to fall back on"], id="not-listed"),
        pytest.param(cell_of("oip"), ["cannot be a fallback", "calls another computer itself"], id="itself"),
        pytest.param(cell_of("sagemaker"), ["cannot be a fallback", "calls another computer itself"], id="remote"),
        pytest.param(cell_of("onnxruntime-cpp"), ["cannot be a fallback", "a program of its own"], id="native"),
        pytest.param(cell_of("onnxruntime", "sagemaker", stream=True), ["in parts has no fallback"], id="stream"),
        pytest.param(cell_of("onnxruntime", files={"onnx": "net.onnx"}), ["gives its onnx file"], id="given"),
    ],
)
def test_what_cannot_be_a_fallback_is_refused(cell: Cell, words: list[str]) -> None:
    with pytest.raises(HilgateError) as caught:
        named_fallback(cell, "robot.toml: options.oip")
    assert [word for word in [*words, "robot.toml: options.oip.fallback"] if word not in str(caught.value)] == []


@pytest.mark.parametrize("name", [1, "", ["onnxruntime"], True])
def test_a_fallback_is_a_text(name: Any) -> None:
    for backend in ("oip", "sagemaker"):
        with pytest.raises(BackendError, match="option 'fallback'"):
            load_backend(backend).check_options({"fallback": name}, "robot.toml")


def test_a_cell_without_one_has_none() -> None:
    cell = cell_of("onnxruntime")
    assert named_fallback(replace(cell, device=replace(cell.device, options={})), "") is None
    assert (cell.fallback_options, fallback_notes(cell)) == ({}, [])
    assert fallback_artifact(cell, build_model(model_file())) is None


@pytest.fixture(scope="module")
def cell() -> Cell:
    """A cell with a fallback."""
    planned = cell_of("onnxruntime", timeout_ms=50)
    return replace(planned, fallback=named_fallback(planned, "robot.toml"))


def test_the_bundle_has_both_sides_and_names_the_fallback(cell: Cell, tmp_path: Path) -> None:
    built, near = build_model(model_file()), load_backend("onnxruntime")
    far = make_description(built, ENDPOINT, Calls(timeout_ms=20.0))
    (tmp_path / "model.onnx").write_bytes(b"a graph")
    write_record(tmp_path, "onnx", ["model.onnx"], "by hand", [])
    own = read_artifact(tmp_path, cached=False)
    assert own is not None
    runtime = Runtime(described={"python": "3.11"}, packages={})
    bundle, alone = make_bundle(far, cell.backend, runtime, (near, own)), make_bundle(far, cell.backend, runtime)
    assert set(bundle.files) - set(alone.files) == {"agent/near.py", *(f"artifact/{file.name}" for file in own.files)}
    assert (bundle.entry, bundle.fallback_entry) == ("artifact/endpoint.json", "artifact/model.onnx")
    assert json.loads(bundle.manifest)["fallback"] == "onnxruntime"
    assert "fallback" not in json.loads(alone.manifest)
    assert bundle.sha256 != alone.sha256
    assert bundle.foundation != alone.foundation
    entry = describe_fallback(cell, own)
    assert (entry.backend, entry.artifact.sha256, entry.artifact.bytes) == ("onnxruntime", own.sha256, own.bytes)
    record = CellRecord(cell, fallback=entry).make_entry({})
    assert (record.fallback, CellRecord(cell).make_entry({}).as_json().get("fallback")) == (entry, None)
    assert "takes longer than 50 ms, the device answers with onnxruntime" in fallback_notes(cell)[0]


def test_the_runtime_is_that_of_both(cell: Cell) -> None:
    facts = board_facts(packages={"numpy": "2.4"}, folders={"numpy": "/usr/lib/numpy"})
    assert plan_runtime(cell.device, cell.backend, facts).packages == {"numpy": "2.4"}
    with pytest.raises(BackendError, match="backend oip with the fallback onnxruntime cannot run on robot") as caught:
        plan_runtime(cell.device, cell.backend, facts, (), cell.fallback)
    assert "onnxruntime" in caught.value.found


def test_a_model_that_the_fallback_cannot_export_is_told_as_its(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(built: object, name: str) -> None:
        raise ExportError("no exporter takes the model", found=name)

    monkeypatch.setattr(of_runs, "export_artifact", refuse)
    with pytest.raises(ExportError, match="the fallback onnxruntime: no exporter takes the model"):
        fallback_artifact(cell, build_model(model_file()))
