"""Exports: what the exporters take, what they are cached under, and that the same model gives the same artifact."""

from __future__ import annotations

import importlib
import os
import shutil
import textwrap
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch

import harness.export.key
from harness.agent.facts import read_text
from harness.cell import Cell
from harness.errors import ExportError, ModelError
from harness.evidence.writer import Evidence
from harness.export import export_artifact, export_key
from harness.host.cache import file_sha256
from harness.host.progress import ProgressBars
from harness.measure import known_metrics
from harness.model.build import BuiltModel, build_model
from harness.model.inputs import measured_sets
from harness.model.model_file import load_model
from harness.model.user_process import Bounds
from harness.parity.rule.comparison import compare
from harness.parity.rule.reference import Reference
from harness.run.deploying import export_cell, make_deployer, put_bundle
from harness.run.options import Options
from harness.run.plan import plan_cells
from harness.run.run import Run

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


@pytest.mark.parametrize("case", MODELS)
def test_outputs_of_every_nesting_come_back_from_the_device(write: Write, tmp_path: Path, case: str) -> None:
    old, new, torchscript, onnx = MODELS[case]
    path = write(MODEL.replace(old, new), name=f"nested_{list(MODELS).index(case)}.py")
    shipped = Path(__file__).parents[2] / "devices"
    options = Options(
        models=(path,),
        devices=("local",),
        device_folders=(shipped,),
        backends=("torchscript", "onnxruntime"),
        time_limit_s=60,
        evidence=tmp_path / "evidence",
        root=tmp_path,
        seed=0,
        allow_inconclusive=False,
    )
    cells = plan_cells(options)
    assert [cell.backend.name for cell in cells] == ["torchscript", "onnxruntime"]
    with closing(
        Run(options=options, cells=cells, evidence=Evidence(options.evidence, cells), progress=ProgressBars.open())
    ) as run:
        for cell, exporter in zip(cells, (torchscript, onnx), strict=True):
            assert_that_outputs_come_back(run, cell, exporter)


def assert_that_outputs_come_back(run: Run, cell: Cell, exporter: str) -> None:
    artifact = export_cell(run, cell)
    assert artifact.exporter == exporter
    deployer = make_deployer(run, cell, artifact, put_bundle(run, cell, artifact))
    deployment, load = deployer.shared()
    (inputs,) = measured_sets(cell.file.model, 1)
    with deployment:
        (answers,) = deployment.infer([inputs])
    assert load.outputs == run.models.build(cell.file).outputs
    difference = compare(Reference(run.models.build(cell.file))(inputs), load.outputs, answers)
    assert difference.ratio < 10, (cell.id, difference)


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


LOCKED = MODEL.replace("super().__init__()", "super().__init__(); self.lock = __import__('threading').Lock()")


def test_two_exports_that_have_no_key_never_meet(write: Write) -> None:
    first = export_artifact(build(write(LOCKED, name="same.py")), "torchscript")
    second = export_artifact(build(write(LOCKED.replace("-1, 1", "-2, 2"), name="same.py")), "torchscript")
    assert first.folder != second.folder
    assert first.sha256 != second.sha256


def test_exports_of_one_use_go_after_a_day(write: Write, cache: Path) -> None:
    exports = cache / "exports"
    ages = {"unkeyed-old": 25, "unkeyed-new": 1, ".discarded-old": 25, "0123": 25}
    for name, hours in ages.items():
        (exports / name).mkdir(parents=True)
        then = time.time() - hours * 3600
        os.utime(exports / name, (then, then))
    export_artifact(build(write()), "torchscript")
    assert [name for name in ages if (exports / name).exists()] == ["unkeyed-new", "0123"]


def test_a_damaged_export_that_cannot_be_removed_is_not_taken_for_the_new_one(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export_artifact(build(write()), "torchscript")
    (first.folder / "left.txt").write_text("by the damaged one")
    (first.folder / first.files[0].name).write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        again = export_artifact(build(write()), "torchscript")
    assert (again.cached, again.folder, again.sha256) == (False, first.folder, first.sha256)
    assert not (again.folder / "left.txt").exists()


@pytest.mark.parametrize("statement", ["__import__('os')._exit(0)", "raise SystemExit(0)"], ids=["build", "forward"])
def test_an_export_process_that_ends_without_an_artifact_is_an_error(write: Write, statement: str) -> None:
    """It prints and ends there, but not in this process."""
    away = f"'pytest' not in __import__('sys').modules: print('good' + 'bye', flush=True); {statement}"
    place = "super().__init__()" if "_exit" in statement else FORWARD
    new = f"if {away}\n            {place}"
    with pytest.raises(ExportError, match="left no artifact") as caught:
        export_artifact(build(write(MODEL.replace(place, new), name="ends.py")), "torchscript")
    assert "goodbye" in str(caught.value)


def test_an_export_does_not_wait_for_what_the_models_code_has_forked(write: Write) -> None:
    away = "if 'pytest' not in __import__('sys').modules: import subprocess; subprocess.Popen(['sleep', '7531'])"
    start = time.monotonic()
    built = build(write(MODEL.replace(place := "super().__init__()", f"{away}\n            {place}"), name="forks.py"))
    assert export_artifact(built, "torchscript").bytes
    assert time.monotonic() - start < 300
    time.sleep(2)  # it has been killed, and may not be gone yet
    assert "sleep\0007531" not in [read_text(f"{folder}/cmdline") for folder in Path("/proc").iterdir()]


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        pytest.param(Bounds(seconds=0.5), "took too long", id="time"),
        pytest.param(Bounds(memory_mib=20), "more memory than this host can give", id="memory"),
    ],
)
def test_an_export_has_bounds(write: Write, monkeypatch: pytest.MonkeyPatch, bounds: Bounds, said: str) -> None:
    monkeypatch.setattr("harness.export.process.Bounds", lambda: bounds)
    with pytest.raises(ExportError, match=said):
        export_artifact(build(write(name="bounded.py")), "torchscript")


def test_a_build_that_exits_is_a_model_error(write: Write) -> None:
    with pytest.raises(ModelError, match=r"build\(\) raised") as caught:
        build(write(MODEL.replace("super().__init__()", "raise SystemExit(3)"), name="exits.py"))
    assert "SystemExit: 3" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("RECORD", "net.py,sha256=a,1", "net.py,sha256=b,1", id="other-code-of-the-same-version"),
        pytest.param("direct_url.json", "{}", '{"url": "file:///net"}', id="from-another-place"),
        pytest.param("RECORD", "", "", id="installed-again-without-a-record"),
    ],
)
def test_the_key_changes_with_what_is_installed(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str
) -> None:
    folder = tmp_path / "site-packages/mynet-0.1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mynet\nVersion: 0.1.0\n")
    (folder / "RECORD").write_text("net.py,sha256=a,1")
    monkeypatch.syspath_prepend(str(folder.parent))
    built = build(write())
    keys = []
    for content, second in ((old, 1), (old, 1), (new, 2)):
        (folder / name).write_text(content)
        os.utime(folder, (second, second))
        keys.append(export_key(built, "onnx"))
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    "name", ["model.inputs", "agent.structure", "model.build", "model.fingerprint", "model.model", "export.onnx"]
)
def test_the_key_changes_with_hilgates_own_source(write: Write, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    built = build(write())
    first = export_key(built, "onnx")
    changed = Path(str(importlib.import_module(f"harness.{name}").__file__))
    monkeypatch.setattr(harness.export.key, "file_sha256", lambda path: "" if path == changed else file_sha256(path))
    assert export_key(built, "onnx") != first


SETTINGS: dict[str, Callable[[bool], object]] = {
    "default dtype": lambda on: torch.set_default_dtype(torch.float64 if on else torch.float32),
    "matmul precision": lambda on: torch.set_float32_matmul_precision("medium" if on else "highest"),
    "deterministic": torch.use_deterministic_algorithms,
    "attention fastpath": lambda on: torch.backends.mha.set_fastpath_enabled(not on),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_key_changes_with_torchs_settings(write: Write, setting: str) -> None:
    built = build(write())
    first = export_key(built, "onnx")
    SETTINGS[setting](True)
    try:
        changed = export_key(built, "onnx")
    finally:
        SETTINGS[setting](False)
    assert changed != first


def test_the_export_process_has_this_ones_settings(write: Write) -> None:
    path = write(MODEL.replace("x @", "x.to(self.weight.dtype) @"), name="settings.py")
    torch.set_default_dtype(torch.float64)
    try:
        artifact = export_artifact(build(path), "torchscript")  # refused where the other process builds in float32
    finally:
        torch.set_default_dtype(torch.float32)
    loaded = torch.jit.load(str(artifact.folder / artifact.files[0].name))  # type: ignore[no-untyped-call]
    assert loaded(torch.ones(2, 4)).dtype == torch.float64
