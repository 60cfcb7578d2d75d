"""What somebody is told whose model file is not right yet: the line, the range, the share, the label (issue 16)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import Input, Model
from harness.errors import ModelError, StorageError
from harness.host.cache import storage_errors
from harness.measure import known_metrics
from harness.measure.sample_range import check_range
from harness.measure.sample_set import sample_notes
from harness.measure.score import scored_samples
from harness.measure.top1 import top1
from harness.model.build import BuiltModel, build_model
from harness.model.model_file import ModelFile, checked_limits, load_model
from harness.model.prepare import run_prepare
from harness.parity.rule.module_runs import made_canonical

NOTHING: Any = None
NET = """
import numpy as np, torch
from harness import Input, Model

def helper(x):
    return x.reshape(7, 7)  # wrong

class Net(torch.nn.Module):
    def forward(self, x):
        return {forward}

def samples():
    return {samples}

def prepare(inputs):
    return {prepare}

def canonical(outputs):
    return {canonical}

def score(outputs, labels):
    return {score}

model = Model(build=lambda: {build}, inputs=[Input("x", ("n", 3), min_value=-1, max_value=1)], dims={{"n": (1, 2)}},
              samples=samples, prepare=prepare, canonical=canonical, score=score)
"""
RIGHT = {
    "forward": "x * 2",
    "samples": '{"x": np.zeros((2, 3))}, [0, 1]',
    "prepare": "inputs",
    "canonical": "outputs",
    "score": "1.0",
    "build": "Net().eval()",
}
WRONG = {
    "forward": "helper(x)",
    "samples": "helper(np.zeros(3))",
    "prepare": "{'x': helper(inputs['x'])}",
    "canonical": "helper(outputs)",
    "score": "helper(outputs)",
    "build": "helper(torch.zeros(3))",
}


def asked(path: Path) -> None:
    """Everything that enters the user's code."""
    file = load_model(path, list(known_metrics().values()))
    built = build_model(file)
    scored_samples(built, None)
    run_prepare(file, [{"x": np.zeros((1, 3), np.float32)}])
    made_canonical(built, {"output": np.zeros((1, 3), np.float32)})


@pytest.mark.parametrize("what", WRONG)
def test_an_error_of_the_users_code_names_its_innermost_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets/net.py").write_text(NET.format(**{**RIGHT, what: WRONG[what]}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        asked(Path("nets/net.py"))
    assert "\nat nets/net.py:6, in helper: return x.reshape(7, 7)" in caught.value.found
    if what != "forward":
        assert caught.value.what.startswith(f"{what}() raised")


def test_a_declaration_that_is_refused_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from harness import Input\n\nx = Input('x', (1,), 'flaot32')\n")
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "net.py", [])
    assert "net.py:3: x = Input('x', (1,), 'flaot32')" in caught.value.where


def declared(*inputs: Input, **more: Any) -> Model:
    return Model(build=lambda: NOTHING, inputs=inputs, **more)


UNIT = Input("x", (2,), min_value=0, max_value=1)
BYTE = Input("x", (2,), "uint8", min_value=0, max_value=255)


@pytest.mark.parametrize(
    ("item", "values", "found"),
    [
        pytest.param(UNIT, [0.0, 255.0], "x: 0 … 255", id="a forgotten division"),
        pytest.param(UNIT, [-3.0, -3.0], "x: -3", id="one value"),
        pytest.param(UNIT, [0.0, np.nan], "x: NaN in 1 element", id="NaN"),
        pytest.param(UNIT, [np.inf, -np.inf], "x: infinity in 2 elements", id="infinity"),
        pytest.param(BYTE, [0.0, 0.5], "x: fractions, which uint8 does not hold", id="divided where bytes are wanted"),
        pytest.param(BYTE, [0, 300], "x: 0 … 300", id="what a cast would wrap"),
    ],
)
def test_samples_outside_what_the_file_declares_contradict_it(item: Input, values: Sequence[float], found: str) -> None:
    with pytest.raises(ModelError, match="are not what its Input declares") as caught:
        check_range({"x": np.array([values])}, declared(item), "net.py: samples")
    assert caught.value.found == found


@pytest.mark.parametrize(
    ("item", "values"),
    [
        pytest.param(UNIT, [0.0, 1.0], id="the ends"),
        pytest.param(UNIT, [-1e-8, 1 + 2e-7], id="rounded a little beyond"),
        pytest.param(Input("x", (2,), min_value=0, max_value=1, allow_nan=True), [0.5, np.nan], id="NaN is allowed"),
        pytest.param(Input("x", (2,), "bool"), [0, 255], id="a mask of bytes"),
    ],
)
def test_samples_within_are_not_spoken_of(item: Input, values: Sequence[float]) -> None:
    assert check_range({"x": np.array([values])}, declared(item), "") == []


@pytest.mark.parametrize(
    ("item", "more"),
    [
        pytest.param(Input("x", (2,)), {}, id="no range is declared"),
        pytest.param(Input("x", (2,), min_value=0), {}, id="not that end"),
        pytest.param(UNIT, {"prepare": lambda inputs: inputs}, id="prepare may leave the range"),
    ],
)
def test_samples_where_parity_tries_nothing_get_a_note(item: Input, more: Mapping[str, Any]) -> None:
    (note,) = check_range({"x": np.array([[0.0, 70000.0]])}, declared(item, **more), "")
    assert "its PASS says nothing of what lies there: x: 0 … 70000" in note


def test_the_note_is_had_from_the_models_process(tmp_path: Path) -> None:
    import torch

    model = declared(Input("x", (2,)), samples=lambda: ({"x": np.full((1, 2), 5e4)}, [0]))
    object.__setattr__(model, "build", lambda: torch.nn.Identity().eval())
    built: BuiltModel = build_model(ModelFile(tmp_path / "net.py", model, ()))
    assert "50000" in sample_notes(built)[0]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        pytest.param(["cat", "dog"], "'cat'", id="texts"),
        pytest.param([1, 3], "found 3, which no output can match", id="counted from 1"),
        pytest.param([-1, 0], "found -1", id="below 0"),
        pytest.param([0.5, np.nan], "found 0.5, nan", id="no whole numbers"),
    ],
)
def test_labels_that_nothing_can_match_are_no_wrong_answers(labels: list[Any], found: str) -> None:
    with pytest.raises(ValueError, match=r"wants the numbers of classes as labels, 0 … 2") as caught:
        top1(np.zeros((2, 3)), np.asarray(labels))
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "more", "hint"),
    [
        pytest.param({"accuracy_min": 95}, {}, "0.95?", id="accuracy"),
        pytest.param({"deadline_ms": 3, "deadline_miss_rate": 5}, {}, "0.05?", id="missed deadlines"),
        pytest.param({"deadline_ms": 3, "deadline_miss_rate": 1}, {}, "cannot be broken", id="all may be missed"),
        pytest.param({"accuracy_min": 95}, {"score": lambda outputs, labels: 96.0}, "", id="a score of one's own"),
    ],
)
def test_a_percentage_is_no_share(limits: dict[str, float], more: dict[str, Any], hint: str) -> None:
    model = declared(UNIT, limits=limits, samples=lambda: NOTHING, **more)
    if not hint:
        assert checked_limits(Path("net.py"), model, known_metrics().values())
        return
    with pytest.raises(ModelError, match="is no share") as caught:
        checked_limits(Path("net.py"), model, known_metrics().values())
    assert "a share from 0 to 1" in caught.value.wanted
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("folder", "whose", "move"),
    [
        pytest.param("cache/exports", "hilgate's cache", "HILGATE_CACHE=DIR", id="cache"),
        pytest.param("tmp/x", "the folder of temporary files", "TMPDIR=DIR", id="temporary files"),
        pytest.param("build/hil", "build/hil", "--evidence DIR", id="evidence"),
    ],
)
def test_a_folder_that_cannot_be_written_is_told_with_how_to_name_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, whose: str, move: str
) -> None:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with pytest.raises(StorageError) as caught, storage_errors(tmp_path / folder):
        raise PermissionError(13, "Permission denied", "x")
    assert whose in caught.value.what
    assert move in caught.value.hint
