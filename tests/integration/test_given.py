"""Files that a model file gives in place of an export: real ones, from ONNX Runtime's quantizer and torch.jit."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from harness.errors import ExportError, ModelError
from harness.export import export_artifact
from harness.export.onnx import OLDER
from harness.host.cache import file_sha256
from harness.measure import known_metrics
from harness.model.build import BuiltModel, build_model
from harness.model.model_file import load_model
from tests.cases import told
from tests.support.judged_again import check_answers

from .conftest import MODEL, Outcome, Project

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")]

NET = """
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self, seed: int = 0):
            super().__init__()
            torch.manual_seed(seed)
            self.image, self.state = nn.Linear(6, 32), nn.Linear(3, 32)
            self.act, self.value = nn.Linear(32, 4), nn.Linear(32, 1)

        def forward(self, image, state):
            y = torch.relu(self.image(image) + self.state(state))
            return self.act(y), self.value(y)
"""

DECLARED = """
    from harness import Closeness, Input, Model
    from net import Net

    model = Model(
        build=lambda: Net().eval(),
        inputs=[
            Input("image", ("n", 6), min_value=-1, max_value=1),
            Input("state", ("n", 3), min_value=-1, max_value=1),
        ],
        dims={{"n": (1, 4)}},
        files={files!r},
        {more}
    )
"""
EXAMPLES = {"image": torch.ones(2, 6), "state": torch.ones(2, 3)}


class Swapped(nn.Module):
    """The same network with its inputs and its outputs the other way round."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, b: torch.Tensor, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        act, value = self.net(a, b)
        return value, act


def _onnx(module: nn.Module, path: Path, inputs: Sequence[str], outputs: Sequence[str], examples: Any) -> None:
    axes = {name: {0: "n"} for name in inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(examples),
            str(path),
            dynamo=False,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
        )


def make_files(folder: Path) -> None:
    """What a team, a vendor and a quantizer would have left."""
    spec = importlib.util.spec_from_file_location("given_net", folder / "net.py")  # torch.jit.script reads its source
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net, another = module.Net().eval(), module.Net(1).eval()
    crossed = [*EXAMPLES.values()][::-1]
    _onnx(net, folder / "float.onnx", [*EXAMPLES], ["output_0", "output_1"], EXAMPLES.values())
    logging.disable(logging.WARNING)  # it advises to prepare the model, which is of no interest
    quantize_dynamic(str(folder / "float.onnx"), str(folder / "int8.onnx"), weight_type=QuantType.QInt8)
    logging.disable(logging.NOTSET)
    _onnx(Swapped(net).eval(), folder / "swapped.onnx", ["obs_b", "obs_a"], ["v", "p"], crossed)
    _onnx(Swapped(another).eval(), folder / "other.onnx", ["obs_b", "obs_a"], ["v", "p"], crossed)
    torch.jit.script(another).save(str(folder / "other.pt"))
    traced: Any = torch.jit.trace(Swapped(net).eval(), crossed)  # type: ignore[no-untyped-call]
    traced.save(str(folder / "swapped.pt"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Parity of all of them, in one run."""
    project = Project(tmp_path_factory.mktemp("given"))
    project.write("pytest.ini", "[pytest]\n")
    project.write("models/net.py", NET)
    make_files(project.folder / "models")
    for name, onnx_file, script, more in (
        ("int8", "int8.onnx", "", ""),
        ("close", "int8.onnx", "", "tolerance=Closeness(rtol=0.1, atol=0.1),"),
        ("swapped", "swapped.onnx", "swapped.pt", ""),
        ("other", "other.onnx", "other.pt", ""),
    ):
        files = {"onnx": onnx_file, **({"torchscript": script} if script else {})}
        project.write(f"models/{name}.py", DECLARED.format(files=files, more=more))
    models = [f"--model=models/{name}.py" for name in ("int8", "close", "swapped", "other")]
    backends = ("--device", "local", "--backend", "onnxruntime", "--backend", "torchscript")
    chosen = "parity and (local-onnxruntime or swapped or other)"
    return project.run_command(project.command(*models, *backends, "-k", chosen), 900)


def _cell(done: Outcome, model: str, backend: str) -> dict[str, Any]:
    (cell,) = [cell for cell in done.evidence["cells"] if (cell["model"], cell["backend"]) == (model, backend)]
    return dict(cell)


@pytest.mark.parametrize(
    ("model", "backend", "file", "verdict", "says"),
    [
        pytest.param("int8", "onnxruntime", "int8.onnx", "FAIL", "inputs matched by name", id="quantized"),
        pytest.param("close", "onnxruntime", "int8.onnx", "PASS", "inputs matched by name", id="quantized, and close"),
        pytest.param("swapped", "onnxruntime", "swapped.onnx", "PASS", "obs_a is image", id="other names"),
        pytest.param("swapped", "torchscript", "swapped.pt", "PASS", "b is state, a is image", id="traced"),
        pytest.param("other", "onnxruntime", "other.onnx", "FAIL", "not located: the artifact is a file", id="another"),
        pytest.param("other", "torchscript", "other.pt", "FAIL", "inputs matched by name", id="another, scripted"),
    ],
)
def test_a_given_file_is_judged_against_the_module(
    done: Outcome, model: str, backend: str, file: str, verdict: str, says: str
) -> None:
    cell = _cell(done, model, backend)
    assert cell["verdict"] == verdict, told(cell)
    assert says in told(cell)
    sha256 = file_sha256(done.folder / "models" / file)
    assert (cell["artifact"]["exporter"], cell["artifact"]["sha256"]) == ("given", sha256)


def test_a_mismatch_of_a_file_with_other_names_is_replayed_without_hilgate(done: Outcome, tmp_path: Path) -> None:
    kept = shutil.copytree(done.folder / "build/hil/replay/other-local-onnxruntime", tmp_path / "replay")
    run = subprocess.run([sys.executable, "-I", str(kept / "replay.py")], check=False, capture_output=True, text=True)
    assert (run.returncode, run.stdout.splitlines()[-1]) == (1, "the difference is still there"), run.stderr


@pytest.mark.parametrize("model", ["swapped", "close"])
def test_answers_for_a_release_are_in_the_order_of_the_file_that_is_given(done: Outcome, model: str) -> None:
    cell = _cell(done, model, "onnxruntime")
    check_answers(done.folder / "build/hil", cell)
    file = done.folder / "models" / {"swapped": "swapped.onnx", "close": "int8.onnx"}[model]
    session = onnxruntime.InferenceSession(str(file))
    load = cell["load"]
    assert load["inputs"] == [port.name for port in session.get_inputs()]
    assert load["outputs"] == [port.name for port in session.get_outputs()]
    with np.load(done.folder / "build/hil" / cell["answers"]["path"]) as arrays:
        for case, allowed in enumerate(cell["answers"]["allowed"]):
            inputs = {name: arrays[f"{case}.in.{place}"] for place, name in enumerate(load["inputs"])}
            for place, (answer, one) in enumerate(zip(session.run(None, inputs), allowed, strict=True)):
                right = arrays[f"{case}.out.{place}"]
                assert (answer.dtype.name, answer.shape, right.dtype.name) == (one["dtype"], right.shape, "float64")
                assert (np.abs(answer - right) <= one["atol"] + one["rtol"] * np.abs(right)).all()


def test_of_a_file_that_failed_no_answers_are_kept(done: Outcome) -> None:
    assert _cell(done, "other", "onnxruntime")["answers"] is None
    assert not [*(done.folder / "build/hil/answers").glob("other-*")]


def _built(path: Path, text: str) -> BuiltModel:
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return build_model(load_model(path, known_metrics().values()))


def test_a_changed_file_is_never_judged_by_an_old_copy(tmp_path: Path) -> None:
    text = MODEL.replace("dims=", 'files={"torchscript": "net.pt"}, dims=')
    path = tmp_path / "changed.py"
    path.write_text(textwrap.dedent(MODEL), encoding="utf-8")
    net = build_model(load_model(path, known_metrics().values())).module
    found = []
    for scale in (1.0, None, 2.0):
        if scale is not None:
            net.get_buffer("weight").mul_(scale)
            torch.jit.save(torch.jit.script(net), str(tmp_path / "net.pt"))
        artifact = export_artifact(_built(path, text), "torchscript")
        found.append((artifact.cached, artifact.sha256 == file_sha256(tmp_path / "net.pt")))
    assert found == [(False, True), (True, True), (False, True)]
    (tmp_path / "net.pt").write_bytes(b"no archive")
    with pytest.raises(ModelError, match="the given file cannot be opened"):
        export_artifact(_built(path, text), "torchscript")


def test_an_exporter_and_an_operator_set_are_chosen(tmp_path: Path) -> None:
    text = MODEL.replace("dims=", f'exporter="{OLDER}", opset=17, dims=')
    artifact = export_artifact(_built(tmp_path / "chosen.py", text), "onnx")
    assert artifact.exporter == OLDER
    proto = onnx.load(str(artifact.folder / "model.onnx"))
    assert [one.version for one in proto.opset_import if one.domain == ""] == [17]


def test_what_exports_with_a_dimension_fixed_only_is_told(tmp_path: Path) -> None:
    fixing = "return torch.relu(x.reshape(int(x.shape[0]), 4) @ self.weight).reshape(int(x.shape[0]), 3)"
    text = MODEL.replace("return torch.relu(x @ self.weight)", fixing).replace("(1, 4)", "(1, 4)")
    with pytest.raises(ExportError) as caught:
        export_artifact(_built(tmp_path / "fixed.py", text), "torchscript")
    assert caught.value.hint.startswith('with batch = 4 fixed it exports: dims={"batch": (4, 4)}')
    assert "the exporter fixed batch at 2; dims says 1 … 4" in caught.value.found
