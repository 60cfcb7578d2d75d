"""Exports: what the exporters take, what they are cached under, and that the same model gives the same artifact."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.build import BuiltModel, build_model
from harness.evidence import Evidence
from harness.export import export_artifact
from harness.inputs import measured_sets
from harness.measure import known_metrics
from harness.model_file import load_model
from harness.options import Options
from harness.parity.comparison import compare
from harness.parity.reference import Reference
from harness.run import Run, plan_cells

from .conftest import MODEL

FORWARD = "return torch.relu(x @ self.weight)"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a model file into a folder of the test's; returns its path."""

    def write(text: str = MODEL, name: str = "exported.py", folder: str = "a") -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


def build(path: Path) -> BuiltModel:
    """A model file, built."""
    return build_model(load_model(path, known_metrics().values()))


@pytest.mark.parametrize("artifact_format", ["torchscript", "onnx"])
def test_the_same_model_gives_the_same_artifact_in_another_folder_and_cache(
    write: Write, artifact_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export_artifact(build(write()), artifact_format)
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "other"))
    second = export_artifact(build(write(folder="b")), artifact_format)
    assert not second.cached
    assert (first.sha256, first.exporter) == (second.sha256, second.exporter)
    content = (second.folder / second.files[0].name).read_bytes()
    assert str(tmp_path).encode() not in content


def test_a_changed_model_never_meets_an_old_export(write: Write) -> None:
    first = export_artifact(build(write()), "torchscript")
    again = export_artifact(build(write()), "torchscript")
    changed = export_artifact(build(write(MODEL.replace("torch.relu", "torch.tanh"))), "torchscript")
    assert (again.cached, again.sha256) == (True, first.sha256)
    assert (changed.cached, changed.sha256 != first.sha256) == (False, True)


def test_a_damaged_cache_is_made_anew(write: Write) -> None:
    first = export_artifact(build(write()), "torchscript")
    path = first.folder / first.files[0].name
    path.write_bytes(path.read_bytes()[:-1])
    again = export_artifact(build(write()), "torchscript")
    assert (again.cached, again.sha256) == (False, first.sha256)


MODELS = {
    "a tuple": (FORWARD, "return x, x @ self.weight", "torch.jit.trace", "torch.onnx.export(dynamo=True)"),
    "a dict": (
        FORWARD,
        "return {'z': x @ self.weight, 'a': x}",
        "torch.jit.trace",
        "torch.onnx.export(dynamo=True)",
    ),
    "a nested dict": (
        FORWARD,
        "return {'z': (x, [x + 1]), 'a': x.argmax(1)}",
        "torch.jit.trace, outputs laid flat",
        "torch.onnx.export(dynamo=True)",
    ),
    "a branch on a value": (
        FORWARD,
        "return x @ self.weight if x.sum() > -1e9 else x.abs() @ self.weight",
        "torch.jit.trace",
        "torch.onnx.export(dynamo=False)",
    ),
}


@pytest.mark.parametrize("backend", ["torchscript", "onnxruntime"])
@pytest.mark.parametrize("case", MODELS)
def test_outputs_of_every_nesting_come_back_from_the_device(
    write: Write, tmp_path: Path, case: str, backend: str
) -> None:
    old, new, torchscript, onnx = MODELS[case]
    path = write(MODEL.replace(old, new), name=f"nested_{list(MODELS).index(case)}.py")
    shipped = Path(__file__).parents[2] / "devices"
    options = Options((path,), ("local",), (shipped,), (backend,), 60, tmp_path / "evidence", tmp_path, 0, False)
    (cell,) = plan_cells(options)
    run = Run(options, [cell], Evidence(options.evidence, [cell], tmp_path))
    artifact = run.artifact(cell)
    assert artifact.exporter == (torchscript if backend == "torchscript" else onnx)
    deployer = run.deployer(cell, run.bundle(cell, artifact))
    deployment, load = deployer.shared()
    (inputs,) = measured_sets(cell.file.model, 1)
    with deployment:
        (answers,) = deployment.infer([inputs])
    assert load.outputs == run.built(cell.file)[0].outputs
    difference = compare(Reference(run.built(cell.file)[0])(inputs), load.outputs, answers)
    assert difference.ratio < 10, difference


def test_a_transformer_encoder_exports_both_ways(write: Write) -> None:
    text = """
        import torch
        from harness import Input, Model

        def build():
            torch.manual_seed(0)
            layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
            return torch.nn.TransformerEncoder(layer, 1).eval()

        model = Model(build=build, inputs=[Input("x", shape=(1, 5, 16), min_value=-1, max_value=1)])
    """
    built = build(write(text, name="encoder.py"))
    assert export_artifact(built, "torchscript").exporter == "torch.jit.trace"
    assert export_artifact(built, "onnx").exporter.startswith("torch.onnx.export")


def test_a_module_that_cannot_be_hashed_is_exported_every_time(write: Write) -> None:
    text = MODEL.replace("super().__init__()", "super().__init__(); self.lock = __import__('threading').Lock()")
    built = build(write(text, name="locked.py"))
    assert [export_artifact(built, "torchscript").cached for _ in range(2)] == [False, False]
