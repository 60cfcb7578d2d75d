"""Which exporter takes what: a module as it was built, one with scripted parts, one that is scripted itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from harness.agent.structure import flatten
from harness.export.example import compiled_parts, scripted_parts
from harness.export.onnx import DYNAMO, FILE, OLDER, RETRACED, exporters
from harness.export.torchscript import exporters as torchscript_exporters
from harness.export.worker import refused
from harness.model.build import call_build, run_eager
from harness.model.inputs import uniform_set
from harness.model.model import Input, Model

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Positions(nn.Module):
    """Makes a table for the longest sequence seen so far."""

    table: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.table is None or self.table.size(0) < x.size(1):
            self.table = torch.sin(torch.arange(x.size(1), dtype=torch.float32))[:, None]
        return x + self.table[: x.size(1)]


class Branching(nn.Module):
    """What a trace would keep one way of."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.line(x)
        if bool(x.sum() > 0):
            y = y * 2
        return y


class Named(Branching):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return {"a": self.line(x), "b": x * 2}


class Nested(Branching):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:  # type: ignore[override]
        return self.line(x), (x * 2, x - 1)


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.jit.script(Branching())
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.inner(x))


def model_of(make: Any) -> Model:
    def build() -> nn.Module:
        torch.manual_seed(0)
        module: nn.Module = make().eval()
        return module

    inputs = [Input("x", ("b", "t", 4), min_value=-1, max_value=1)]
    return Model(build=build, inputs=inputs, dims={"b": (1, 3), "t": (1, 9)})


def answers(model: Model, sizes: dict[str, int], seed: int) -> tuple[dict[str, Any], list[Any], list[str]]:
    arrays = uniform_set(model, sizes, seed)
    leaves = list(flatten(run_eager(call_build(model, "here"), arrays)))
    return arrays, [leaf.numpy() for _, leaf in leaves], [name for name, _ in leaves]


def test_torchscript_holds_no_table_of_the_examples_length(tmp_path: Path) -> None:
    model = model_of(Positions)
    module = call_build(model, "here")
    torchscript_exporters(module)["torch.jit.trace"](module, model, ["output"], tmp_path)
    script = torch.jit.load(str(tmp_path / "model.pt"))  # type: ignore[no-untyped-call]
    for t in (1, 9):
        arrays, wanted, _ = answers(model, {"b": 2, "t": t}, t)
        np.testing.assert_allclose(script(torch.from_numpy(arrays["x"])), wanted[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "label"),
    [
        pytest.param(Positions, OLDER, id="a table made on the first call"),
        pytest.param(lambda: torch.jit.script(Branching()), OLDER, id="scripted, with a branch"),
        pytest.param(lambda: torch.jit.freeze(torch.jit.script(Branching().eval())), OLDER, id="frozen"),
        pytest.param(lambda: torch.jit.script(Nested()), OLDER, id="scripted, tuples as output"),
        pytest.param(lambda: torch.jit.script(Named()), RETRACED, id="scripted, a dict as output"),
        pytest.param(Around, RETRACED, id="a scripted part, with a branch"),
    ],
)
def test_the_older_exporter_gives_the_models_answers_at_every_size(make: Any, label: str, tmp_path: Path) -> None:
    model = model_of(make)
    _, _, names = answers(model, {"b": 2, "t": 3}, 0)
    module = call_build(model, "here")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exporters(module)[label](module, model, names, tmp_path)
    session = onnxruntime.InferenceSession(str(tmp_path / FILE), providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_outputs()] == names
    for seed in range(6):
        arrays, wanted, _ = answers(model, {"b": 1 + seed % 3, "t": 1 + seed}, seed)
        for found, right in zip(session.run(None, arrays), wanted, strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "labels"),
    [
        pytest.param(Branching, [DYNAMO, OLDER], id="plain"),
        pytest.param(Around, [DYNAMO, RETRACED], id="a scripted part"),
        pytest.param(lambda: torch.jit.script(Branching()), [OLDER, RETRACED], id="scripted"),
    ],
)
def test_a_module_has_the_exporters_that_may_take_it(make: Any, labels: list[str]) -> None:
    assert list(exporters(make())) == labels


def test_the_outermost_scripted_and_compiled_parts_are_named() -> None:
    assert scripted_parts(nn.Sequential(Branching(), Around())) == ["1.inner"]
    assert scripted_parts(torch.jit.script(Branching())) == [""]
    compiled: Any = torch.compile(Branching(), backend="eager")
    assert compiled_parts(nn.Sequential(Branching(), compiled)) == ["1"]


@pytest.mark.parametrize(
    ("scripted", "compiled", "wanted", "hint"),
    [
        pytest.param([], [], "an exporter that takes it", "change what the exporters name", id="neither"),
        pytest.param(["", "a"], [], "contains a ScriptModule (the model itself, a)", "before torch.jit", id="scripted"),
        pytest.param([], ["a"], "went through torch.compile (a)", "before torch.compile", id="compiled"),
    ],
)
def test_a_refusal_says_what_is_in_the_model(scripted: list[str], compiled: list[str], wanted: str, hint: str) -> None:
    error = refused("onnx", ["it: no"], scripted, compiled, "model.py")
    assert wanted in error.wanted
    assert hint in error.hint
