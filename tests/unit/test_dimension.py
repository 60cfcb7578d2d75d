"""Dimensions with steps and lists, and ranges that are tied to one: wherever a size or a value is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness import Input, Model
from harness.errors import ModelError
from harness.export.shapes import probed_sizes
from harness.model.dimension import declared_dims, describe_dimension, read_sizes
from harness.model.inputs import traced_sizes, uniform_set
from harness.parity.trials.fills import Fill
from harness.parity.trials.generate import drawn
from harness.parity.trials.recipe import Recipe
from harness.parity.trials.shrink import simplify
from harness.parity.trials.space import InputSpace

NOTHING: Any = None


def model(dims: Any, *inputs: Input, **more: Any) -> Model:
    inputs = inputs or (Input("x", tuple(dims)),)
    return Model(build=lambda: NOTHING, inputs=inputs, dims=dims, **more)


SAID = [
    pytest.param((1, 4), [1, 2, 3, 4], "1 … 4", id="ends"),
    pytest.param((160, 256, 32), [160, 192, 224, 256], "160 … 256 in steps of 32", id="steps"),
    pytest.param(range(160, 257, 32), [160, 192, 224, 256], "160 … 256 in steps of 32", id="a range"),
    pytest.param(range(4, 0, -1), [1, 2, 3, 4], "1 … 4", id="a range that goes down"),
    pytest.param([4, 1], [1, 4], "1, 4", id="a list"),
    pytest.param([3], [3], "3", id="one"),
]


@pytest.mark.parametrize(("said", "sizes", "words"), SAID)
def test_a_dimension_has_the_sizes_that_are_said(said: Any, sizes: list[int], words: str) -> None:
    found = read_sizes("t", said)
    assert list(found) == sizes
    assert read_sizes("t", found) == found  # a model that is copied says the same
    assert describe_dimension(found) == words


def test_steps_that_pass_over_the_largest_are_refused() -> None:
    with pytest.raises(ModelError) as caught:
        model({"h": (160, 650, 32)})
    assert caught.value.wanted == "640 or 672 as its largest"


@pytest.mark.parametrize(("said", "sizes", "words"), SAID)
def test_every_size_that_is_chosen_is_one_of_them(said: Any, sizes: list[int], words: str) -> None:
    declared = model({"h": said, "w": said})
    space = InputSpace(declared)
    tried = [*space.essential(), *space.corners(), *space.every_size(), *drawn(space, 0)]
    chosen = [*(recipe.sizes for recipe in tried), traced_sizes(declared), *probed_sizes(declared)]
    assert {size for one in chosen for size in one.values()} == set(sizes)
    assert all(space.holds(recipe) for recipe in tried)


@pytest.mark.parametrize(
    ("said", "largest", "least"), [pytest.param([1, 4, 9], 9, 1, id="list"), pytest.param((2, 8, 3), 8, 2, id="steps")]
)
def test_the_largest_is_measured_and_the_smallest_is_usual(said: Any, largest: int, least: int) -> None:
    declared = model({"t": said})
    assert (declared.measured_sizes["t"], declared.usual_sizes["t"]) == (largest, least)
    with pytest.raises(ModelError, match="out of range"):
        model({"t": said}, measure={"t": 3})


def test_a_counterexample_shrinks_along_the_sizes_that_there_are() -> None:
    declared = model({"t": (32, 640, 32)})
    seen: list[int] = []

    def fails(recipe: Recipe) -> bool:
        seen.append(recipe.sizes["t"])
        return recipe.sizes["t"] > 150

    found = simplify(Recipe({"t": 640}, (Fill("uniform", seed=1),)), declared, fails)
    assert (found.sizes["t"], {size % 32 for size in seen}) == (160, {0})


def test_a_size_between_two_steps_is_held_by_none() -> None:
    space = InputSpace(model({"t": (32, 640, 32)}))
    held = [space.holds(Recipe({"t": size}, (Fill("uniform"),))) for size in (0, 32, 48, 640, 672)]
    assert held == [False, True, False, True, False]


def test_other_steps_are_another_model() -> None:
    said: Sequence[Any] = [(1, 9), (1, 9, 2), [1, 9], [1, 8]]
    assert len({str(declared_dims(model({"t": one}).dims)) for one in said}) == len(said)
    assert declared_dims(model({"t": (1, 9)}).dims) == {"t": [1, 9]}  # as it was before there were steps


# Ranges that are tied to a dimension

LENGTH = Input("length", ("b",), "int64", 1, "t")
INDEX = Input("index", ("b",), "int64", 0, "t - 1")
TIED = model({"b": (1, 3), "t": (1, 9)}, Input("x", ("b", "t")), LENGTH, INDEX)


def test_a_range_that_is_tied_moves_with_the_size() -> None:
    assert [LENGTH.at({"t": t}).range for t in (1, 9)] == [(1, 1), (1, 9)]
    assert [INDEX.at({"t": t}).range for t in (1, 9)] == [(0, 0), (0, 8)]
    assert replace(TIED, name="again").inputs == TIED.inputs


def test_no_value_that_is_drawn_is_beyond_its_size() -> None:
    space = InputSpace(TIED)
    tried = [*space.essential(), *space.corners(), *space.every_size(), *drawn(space, 0)]
    sets = [(recipe.sizes["t"], space.make(recipe)) for recipe in tried]
    sets += [(t, uniform_set(TIED, {"b": 3, "t": t}, seed=1)) for t in (1, 5, 9)]
    for t, arrays in sets:
        assert 1 <= arrays["length"].min() <= arrays["length"].max() <= t
        assert 0 <= arrays["index"].min() <= arrays["index"].max() < t
    assert any(t == arrays["length"].max() == 9 for t, arrays in sets)


@pytest.mark.parametrize(
    ("item", "what"),
    [
        pytest.param(Input("n", ("b",), "int64", 0, "s"), "a range is tied to an unknown dimension", id="unknown"),
        pytest.param(Input("n", ("b",), "int64", 0, "t - 2"), "the range is empty", id="empty where it is smallest"),
        pytest.param(Input("n", ("b",), "int64", "t", 5), "the range is empty", id="empty where it is largest"),
        pytest.param(Input("n", ("b",), "int8", 0, "t + 120"), "int8 cannot hold the range", id="too large"),
    ],
)
def test_a_range_that_is_wrong_at_some_size_is_refused(item: Input, what: str) -> None:
    with pytest.raises(ModelError) as caught:
        model({"b": (1, 3), "t": (1, 9)}, Input("x", ("b", "t")), item)
    assert caught.value.what == what
