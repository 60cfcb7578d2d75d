"""Model(prepare=…): what it is given, what it may return, and where it is applied."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import Input, Model
from harness.deploy.content import content_of
from harness.errors import ModelError
from harness.export import export_key
from harness.model.build import build_model
from harness.model.fingerprint import code_sha256
from harness.model.inputs import Arrays, uniform_set
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.model.prepare import prepared, prepared_measured_sets
from harness.parity.rule.reference import Reference
from harness.parity.search import ParitySearch
from harness.parity.trials.counterexamples import Counterexamples
from harness.parity.trials.generate import drawn
from harness.parity.trials.recipe import Recipe
from harness.parity.trials.space import InputSpace

NOTHING: Any = None
INPUTS = [Input("mask", ("b", "t"), "bool"), Input("q", ("b", 4), min_value=-1, max_value=1)]

Prepare = Callable[[Arrays], Any]


def valid(inputs: Arrays) -> Arrays:
    """A mask that is not all zero, and unit quaternions; it writes to what it is given."""
    inputs["mask"][:, :1] = True
    norm = np.linalg.norm(inputs["q"], axis=1, keepdims=True)
    q = np.where(norm > 0, inputs["q"] / np.maximum(norm, 1e-9), np.eye(4)[0])
    return {**inputs, "q": q.astype(np.float32)}


def file_of(prepare: Prepare | None, **more: Any) -> ModelFile:
    dims = {"b": (1, 3), "t": (1, 9)}
    return ModelFile(Path("net.py"), Model(lambda: NOTHING, INPUTS, dims=dims, prepare=prepare, **more), ())


def space_of(file: ModelFile, samples: Any = ()) -> InputSpace:
    return InputSpace(file.model, samples, partial(prepared, file))


def is_valid(arrays: Arrays) -> bool:
    units = np.allclose(np.linalg.norm(arrays["q"], axis=1), 1, atol=1e-5)
    return bool(arrays["mask"].any(axis=1).all()) and units


def test_all_that_is_drawn_is_prepared() -> None:
    file = file_of(valid)
    space = space_of(file)
    sets = space.make_all([*space.essential(), *space.corners(), *drawn(space, 0)])
    sets += [
        *prepared_measured_sets(file, 4),
        *content_of(file.model, prepare=partial(prepared, file)).made(1, 9),
    ]
    assert [arrays for arrays in sets if not is_valid(arrays)] == []


def test_what_is_drawn_is_not_written_to() -> None:
    file = file_of(valid)
    arrays = uniform_set(file.model, {"b": 2, "t": 3}, seed=0)
    before = {name: array.copy() for name, array in arrays.items()}
    prepared(file, [arrays])
    assert all(np.array_equal(arrays[name], before[name]) for name in before)


def test_a_sample_as_it_comes_stays_and_one_that_is_changed_is_prepared() -> None:
    sample = {"mask": np.zeros((1, 2), bool), "q": np.zeros((1, 4), np.float32)}
    space = space_of(file_of(valid), [sample])
    plain = [recipe for recipe in space.corners() if recipe.is_sample]
    changed = [one for one in space.corners() if one.fills[0].kind == "sample" and not one.is_sample]
    assert not is_valid(space.make(plain[0]))
    assert is_valid(space.make(changed[0]))


def test_a_recipe_that_is_read_again_gives_the_same_inputs() -> None:
    space, again = space_of(file_of(valid)), space_of(file_of(valid))
    for recipe in space.essential():
        first, second = space.make(recipe), again.make(type(recipe).read(recipe.key))
        assert all(first[name].tobytes() == second[name].tobytes() for name in first)


COUNTED = itertools.count()
SEEN: set[bytes] = set()


def _adds_a_count(inputs: Arrays) -> Arrays:
    return {**inputs, "q": inputs["q"] * 0 + np.float32(next(COUNTED))}


def _remembers(inputs: Arrays) -> Arrays:
    SEEN.add(inputs["q"].tobytes())
    return {**inputs, "q": inputs["q"] * 0 + np.float32(len(SEEN))}


@pytest.mark.parametrize(
    ("prepare", "what", "found"),
    [
        pytest.param(lambda inputs: 1 / 0, "prepare() raised", "ZeroDivisionError", id="raises"),
        pytest.param(lambda inputs: None, "prepare() returned no dict", "NoneType", id="returns nothing"),
        pytest.param(lambda x: {"q": x["q"]}, "prepare() returned other", "no mask", id="leaves one out"),
        pytest.param(lambda x: {**x, "z": x["q"]}, "prepare() returned other", "'z'", id="adds one"),
        pytest.param(lambda x: {**x, "q": x["q"][:, :3]}, "prepare() returned other", "[2, 3]", id="another shape"),
        pytest.param(lambda x: {**x, "q": x["q"] * 1.0e0 + np.zeros(4)}, "prepare() returned", "float64", id="dtype"),
        pytest.param(lambda x: {**x, "q": x["q"] * np.float32("nan")}, "prepare() returned", "NaN", id="NaN"),
        pytest.param(lambda x: {**x, "q": x["q"] + np.float32("inf")}, "prepare() returned", "infinity", id="infinity"),
        pytest.param(_adds_a_count, "prepare() returns something else", "q differ", id="counts its calls"),
        pytest.param(_remembers, "prepare() returns something else", "q differ", id="remembers what it has seen"),
        pytest.param(
            lambda x: {**x, "q": np.random.rand(*x["q"].shape).astype(np.float32)},  # as users do
            "prepare() returns something else",
            "q differ",
            id="draws",
        ),
    ],
)
def test_what_is_not_the_same_inputs_made_valid_is_refused(prepare: Prepare, what: str, found: str) -> None:
    file = file_of(prepare)
    sets = [uniform_set(file.model, {"b": 2, "t": 3}, seed) for seed in (0, 1)]
    with pytest.raises(ModelError) as caught:
        prepared(file, sets)
    assert caught.value.what.startswith(what)
    assert found in caught.value.found


def test_what_it_returns_and_keeps_is_copied() -> None:
    buffer = np.zeros((2, 4), np.float32)

    def reuses(inputs: Arrays) -> Arrays:
        buffer[:] = inputs["q"]
        return {**inputs, "q": buffer}

    file = file_of(reuses)
    sets = [uniform_set(file.model, {"b": 2, "t": 3}, seed) for seed in (0, 1)]
    assert [made["q"].tobytes() for made in prepared(file, sets)] == [arrays["q"].tobytes() for arrays in sets]


class Spans(torch.nn.Module):
    """The width of spans; it takes no others than those that end behind their begin."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not bool((x[:, 1] > x[:, 0]).all()):
            raise ValueError("no span")
        return x[:, 1] - x[:, 0]


def spans(inputs: Arrays) -> Arrays:
    low, high = inputs["x"].min(axis=1), inputs["x"].max(axis=1)
    return {"x": np.stack([low, np.maximum(high, low + 1)], 1)}


def test_what_a_search_asks_shrinks_and_remembers_is_prepared() -> None:
    item = Input("x", ("b", 2), min_value=0, max_value=100)
    model = Model(lambda: Spans().eval(), [item], dims={"b": (1, 8)}, prepare=spans)
    built = build_model(ModelFile(Path("net.py"), model, ()))
    reference, asked = Reference(built), list[Array]()

    def infer(recipes: Sequence[Recipe]) -> list[list[Array]]:
        sets = [arrays["x"] for arrays in reference.space.make_all(recipes)]
        asked.extend(sets)
        return [[np.where(x[:, 0] > 50, 0, x[:, 1] - x[:, 0]).astype(np.float32)] for x in sets]

    search = ParitySearch(
        reference=reference,
        infer=infer,
        names=built.outputs,
        search_seed=0,
        report=lambda done, total: None,
    )
    finding = search.run(search.check)
    assert all((x[:, 1] > x[:, 0]).all() for x in asked)
    assert search.failing is not None
    assert (search.failing.sizes, "then prepared" in finding.failure) == ({"b": 1}, True)
    again = reference.space.make(Recipe.read(search.failing.key))
    assert (again["x"][0, 0] > 50, again["x"][0, 1] > again["x"][0, 0]) == (True, True)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"prepare": lambda x: {"x": spans(x)["x"] * np.float32(0.5)}}, id="prepare"),
        pytest.param({"dims": {"b": (1, 7, 2)}}, id="steps"),
        pytest.param({"dims": {"b": [1, 7]}}, id="a list"),
    ],
)
def test_what_another_declaration_exports_is_another_artifact(other: dict[str, Any]) -> None:
    inputs = [Input("x", ("b", 2), min_value=0, max_value=100)]
    said: list[dict[str, Any]] = [{"dims": {"b": (1, 7)}, "prepare": spans} | more for more in ({}, {}, other)]
    built = [build_model(ModelFile(Path("net.py"), Model(lambda: Spans().eval(), inputs, **one), ())) for one in said]
    first, same, changed = (export_key(one, "onnx") for one in built)
    assert (first is not None, first == same, first == changed) == (True, True, False)


def test_another_prepare_is_another_model() -> None:
    class Memory:
        kept: dict[str, Any] = {}  # noqa: RUF012

        def get(self, key: str, default: Any) -> Any:
            return self.kept.get(key, default)

        def set(self, key: str, value: Any) -> None:
            self.kept[key] = value

    memory, file = Memory(), file_of(valid)
    space = space_of(file)
    Counterexamples(file.model, "net", memory, "one").add(space.essential()[0], failed=True)
    found = [len(Counterexamples(file.model, "net", memory, name).remembered(space)) for name in ("one", "another", "")]
    assert found == [1, 0, 0]
    assert code_sha256(valid) != code_sha256(_remembers)
    contents = [content_of(one.model, prepare=partial(prepared, one)) for one in (file, file_of(dict))]
    assert contents[0].identity() != contents[1].identity()
