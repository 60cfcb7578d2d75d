"""The search: it counterexamples a planted difference and makes it small; what is no difference stops it at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from harness import Closeness, Input, Model
from harness.checks.check import Verdict, judge
from harness.checks.finding import Finding
from harness.checks.limits import Limit
from harness.errors import AgentDied, AgentFailure, AgentTimeout, LinkLost, ModelError, ProcessError
from harness.model.build import BuiltModel, build_model
from harness.model.inputs import Arrays
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.parity import pace
from harness.parity import search as search_module
from harness.parity.pace import LEAST
from harness.parity.rule.comparison import Difference
from harness.parity.rule.reference import Reference
from harness.parity.search import Mismatch, ParitySearch
from harness.parity.trials.counterexamples import Counterexamples
from harness.parity.trials.fills import Fill
from harness.parity.trials.generate import DRAWN, EXAMPLES
from harness.parity.trials.recipe import Recipe
from harness.parity.trials.space import InputSpace

Backend = Callable[[Arrays], list[Array]]


class Net(torch.nn.Module):
    def __init__(self, forward: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.answer = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self.answer(x)


class Cache(dict[str, Any]):
    """As pytest's."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def built(forward: Callable[[torch.Tensor], Any] = double, tolerance: Any = 10.0, **more: Any) -> BuiltModel:
    inputs = [Input("x", shape=("b", 4), **more)]
    model = Model(lambda: Net(forward).eval(), inputs, dims={"b": (1, 8)}, name="net", tolerance=tolerance)
    return build_model(ModelFile(Path("net.py"), model, ()))


def honest(arrays: Arrays) -> list[Array]:
    return [arrays["x"] * 2]


def searching(backend: Backend = honest, model: BuiltModel | None = None, seed: int = 0, **more: Any) -> ParitySearch:
    model = model or built()
    reference = Reference(model)

    def infer(recipes: Sequence[Recipe]) -> list[list[Array]]:
        return [backend(reference.space.make(recipe)) for recipe in recipes]

    return ParitySearch(
        reference=reference,
        infer=infer,
        names=model.outputs,
        search_seed=seed,
        report=lambda done, total: None,
        **more,
    )


def verdict(finding: Finding) -> Verdict:
    return judge(finding, [Limit("parity", finding.details.get("tolerance", 10.0), "net.py")]).verdict


def size(arrays: Arrays) -> int:
    return len(arrays["x"])


def after_the_first(tried: int) -> bool:
    """End recipes_tried() there."""
    return tried >= 1


# Each is wrong for some inputs; the sizes are the smallest that show it.
PLANTED = [
    pytest.param(lambda a: [np.where(a["x"] < 0, a["x"], a["x"] * 2)], {"b": 1}, id="negative-numbers"),
    pytest.param(lambda a: [a["x"] * 2 + (size(a) == 3)], {"b": 3}, id="batch-of-3"),
    pytest.param(lambda a: [a["x"] * 2 + (size(a) >= 2)], {"b": 2}, id="batch-of-2-or-more"),
    pytest.param(lambda a: [np.nan_to_num(a["x"] * 2)], {"b": 1}, id="nan"),
    pytest.param(lambda a: [np.where(a["x"] > 500, a["x"], a["x"] * 2)], {"b": 1}, id="large-numbers"),
    pytest.param(lambda a: [np.where(np.arange(4) == 2, 0, a["x"] * 2).astype("f4")], {"b": 1}, id="a-column"),
    pytest.param(lambda a: [(a["x"].astype("f2") * 2).astype("f4")], {"b": 1}, id="a-narrower-type"),
]


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("seed", [pytest.param(seed, id=f"seed-{seed}") for seed in (0, 1)])
@pytest.mark.parametrize(("backend", "sizes"), PLANTED)
def test_a_planted_difference_is_found_and_made_small(backend: Backend, sizes: dict[str, int], seed: int) -> None:
    search = searching(backend, built(allow_nan=True), seed)
    finding = search.run(search.check)
    assert search.failing is not None
    assert (verdict(finding), search.failing.sizes) == (Verdict.FAIL, sizes)
    assert len(search.failing.fills[0].special) <= 1
    assert finding.details["input"] == search.space.told(search.failing)
    assert search.space.told(search.failing) in finding.failure


def test_an_honest_backend_passes_and_its_worst_error_is_kept() -> None:
    search = searching(lambda arrays: [np.nextafter(arrays["x"] * 2, np.float32(0))])
    finding = search.run(search.check)
    assert finding.value is not None
    assert 0 < finding.value <= 1
    assert (verdict(finding), finding.samples, finding.bound) == (Verdict.PASS, search.tried, finding.value)
    fixed = len(search.space.essential()) + len(search.space.corners())
    assert fixed + DRAWN < search.tried < fixed + 1.5 * EXAMPLES + len(search.space.every_size())


def test_what_made_the_worst_error_is_kept_for_replay() -> None:
    kept: list[tuple[Recipe, Difference]] = []
    search = searching(lambda arrays: [arrays["x"]])
    search.keep_replay = lambda recipe, difference: kept.append((recipe, difference)) or "replay/net"  # type: ignore[func-returns-value]
    finding = search.run(search.check)
    assert finding.details["replay"] == "replay/net"
    assert kept == [(search.failing, search.worst)]


def counting(backend: Backend) -> tuple[Backend, list[Arrays]]:
    calls: list[Arrays] = []

    def count(arrays: Arrays) -> list[Array]:
        calls.append(arrays)
        return backend(arrays)

    return count, calls


def raising(error: Exception) -> Backend:
    def fail(arrays: Arrays) -> list[Array]:
        raise error

    return fail


ERRORS = [
    pytest.param(AgentDied("the agent died during 'infer'"), id="died"),
    pytest.param(AgentTimeout("the agent did not answer"), id="timeout"),
    pytest.param(ModelError("the model rejects inputs"), id="model-error"),
    pytest.param(LinkLost("the connection dropped during 'infer'"), id="link-lost"),
    pytest.param(MemoryError("no memory here"), id="no-error-of-ours"),
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("at", [pytest.param(1, id="first"), pytest.param(3, id="fixed"), pytest.param(30, id="drawn")])
def test_an_error_that_is_no_difference_stops_the_search_at_once_and_is_raised_as_it_is(
    error: Exception, at: int
) -> None:
    backend, calls = counting(lambda arrays: raising(error)(arrays) if len(calls) == at else honest(arrays))
    search = searching(backend)
    with pytest.raises(type(error)) as caught:
        search.run(search.check)
    assert caught.value is error
    assert len(calls) == at


def test_an_agent_that_dies_while_a_difference_is_made_small_is_its_own_error() -> None:
    failing: list[Arrays] = []

    def backend(arrays: Arrays) -> list[Array]:
        if size(arrays) == 3 and search.failing is not None:
            failing.append(arrays)
        if len(failing) == 2:
            raise AgentDied("the agent died during 'infer'")
        return [arrays["x"] * 2 + (size(arrays) == 3)]

    search = searching(backend)
    with pytest.raises(AgentDied):
        search.run(search.check)
    assert search.failing is not None
    assert len(failing) == 2


def test_a_backend_that_refuses_an_input_differs() -> None:
    def backend(arrays: Arrays) -> list[Array]:
        if size(arrays) > 1:
            raise AgentFailure("infer failed on the device", found="RuntimeError: batch must be 1")
        return honest(arrays)

    search = searching(backend)
    finding = search.run(search.check)
    assert search.failing is not None
    assert (verdict(finding), search.failing.sizes) == (Verdict.FAIL, {"b": 2})
    assert "the model takes this input, the backend does not: RuntimeError: batch must be 1" in finding.failure


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda calls: calls == 1, id="the-first-call-only"),
        pytest.param(lambda calls: calls % 2 == 0, id="every-second-call"),
        pytest.param(lambda calls: calls == 40, id="one-call-late"),
    ],
)
def test_answers_that_change_from_call_to_call_are_said_to(wrong: Callable[[int], bool]) -> None:
    backend, calls = counting(lambda arrays: [arrays["x"] * 2 + wrong(len(calls))])
    search = searching(backend)
    finding = search.run(search.check)
    assert verdict(finding) is Verdict.FAIL
    assert finding.failure.startswith("the answers change from call to call, for the same input")


class Remembers:
    """A backend that answers rightly, but for what it keeps."""

    def __init__(self, keep: Callable[[Array, Array], Array]) -> None:
        self.keep, self.kept = keep, np.zeros((), np.float32)

    def __call__(self, arrays: Arrays) -> list[Array]:
        answer = arrays["x"] * 2 + self.kept
        self.kept = np.asarray(self.keep(self.kept, arrays["x"]), np.float32)
        return [answer.astype(np.float32)]


KEEPING = [
    pytest.param(lambda kept, x: x.mean(), id="the-last-input"),
    pytest.param(lambda kept, x: kept + 1, id="a-count"),
    pytest.param(lambda kept, x: 0.9 * kept + 0.1 * x.mean(), id="an-average"),
    pytest.param(lambda kept, x: np.float32(len(x) == 8) * 7, id="after-one-size-only"),
    pytest.param(lambda kept, x: np.maximum(kept, (len(x) == 8) * 7), id="from-one-size-on"),
]


@pytest.mark.parametrize("keep", KEEPING)
def test_an_artifact_that_keeps_state_is_said_to_and_nothing_is_located(keep: Callable[[Array, Array], Array]) -> None:
    model, space = built(), Reference(built()).space
    located: list[Sequence[Recipe]] = []

    def locate(recipes: Sequence[Recipe]) -> Any:
        located.append(recipes)

    search = searching(
        Remembers(keep),
        model,
        locate=locate,
        fresh=lambda recipe: Remembers(keep)(space.make(recipe)),
    )
    finding = search.run(search.check)
    assert (verdict(finding), located) == (Verdict.FAIL, [])
    assert finding.value is not None
    assert finding.value > 10
    assert "change from call to call, for the same input" in finding.failure
    assert "keeps state" in finding.failure


def test_a_runtime_that_rounds_in_another_order_each_time_keeps_no_state() -> None:
    backend, calls = counting(lambda arrays: [arrays["x"] * 2 * np.float32(1 + 6e-7 * (len(calls) % 2))])
    search = searching(backend, built(tolerance=30.0))
    finding = search.run(search.check)
    assert (verdict(finding), finding.failure) == (Verdict.PASS, "")
    assert finding.value is not None
    assert finding.value > 4


def test_what_is_merely_wrong_is_not_said_to_keep_state() -> None:
    space = Reference(built()).space
    search = searching(lambda arrays: [arrays["x"]], fresh=lambda recipe: [space.make(recipe)["x"]])
    assert "state" not in search.run(search.check).failure


def test_a_model_that_draws_random_numbers_on_some_inputs_only_is_inconclusive() -> None:
    model = built(lambda x: x * 2 + torch.rand(1) if len(x) == 3 else x * 2)
    search = searching(lambda arrays: [arrays["x"] * 2 + np.float32(size(arrays) == 3)], model)
    finding = search.run(search.check)
    assert verdict(finding) is Verdict.INCONCLUSIVE
    assert "forward draws random numbers (rand)" in finding.no_bound_reason


def test_a_busy_machine_tries_as_many_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(arrays: Arrays) -> list[Array]:
        time.sleep(0.003)  # somebody else computes
        return honest(arrays)

    busy, quiet = searching(waits, search_s=60.0), searching(search_s=60.0)
    assert busy.run(busy.check).samples == quiet.run(quiet.check).samples
    assert quiet.tried > DRAWN


def test_a_list_that_was_not_finished_is_a_note() -> None:
    search = searching(lambda arrays: [np.nextafter(arrays["x"] * 2, np.float32(0))], search_s=0.0)
    finding = search.run(search.check)
    fixed = finding.details["fixed_list"]
    assert (verdict(finding), fixed["tried"]) == (Verdict.PASS, finding.samples)
    assert fixed["of"] > fixed["tried"]
    assert f"{fixed['tried']} of the {fixed['of']} inputs of its fixed list" in finding.notes[0]


class Whole(NamedTuple):
    """A search of seed 0 that nothing ends: what it tried, what it reported and what it found."""

    recipes: list[Recipe]
    reported: list[tuple[int, int]]
    finding: Finding


@pytest.fixture(scope="module")
def whole() -> Whole:
    """One for all that ask only what it did."""
    recipes: list[Recipe] = []
    reported: list[tuple[int, int]] = []
    search = searching()
    search.report = lambda done, total: reported.append((done, total))

    def check(recipe: Recipe) -> None:
        recipes.append(recipe)
        search.check(recipe)

    finding = search.run(check)
    assert finding.samples == search.tried
    return Whole(recipes, reported, finding)


def test_a_list_that_was_finished_is_none(whole: Whole) -> None:
    assert whole.finding.notes == ()


def test_steady_answers_are_not_said_to_change() -> None:
    search = searching(lambda arrays: [arrays["x"]])
    assert "change" not in search.run(search.check).failure


def test_a_model_without_a_float64_run_is_inconclusive() -> None:
    search = searching(model=built(lambda x: x.view(torch.int32)))
    finding = search.run(search.check)
    assert verdict(finding) is Verdict.INCONCLUSIVE
    assert "no float64 reference" in finding.no_bound_reason
    assert "\n" not in finding.no_bound_reason


def test_a_model_whose_process_ends_on_this_host_is_inconclusive() -> None:
    search = searching()

    def gone(recipe: Recipe) -> object:
        raise ProcessError("the model's process ended", found="killed by SIGKILL")

    finding = search.run(gone)
    assert verdict(finding) is Verdict.INCONCLUSIVE
    assert "killed by SIGKILL" in finding.no_bound_reason


def test_what_has_no_float64_run_is_judged_by_a_closeness() -> None:
    model = built(lambda x: x.view(torch.int32).float(), tolerance=Closeness(atol=0.5))
    search = searching(lambda arrays: [arrays["x"].view(np.int32).astype(np.float32)], model)
    assert verdict(search.run(search.check)) is Verdict.PASS
    search = searching(lambda arrays: [arrays["x"].view(np.int32).astype(np.float32) + 1], model)
    assert verdict(search.run(search.check)) is Verdict.FAIL


class Counting(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x * self.calls


@pytest.mark.parametrize(
    "forward",
    [pytest.param(lambda x: x + torch.rand(1), id="random-numbers"), pytest.param(Counting(), id="a-count-of-calls")],
)
def test_a_model_that_gives_two_answers_for_one_input_is_inconclusive(forward: Callable[[torch.Tensor], Any]) -> None:
    search = searching(model=built(forward))
    finding = search.run(search.check)
    assert verdict(finding) is Verdict.INCONCLUSIVE
    assert "two answers for one input" in finding.no_bound_reason


def test_the_value_is_the_worst_of_all_and_the_message_shows_it_beside_the_simplest() -> None:
    def backend(arrays: Arrays) -> list[Array]:
        return [arrays["x"] * 2 + np.where(arrays["x"] > 100, np.inf, 1).astype(np.float32)]

    search = searching(backend)
    finding = search.run(search.check)
    assert finding.value == np.inf
    assert search.worst.ratio < np.inf
    assert "Furthest off of all: output[" in finding.failure
    assert "off at any tolerance" in finding.failure


def test_a_refusal_in_a_call_of_many_is_that_of_one() -> None:
    def backend(arrays: Arrays) -> list[Array]:
        if np.isnan(arrays["x"]).any():
            raise AgentFailure("infer failed on the device", found="RuntimeError: a NaN")
        return honest(arrays)

    search = searching(backend, built(allow_nan=True))
    assert "the backend does not: RuntimeError: a NaN" in search.run(search.check).failure


def test_a_call_asks_for_no_more_than_a_small_board_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "CALL_BYTES", 4 * 4 * 4 * 10)  # of ten inputs of four rows, four times as wide
    model = built(lambda x: x.repeat(1, 4))
    search = searching(lambda arrays: [np.tile(arrays["x"], (1, 4))], model)
    calls: list[list[int]] = []
    infer = search.judging.infer

    def count(recipes: Sequence[Recipe]) -> list[list[Array]]:
        calls.append([4 * 4 * 4 * recipe.sizes["b"] for recipe in recipes])
        return infer(recipes)

    search.judging.infer = count
    search.run(search.check)
    assert max(map(len, calls)) > 2
    assert all(len(call) == 1 or sum(call) <= pace.CALL_BYTES for call in calls)


def test_what_is_known_comes_first_and_what_is_found_is_remembered() -> None:
    known = Recipe({"b": 5}, (Fill("constant", 7.0),))
    cache = Cache()
    Counterexamples(built().model, "net", cache).add(known, failed=True)
    counterexamples = Counterexamples(built().model, "net", cache)
    assert recipes_tried(0, after_the_first, counterexamples=counterexamples)[0].key == known.key

    search = searching(lambda arrays: [arrays["x"] * 2 + (size(arrays) == 5)], counterexamples=counterexamples)
    finding = search.run(search.check)
    assert finding.details["known_counterexamples"] == 1
    assert search.failing is not None
    assert counterexamples.known(search.space)[0].key == search.failing.key


def test_another_cells_counterexample_comes_first_and_is_not_said_to_be_known() -> None:
    counterexamples = Counterexamples()
    wrong = [
        searching(lambda arrays: [arrays["x"] * 2 + (size(arrays) == 5)], counterexamples=counterexamples)
        for _ in range(2)
    ]
    findings = [search.run(search.check) for search in wrong]
    assert wrong[0].failing is not None
    assert recipes_tried(0, after_the_first, counterexamples=counterexamples)[0].key == wrong[0].failing.key
    assert "known_counterexamples" not in findings[1].details


def test_a_size_that_goes_wrong_is_found() -> None:
    model = Model(lambda: Net(double).eval(), [Input("x", shape=("b", 4))], dims={"b": (1, 64)}, name="net")
    backend = lambda arrays: [arrays["x"] * 2 + (size(arrays) == 37)]  # noqa: E731
    search = searching(backend, build_model(ModelFile(Path("net.py"), model, ())))
    search.run(search.check)
    assert search.failing is not None
    assert search.failing.sizes == {"b": 37}


def test_a_corner_that_fails_is_made_simpler_too() -> None:
    def backend(arrays: Arrays) -> list[Array]:
        flat = arrays["x"].reshape(-1)
        rising = flat.size > 2 and (np.diff(flat) > 0).all()
        return [arrays["x"] * 2 + np.float32(rising)]

    search = searching(backend)
    search.run(search.check)
    assert search.failing is not None
    assert (search.failing.fills[0].kind, search.failing.sizes) == ("ascending", {"b": 1})


def test_what_one_cell_was_furthest_off_on_is_tried_on_the_next() -> None:
    counterexamples = Counterexamples()
    search = searching(lambda arrays: [np.nextafter(arrays["x"] * 2, np.float32(0))], counterexamples=counterexamples)
    search.run(search.check)
    (met,) = counterexamples.met(search.space)
    assert met.key == recipes_tried(1, after_the_first, counterexamples=counterexamples)[0].key


def hill(arrays: Arrays) -> list[Array]:
    """Off by more the nearer all elements are to one number: few inputs that are drawn come near."""
    doubled = arrays["x"].astype(np.float64) * 2
    away = np.abs(arrays["x"] - 631.7).max(initial=0.0)
    off = 2.0**-23 * np.abs(doubled).max(initial=0.0) * 11.5 * 2.0 ** (-away / 60)
    return [(doubled + off).astype(np.float32)]


def test_climbing_gets_further_than_drawing_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def reached() -> float:
        searches = [searching(hill, seed=seed) for seed in range(2)]
        return sum(search.run(search.check).value or 0.0 for search in searches)

    climbed = reached()
    monkeypatch.setattr(search_module, "aim", lambda ratio: None)
    assert climbed > 1.2 * reached()


def test_one_input_without_a_float64_run_makes_all_inconclusive() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x * 2 if len(x) < 8 else x.view(torch.int32).float()

    search = searching(model=built(forward))
    assert verdict(search.run(search.check)) is Verdict.INCONCLUSIVE


def test_a_difference_counts_also_where_a_later_input_has_no_float64_run() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x * 2 if len(x) in (1, 8) else x.view(torch.int32).float()

    search = searching(lambda arrays: [arrays["x"] * 2 + np.float32(size(arrays) == 8)], built(forward))
    assert verdict(search.run(search.check)) is Verdict.FAIL


def test_where_zeros_would_pass_on_most_inputs_nothing_is_said() -> None:
    # As it is where forward draws random numbers: the two runs have little to do with each other.
    search = searching(model=built(lambda x: x * (2 if x.dtype == torch.float32 else -2)))
    finding = search.run(search.check)
    assert verdict(finding) is Verdict.INCONCLUSIVE
    assert "inputs output: float32 is so far from float64 that even zeros would be within" in finding.invalid_reason


def recipes_tried(seed: int, stop: Callable[[int], bool] = lambda tried: False, **more: Any) -> list[Recipe]:
    """All recipes of a search; its time is over once ``stop`` says so."""
    found: list[Recipe] = []
    search = searching(seed=seed, **more)

    def check(recipe: Recipe) -> None:
        found.append(recipe)
        search.check(recipe)
        if stop(len(found)):
            search.pace.search_s = -1.0

    search.run(check)
    return found


def test_the_same_seed_tries_the_same_inputs_and_another_seed_others(whole: Whole) -> None:
    first, again, other = whole.recipes, recipes_tried(0), recipes_tried(1)
    assert first == again
    space = InputSpace(built().model)
    fixed = len(space.essential()) + len(space.corners())
    assert first[:fixed] == other[:fixed]
    assert len({recipe.key for recipe in first[fixed:]} & {recipe.key for recipe in other[fixed:]}) < 20


@pytest.mark.parametrize("count", [pytest.param(count, id=str(count)) for count in (16, 40, 90)])
def test_a_search_with_less_time_tries_the_first_of_the_same_inputs(count: int, whole: Whole) -> None:
    shorter = recipes_tried(0, lambda tried: tried >= count)
    assert len(shorter) == count
    assert whole.recipes[:count] == shorter


def test_a_slow_device_is_asked_the_fixed_inputs_and_ten_more() -> None:
    assert len(recipes_tried(0, search_s=0.0)) == len(InputSpace(built().model).essential()) + LEAST


def test_what_takes_long_is_not_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "SHRINK_BELOW_S", 0.0)
    backend, calls = counting(lambda arrays: [arrays["x"] + 1])
    search = searching(backend)
    search.run(search.check)
    asked = {arrays["x"].tobytes() for arrays in calls}
    assert len(asked) == 2  # the first input, and the one that comes between: does it keep state?


def test_making_small_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SHRINK_S", 0.2)

    def backend(arrays: Arrays) -> list[Array]:
        time.sleep(0.02)
        return [arrays["x"] * 2 + (size(arrays) == 3)]

    count, calls = counting(backend)
    search = searching(count)
    finding = search.run(search.check)
    failing = next(index for index, arrays in enumerate(calls) if size(arrays) == 3)
    assert verdict(finding) is Verdict.FAIL
    assert len(calls) - failing < 15 + pace.CALL_SETS  # and what was asked in the same call


def test_progress_is_reported_and_never_beyond_its_total(whole: Whole) -> None:
    assert [done for done, _ in whole.reported] == list(range(1, whole.finding.samples + 1))
    assert all(done <= total for done, total in whole.reported)


def test_check_alone_raises_what_differs() -> None:
    search = searching(lambda arrays: [arrays["x"]])
    with pytest.raises(Mismatch, match="wanted"):
        search.check(search.space.essential()[0])


def test_check_alone_says_how_far_an_honest_answer_is_off() -> None:
    search = searching()
    assert search.check(search.space.essential()[0]).ratio == 0


PROGRAM = """
import hashlib, sys
sys.path[:0] = {path!r}
{more}
from pathlib import Path
from hypothesis import settings
from harness import Closeness, Input, Model
from harness.model.build import BuiltModel
from harness.model.model_file import ModelFile
from harness.parity.rule.reference import Reference
from harness.parity.search import ParitySearch

inputs = [Input("x", shape=("b", 4)), Input("i", shape=("b",), dtype="int64", min_value=0, max_value=10**6)]
model = Model(build=lambda: None, inputs=inputs, dims={{"b": (1, 300)}})
for seed in (0, 0, 1):
    found = []
    built = BuiltModel(
        file=ModelFile(Path("net.py"), model, ()), module=None, outputs=(), structure=None, weights={{}})
    answers = lambda recipes: [[]] * len(recipes)
    ParitySearch(
        reference=Reference(built), infer=answers, names=(), search_seed=seed, report=lambda done, total: None
    ).run(found.append)
    print(hashlib.sha256(repr(found).encode()).hexdigest(), len(found))
print(settings.default.derandomize)
"""


def in_a_process(folder: Path, *, ci: bool, more: str = "") -> list[str]:
    """What the program prints, run in a folder."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_CURRENT_TEST")}
    environment |= {"CI": "true"} if ci else {}
    program = PROGRAM.format(path=[str(folder), *sys.path], more=more)
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, check=True, stdout=subprocess.PIPE
    ).stdout.split("\n")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str], list[str]]:
    """With CI set; without; and without, once a module of that folder, full of constants, has been imported."""
    folders = [tmp_path_factory.mktemp("folder") for _ in range(3)]
    (folders[2] / "own.py").write_text(f"NUMBERS = {[*range(2, 300, 7), 0.125, 7.75, 12345.5]}\n")
    runs = (
        in_a_process(folders[0], ci=True),
        in_a_process(folders[1], ci=False),
        in_a_process(folders[2], ci=False, more="import own"),
    )
    assert [path.name for folder in folders for path in folder.iterdir() if path.name == ".hypothesis"] == []
    return runs


def test_with_ci_set_a_seed_gives_the_same_inputs_and_another_seed_others(
    printed: tuple[list[str], list[str], list[str]],
) -> None:
    first, again, other, derandomized, _ = printed[0]
    assert derandomized == "True"  # so Hypothesis itself would ignore the seed
    assert first == again != other


def test_with_ci_set_the_inputs_are_the_same_as_without(printed: tuple[list[str], list[str], list[str]]) -> None:
    assert printed[0][:3] == printed[1][:3]


def test_modules_that_are_imported_do_not_change_the_inputs(printed: tuple[list[str], list[str], list[str]]) -> None:
    assert printed[2][:3] == printed[1][:3]


def test_what_only_the_size_of_the_output_elsewhere_explains_is_in_doubt() -> None:
    # A sample's sentinel: a unit in the last place of it is 64, and the outputs are some thousands at most.
    model = built(min_value=-500.0, max_value=500.0)
    sample = {"x": np.array([[-5e8, 1, 1, 1]], np.float32)}
    reference = Reference(model, lambda: [sample])

    def infer(recipes: Sequence[Recipe]) -> list[list[Array]]:
        return [[x * (3 if len(x) > 2 else 2)] for x in (reference.space.make(recipe)["x"] for recipe in recipes)]

    search = ParitySearch(
        reference=reference,
        infer=infer,
        names=model.outputs,
        search_seed=0,
        report=lambda done, total: None,
        search_s=1,
    )
    finding = search.run(search.check)
    assert verdict(finding) is Verdict.INCONCLUSIVE, finding.failure
    tally = search.judging.tally
    assert f"on {tally.hidden} of {tally.listed} inputs the answer is off, and only how large" in finding.invalid_reason


def test_a_failure_names_each_input_and_the_program_that_shows_it_again(tmp_path: Path) -> None:
    search = searching(
        lambda a: [a["x"] * 3], keep_replay=lambda recipe, difference: "replay/a cell", evidence=tmp_path
    )
    failure = search.run(search.check).failure
    assert "; x: " in failure
    assert f"See it again: python '{tmp_path}/replay/a cell/replay.py'" in failure
    assert "prepare" not in failure  # every input shows it


def test_where_only_odd_inputs_are_off_prepare_is_named() -> None:
    search = searching(lambda a: [a["x"] * 2 if a["x"].any() else a["x"] + 1])
    assert "if the model never gets one like this in use" in search.run(search.check).failure
