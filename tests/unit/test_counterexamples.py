"""Remembered counterexamples: one outlasts its run, what was only furthest off does not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness import Input, Model
from harness.parity.trials.counterexamples import REMEMBERED, Counterexamples
from harness.parity.trials.fills import Fill
from harness.parity.trials.recipe import Recipe
from harness.parity.trials.space import InputSpace


def model(high: int = 8) -> Model:
    return Model(build=lambda: None, inputs=[Input("x", ("b", 4), allow_nan=True)], dims={"b": (1, high)})  # type: ignore[arg-type, return-value]


class Cache(dict[str, Any]):
    """As pytest's: what is set can be got."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def recipe(seed: int = 0, size: int = 1) -> Recipe:
    return Recipe({"b": size}, (Fill("uniform", seed=seed, special=((0.5, math.nan), (0.25, -0.0))),))


def keys(recipes: list[Recipe]) -> list[str]:
    return [one.key for one in recipes]


def test_a_counterexample_is_known_to_the_next_run() -> None:
    cache = Cache()
    Counterexamples(model(), "net", cache).add(recipe(7), failed=True)
    again = Counterexamples(model(), "net", cache)
    assert keys(again.known(InputSpace(model()))) == [recipe(7).key]
    assert again.met(InputSpace(model())) == []


def test_what_was_furthest_off_is_known_to_this_run_only() -> None:
    cache = Cache()
    counterexamples = Counterexamples(model(), "net", cache)
    counterexamples.add(recipe(7), failed=False)
    assert keys(counterexamples.met(InputSpace(model()))) == [recipe(7).key]
    assert Counterexamples(model(), "net", cache).met(InputSpace(model())) == []


def test_the_newest_come_first_and_the_oldest_are_forgotten() -> None:
    cache = Cache()
    counterexamples = Counterexamples(model(), "net", cache)
    for seed in (*range(REMEMBERED + 3), 5):
        counterexamples.add(recipe(seed), failed=True)
    known = Counterexamples(model(), "net", cache).known(InputSpace(model()))
    newest = [5, *(seed for seed in range(REMEMBERED + 2, 2, -1) if seed != 5)]
    assert keys(known) == [recipe(seed).key for seed in newest]


def test_a_model_that_declares_other_inputs_knows_none() -> None:
    cache = Cache()
    Counterexamples(model(), "net", cache).add(recipe(), failed=True)
    assert Counterexamples(model(high=9), "net", cache).known(InputSpace(model(high=9))) == []
    assert Counterexamples(model(), "other", cache).known(InputSpace(model())) == []


@pytest.mark.parametrize(
    "found",
    [
        pytest.param("text", id="no-list"),
        pytest.param([1, None], id="no-texts"),
        pytest.param(["no json", "{}", "[]", '{"sizes": {}, "fills": [{"what": 1}]}'], id="no-recipes"),
        pytest.param(['{"sizes": {"b": 100}, "fills": [{"kind": "uniform", "special": []}]}'], id="sizes-not-allowed"),
        pytest.param(['{"sizes": {"b": 1}, "fills": [{"kind": "odd", "special": []}]}'], id="kind-unknown"),
    ],
)
def test_what_cannot_be_read_is_not_known(found: Any) -> None:
    cache = Cache()
    Counterexamples(model(), "net", cache).add(recipe(), failed=True)
    cache = Cache(dict.fromkeys(cache, found))
    assert Counterexamples(model(), "net", cache).known(InputSpace(model())) == []


def test_without_a_memory_this_run_knows_all_the_same() -> None:
    counterexamples = Counterexamples()
    counterexamples.add(recipe(3), failed=True)
    assert keys(counterexamples.known(InputSpace(model()))) == [recipe(3).key]


def test_a_counterexample_made_of_a_sample_is_of_its_own_sizes_only() -> None:
    sample = {"x": np.zeros((1, 4), np.float32)}
    cache = Cache()
    made = Recipe({"b": 1}, (Fill("sample", changed=0.1),))
    Counterexamples(model(), "net", cache).add(made, failed=True)
    assert keys(Counterexamples(model(), "net", cache).known(InputSpace(model(), [sample]))) == [made.key]
    others = [{"x": np.zeros((4, 4), np.float32)}]
    assert Counterexamples(model(), "net", cache).known(InputSpace(model(), others)) == []
