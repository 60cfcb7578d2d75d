"""What locating holds of a model's modules: a part at a time, and the same numbers as all at once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.export import Artifact
from harness.model.build import BuiltModel, build_model
from harness.model.inputs import uniform_set
from harness.model.model_file import load_model
from harness.parity import localize
from harness.parity.localize import NotLocated, locate
from harness.parity.localize.location import Clock, TimeUp, Unlocated
from harness.parity.localize.match import folded_norms
from harness.parity.localize.module_outputs import Points
from harness.parity.localize.modules import Modules

MODEL = """
import torch
from torch import nn
from harness import Input, Model

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.line, self.best = nn.Linear(8, 8), nn.Linear(8, 8)
        self.steps = nn.Sequential(nn.Tanh(), nn.Linear(8, 8), nn.ReLU())

    def forward(self, x):
        y = self.line(self.line(x))
        return self.steps(y), self.best(y).argmax(-1)

def build():
    torch.manual_seed(0)
    return Net().eval()

model = Model(build=build, inputs=[Input("x", ("b", 8), min_value=-1, max_value=1)], dims={"b": (1, 4)})
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Modules:
    path = tmp_path_factory.mktemp("model") / "net.py"
    path.write_text(MODEL, encoding="utf-8")
    built: BuiltModel = build_model(load_model(path, ()))
    return Modules(built, Clock(60.0, lambda done, total: None))


@pytest.fixture
def arrays(modules: Modules) -> dict[str, np.ndarray]:
    return uniform_set(modules.built.model, {"b": 3}, seed=0)


@pytest.mark.parametrize("room", [pytest.param(0, id="one call"), pytest.param(700, id="two"), pytest.param(1 << 20)])
def test_every_part_has_the_numbers_of_the_whole(modules: Modules, arrays: dict[str, np.ndarray], room: int) -> None:
    points = Points(modules, arrays, room)
    eager, exact = modules.eager(arrays), modules.exact(arrays)
    names = [call.module for call in points.calls]
    assert names == ["line", "line", "steps.0", "steps.1", "steps.2", "steps", "best", ""]
    for call in points.calls:
        for expected in call.outputs:
            np.testing.assert_array_equal(expected.eager, eager[expected.name])
            np.testing.assert_array_equal(expected.exact, exact[expected.name])


def test_no_more_is_held_than_there_is_room_for(modules: Modules, arrays: dict[str, np.ndarray]) -> None:
    points = Points(modules, arrays, room := 700)
    for call in points.calls:
        points.load(call.names)
        held = sum(one.eager.nbytes + one.exact.nbytes for one in points._held.values())
        assert held <= max(room, points.bytes(call))


def test_the_perturbation_of_a_part_is_that_of_the_whole(modules: Modules, arrays: dict[str, np.ndarray]) -> None:
    small, whole = (Points(modules, arrays, room) for room in (0, 1 << 20))
    for one, other in zip(small.calls, whole.calls, strict=True):
        perturbations = [
            [points._perturbation(each) for each in call.outputs] for points, call in ((small, one), (whole, other))
        ]
        assert perturbations[0] == perturbations[1]


def test_a_model_that_takes_another_way_is_not_compared(modules: Modules, arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(Unlocated, match="another way"):
        Points(modules, arrays)._read(["line@9:0"])


@pytest.mark.parametrize(
    ("order", "there", "found"),
    [
        pytest.param(["conv", "bn"], {"bn"}, {"bn": "conv"}, id="the norm has the node"),
        pytest.param(["conv", "bn"], {"conv"}, {}, id="the convolution has it"),
        pytest.param(["conv", "bn"], {"conv", "bn"}, {}, id="each has one"),
        pytest.param(["conv", "drop", "bn"], {"bn"}, {"bn": "conv"}, id="a dropout between"),
        pytest.param(["conv", "relu", "bn"], {"relu", "bn"}, {}, id="a norm of its own"),
        pytest.param(["bn"], {"bn"}, {}, id="a norm alone"),
    ],
)
def test_a_norm_that_took_a_node_is_told_by_the_order(order: list[str], there: set[str], found: dict[str, str]) -> None:
    assert folded_norms(order, ["bn"], ["conv", "bn"], there.__contains__) == found


def test_the_end_of_the_time_is_no_answer_about_ties(modules: Modules, arrays: dict[str, np.ndarray]) -> None:
    points = Points(modules, arrays)
    modules.clock, kept = Clock(-1.0, lambda done, total: None), modules.clock
    try:
        with pytest.raises(TimeUp):
            points._ties("@0:0")
        with pytest.raises(TimeUp):
            points._picked("@0:1")
    finally:
        modules.clock = kept


def test_what_indices_were_picked_from_is_known_of_each_module(modules: Modules, arrays: dict[str, np.ndarray]) -> None:
    points = Points(modules, arrays)
    found, (best,) = points._picked("@0:1"), points.calls[-2].outputs
    assert found is not None
    np.testing.assert_array_equal(found.values, best.exact)
    assert found.scale is not None


FORMAT = """
from harness.parity.localize.location import Unlocated

def find_fault(task):
    raise Unlocated(f"a toy of {len(task.sets)} sets: {task.optimize}")
"""


def located(artifact_format: str) -> str:
    artifact = Artifact(folder=Path("toy"), format=artifact_format, files=(), exporter="toy", warnings=())
    answer = locate(SimpleNamespace(), artifact, [{}], lambda made, sets: [], report=lambda seconds, limit: None)  # type: ignore[arg-type]
    assert isinstance(answer, NotLocated)
    return answer.reason


def test_a_format_is_looked_into_by_the_file_that_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy.py").write_text(FORMAT)
    monkeypatch.setattr(localize, "__path__", [*localize.__path__, str(tmp_path)])
    assert located("toy") == "a toy of 1 sets: none"


def test_a_format_without_such_a_file_is_not_located_and_says_so() -> None:
    assert located("none") == (
        "artifacts of the format none cannot be looked into: there is no harness/parity/localize/none.py"
    )
    assert "localize/graph.py has no find_fault(task)" in located("graph")
