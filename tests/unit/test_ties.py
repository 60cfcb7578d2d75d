"""Ties: what a backend picks among keys that float32 cannot tell apart is right, and what it picks beside is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import Closeness, Input, Model
from harness.agent.structure import flatten
from harness.checks.check import Verdict, judge
from harness.checks.finding import Finding
from harness.checks.limits import Limit
from harness.errors import AgentDied
from harness.model.build import BuiltModel, build_model
from harness.model.inputs import Arrays
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.parity.judging import Judging
from harness.parity.rule.model_runs import ModelRuns
from harness.parity.rule.module_runs import run_both
from harness.parity.rule.no_reference import AtThreshold
from harness.parity.rule.picks import Breaks, Watched
from harness.parity.rule.reference import Reference
from harness.parity.rule.ties import Ties
from harness.parity.search import ParitySearch
from harness.parity.trials.recipe import Recipe

Forward = Callable[[torch.Tensor], Any]
Backend = Callable[[Arrays], list[Array]]


class Net(torch.nn.Module):
    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.answer = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self.answer(x)


def built(forward: Forward, size: int = 6, tolerance: Any = 30.0) -> BuiltModel:
    inputs = [Input("x", shape=(size, 2), min_value=-1.0, max_value=1.0)]
    model = Model(lambda: Net(forward).eval(), inputs, name="net", tolerance=tolerance)
    return build_model(ModelFile(Path("net.py"), model, ()))


def judged(model: BuiltModel, x: Array, answers: Sequence[Any]) -> Judging | None:
    """The judging that took the answers for right; None where they are off."""
    reference = Reference(model)
    found = [np.asarray(answer, one.eager.dtype) for answer, one in zip(answers, reference({"x": x}), strict=True)]
    judging = Judging(reference, lambda recipes: [found], model.outputs)
    recipe = reference.space.essential()[0]
    judging.reference.space.__dict__["make"] = lambda _: {"x": x}
    return judging if judging.judge(recipe, climbed=False).ratio <= judging.limit else None


def run(forward: Forward, x: Array) -> list[Array]:
    return [leaf.numpy() for _, leaf in flatten(forward(torch.from_numpy(x)))]


# The first column is the key, the second what is gathered by it. Rows 1 and 4 tie, 0 and 3 nearly.
KEYS = [0.5, 0.25, -1, 0.5 + 2**-24, 0.25, 0.75]
X = np.array([[key, place / 8] for place, key in enumerate(KEYS)], np.float32)
CLEAR = np.array([[place / 8, -place / 8] for place in (3, 1, 5, 0, 4, 2)], np.float32)


def best(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sorted by key: the keys, the rows' other number, and a label that is a whole number."""
    keys, order = x[:, 0].sort(descending=True)
    return keys, x[order, 1], (x[:, 1] * 8).round().long()[order] + 100


def with_order(x: Array, order: Sequence[int]) -> list[Array]:
    return [x[order, 0], x[order, 1], np.round(x[order, 1] * 8).astype(np.int64) + 100]


RIGHT = [
    pytest.param([5, 3, 0, 1, 4, 2], id="as-eager"),
    pytest.param([5, 3, 0, 4, 1, 2], id="equal-keys"),
    pytest.param([5, 0, 3, 1, 4, 2], id="nearly-equal-keys"),
    pytest.param([5, 0, 3, 4, 1, 2], id="both"),
]


@pytest.mark.parametrize("order", RIGHT)
def test_rows_with_keys_that_float32_cannot_tell_apart_may_change_places(order: list[int]) -> None:
    assert judged(built(best), X, with_order(X, order))


WRONG = [
    pytest.param([3, 5, 0, 1, 4, 2], id="two-distinguishable-rows-are-swapped"),
    pytest.param([5, 3, 0, 1, 1, 2], id="a-row-twice"),
    pytest.param([5, 3, 0, 1, 2, 4], id="the-last-two"),
    pytest.param([5, 0, 3, 1, 2, 4], id="beside-a-tie"),
]


@pytest.mark.parametrize("order", WRONG)
def test_rows_with_keys_that_can_be_told_apart_may_not(order: list[int]) -> None:
    assert judged(built(best), X, with_order(X, order)) is None


def test_right_keys_with_the_wrong_rows_gathered_are_a_difference() -> None:
    keys, rows, labels = with_order(X, [5, 3, 0, 1, 4, 2])
    assert judged(built(best), X, [keys, rows[[0, 2, 1, 3, 4, 5]], labels]) is None  # of one row only a part moves
    assert judged(built(best), X, [keys, rows, labels[[0, 1, 2, 4, 3, 5]]]) is None
    assert judged(built(best), X, [keys, rows, labels[[1, 0, 2, 3, 4, 5]]]) is None


def test_what_is_a_tie_is_counted_and_named() -> None:
    judging = judged(built(best), X, with_order(X, [5, 3, 0, 4, 1, 2]))
    assert judging is not None
    assert (judging.tally.tied, dict(judging.tally.ties)) == (1, {"sort of the model itself": 1})
    assert "ties in sort of the model itself: on 1 of 1 inputs" in judging.tally.notes[0]


def test_an_answer_as_eagers_is_none() -> None:
    judging = judged(built(best), CLEAR, run(best, CLEAR))
    assert judging is not None
    assert (judging.tally.tied, judging.tally.notes) == (0, ())


def gathered(picks: Callable[[torch.Tensor], torch.Tensor]) -> Forward:
    """Rows gathered by picks, pooled: no output has the picks' order."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        chosen = picks(x[:, 0])
        return torch.sin(x[chosen, 1] * torch.arange(1, len(chosen) + 1)).sum(0, keepdim=True)

    return forward


# Operator, its picks of keys in which rows 1 and 4 tie, and picks that are none.
OPERATORS = [
    pytest.param(lambda key: key.topk(4)[1], [5, 3, 0, 4], [5, 3, 0, 2], id="topk"),
    pytest.param(lambda key: key.topk(3, largest=False)[1], [2, 4, 1], [2, 4, 0], id="topk-of-the-smallest"),
    pytest.param(lambda key: key.sort()[1], [2, 4, 1, 0, 3, 5], [4, 2, 1, 0, 3, 5], id="sort"),
    pytest.param(lambda key: key.argsort(), [2, 4, 1, 3, 0, 5], [2, 4, 3, 1, 0, 5], id="argsort"),
    pytest.param(lambda key: (-key.abs()).argmax()[None], [4], [0], id="argmax"),
    pytest.param(lambda key: key.abs().argmin(0, keepdim=True), [4], [3], id="argmin"),
    pytest.param(lambda key: (-key.abs()).max(0)[1][None], [4], [5], id="max"),
    pytest.param(lambda key: key.abs().min(0)[1][None], [4], [5], id="min"),
    pytest.param(lambda key: key.kthvalue(2)[1][None], [4], [0], id="kthvalue"),
    pytest.param(lambda key: key[:5].median(0)[1][None], [4], [0], id="median"),
]


@pytest.mark.parametrize(("picks", "tied", "wrong"), OPERATORS)
def test_each_operator_that_picks_is_followed_into_what_is_made_of_it(
    picks: Callable[[torch.Tensor], torch.Tensor], tied: list[int], wrong: list[int]
) -> None:
    forward = gathered(picks)
    for other in (tied, wrong):
        (answer,) = run(gathered(lambda key, other=other: torch.tensor(other)), X)  # type: ignore[misc]
        assert bool(judged(built(forward), X, [answer])) == (other is tied)


def test_a_row_that_ties_with_the_last_that_is_picked_may_be_picked_in_its_place() -> None:
    def forward(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys, order = x[:, 0].topk(4)
        return keys, x[order]

    for other, right in (([5, 3, 0, 4], True), ([5, 3, 0, 2], False)):
        assert bool(judged(built(forward), X, [X[other, 0], X[other]])) == right


def test_many_rows_of_one_key_may_come_in_any_order() -> None:
    x = np.array([[0.5, place / 64] for place in range(60)], np.float32)
    order = np.random.default_rng(0).permutation(60)
    assert judged(built(best, 60), x, with_order(x, list(order)))
    assert judged(built(best, 60), x, with_order(x, [*order[:-1], order[0]])) is None


def test_ties_in_one_of_two_sorts_that_follow_each_other() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        once = x[x[:, 0].argsort()]
        return once[(once[:, 0] * 4).floor().argsort(descending=True, stable=True)]

    first = X[[2, 4, 1, 0, 3, 5]]
    answer = first[np.argsort(-np.floor(first[:, 0] * 4), kind="stable")]
    assert judged(built(forward), X, [answer])


def test_indices_and_what_they_gather_belong_together() -> None:
    def forward(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        order = x[:, 0].argsort(descending=True)
        return order, x[order, 1]

    order = [5, 0, 3, 4, 1, 2]
    assert judged(built(forward), X, [order, X[order, 1]])
    assert judged(built(forward), X, [order, X[[5, 0, 3, 4, 2, 1], 1]]) is None


def test_a_closeness_says_which_keys_are_as_good_as_equal() -> None:
    x = X.copy()
    x[4, 0] += 0.001
    order = [5, 3, 0, 1, 4, 2]
    assert judged(built(best, tolerance=Closeness(rtol=1e-2)), x, with_order(x, order))
    assert judged(built(best, tolerance=Closeness(rtol=1e-5)), x, with_order(x, order)) is None


def searching(forward: Forward, backend: Backend, size: int = 6) -> tuple[ParitySearch, Finding, Verdict]:
    model = built(forward, size)
    reference = Reference(model)

    def infer(recipes: Sequence[Recipe]) -> list[list[Array]]:
        return [backend(reference.space.make(recipe)) for recipe in recipes]

    search = ParitySearch(
        reference=reference,
        infer=infer,
        names=model.outputs,
        search_seed=0,
        report=lambda done, total: None,
        search_s=2,
    )
    finding = search.run(search.check)
    return search, finding, judge(finding, [Limit("parity", 30.0, "net.py")]).verdict


def last_first(arrays: Arrays) -> list[Array]:
    """Of equal keys the last row comes first."""
    x = arrays["x"]
    return with_order(x, list(len(x) - 1 - np.argsort(-x[::-1, 0], kind="stable")))


def test_a_search_passes_a_backend_that_breaks_ties_in_another_way_and_counts_them() -> None:
    search, finding, verdict = searching(best, last_first)
    assert verdict is Verdict.PASS, finding.failure
    assert finding.details["ties"] == search.judging.tally.tied > 0
    assert finding.details["ties_in"] == ["sort of the model itself"]
    # A busy machine may not come to the end of the list in this time; that is another note.
    assert tuple(note for note in finding.notes if "of its fixed list" not in note) == tuple(search.judging.tally.notes)


def swapping(arrays: Arrays) -> list[Array]:
    """The best two rows have changed places, whatever their keys are."""
    return [answer[[1, 0, *range(2, len(answer))]] for answer in run(best, arrays["x"])]


def mislabelling(arrays: Arrays) -> list[Array]:
    """A quarter of the labels is another row's."""
    keys, rows, labels = run(best, arrays["x"])
    labels[::4] = labels[-1]
    return [keys, rows, labels]


def gathering_beside(arrays: Arrays) -> list[Array]:
    """The right keys, with the rows beside."""
    keys, rows, labels = run(best, arrays["x"])
    return [keys, np.roll(rows, 1), labels]


@pytest.mark.parametrize("backend", [swapping, mislabelling, gathering_beside])
def test_a_search_finds_a_backend_that_is_wrong_where_keys_can_be_told_apart(backend: Backend) -> None:
    _, finding, verdict = searching(best, backend)
    assert verdict is Verdict.FAIL
    assert finding.failure


def above(x: torch.Tensor) -> torch.Tensor:
    """The rows above a threshold that float32 does not hold exactly."""
    return x[x[:, 0] * 3 > 0.3]


def test_an_input_on_which_float64_keeps_another_number_of_rows_is_set_aside() -> None:
    x = CLEAR.copy()
    x[0, 0] = 0.1
    with pytest.raises(AtThreshold):
        Reference(built(above))({"x": x})


def test_an_input_beside_which_the_model_keeps_as_many_rows_as_the_backend_is_set_aside() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x[x[:, 0] > 0.5]

    x = CLEAR.copy()
    x[0, 0] = 0.5
    with pytest.raises(AtThreshold):
        judged(built(forward), x, [x[x[:, 0] >= 0.5]])
    x[0, 0] = 0.5001
    assert judged(built(forward), x, [x[x[:, 0] > 0.6]]) is None


def test_what_is_set_aside_is_not_tried_and_too_much_of_it_is_inconclusive() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x[: 3 + int(bool(x[0, 0] > 0) and x.dtype == torch.float64)]

    search, finding, verdict = searching(forward, lambda arrays: run(forward, arrays["x"]))
    assert verdict is Verdict.INCONCLUSIVE
    assert "lie at a threshold" in finding.invalid_reason
    assert (finding.samples, finding.details["set_aside"]) == (search.tried, search.judging.tally.set_aside)
    assert search.judging.tally.listed_aside > 2


def test_few_inputs_at_a_threshold_are_no_doubt() -> None:
    search, _, verdict = searching(above, lambda arrays: run(above, arrays["x"]))
    assert verdict is Verdict.PASS
    assert search.judging.tally.set_aside * 5 <= search.tried


def test_a_backend_that_drops_a_row_which_is_clearly_above_is_found() -> None:
    def dropping(arrays: Arrays) -> list[Array]:
        return [run(above, arrays["x"])[0][:-1]]

    _, finding, verdict = searching(above, dropping)
    assert verdict is Verdict.FAIL
    assert "shape: wanted" in finding.failure


def test_a_model_that_always_gives_float64_another_shape_has_no_reference() -> None:
    _, finding, verdict = searching(lambda x: x[: x.element_size()], lambda arrays: [arrays["x"][:4]], size=9)
    assert verdict is Verdict.INCONCLUSIVE
    assert "no float64 reference" in finding.no_bound_reason


@pytest.mark.parametrize(("x", "differ"), [(CLEAR, False), (X, True)], ids=["clear", "tied"])
def test_keys_are_handed_on_only_where_float64_picks_otherwise(x: Array, differ: bool) -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x[(x[:, 0] + 1e4).argsort(descending=True, stable=True)]  # in float32, some keys are one

    runs = run_both(built(forward), {"x": x}, exact=True, watch=True)
    assert (runs.has_picks, runs.picks is not None) == (True, differ)


def test_where_all_rows_lie_at_a_threshold_the_backend_may_keep_them_or_not() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x[x[:, 0] > 0.5]

    x = np.full((200, 2), 0.5, np.float32)
    with pytest.raises(AtThreshold):
        judged(built(forward, size=200), x, [x])
    assert judged(built(forward, size=200), x * np.float32(0.99), [x * np.float32(0.99)]) is None


def test_a_lost_process_is_no_tie() -> None:
    class Lost(ModelRuns):
        def exact(self, breaks: Breaks, arrays: Arrays | None = None) -> Watched:
            raise AgentDied("it is gone")

    reference = Reference(built(best))
    expected = reference({"x": X})
    runs = Lost(reference, {"x": X}, reference.wider_rule.widen_with)
    with pytest.raises(AgentDied):
        Ties.watch(runs, reference.built.outputs, [one.eager for one in expected], 30.0).find()


def endless(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rounds until equal keys are in the order of their indices, which a stable sort does at once."""
    keys, order = x[:, 0].sort(descending=True, stable=True)
    while bool((order[3] > order[4]) & (keys[3] == keys[4])):
        keys = keys * 1
    return keys, x[order, 1]


def test_a_loop_that_other_picks_keep_running_is_left() -> None:
    assert judged(built(endless), X, run(endless, X))
    assert judged(built(endless), X, with_order(X, [5, 3, 0, 4, 1, 2])[:2]) is None


def test_what_counts_beside_an_input_is_found_with_eagers_picks() -> None:
    """Float32 cannot tell the keys apart, float64 can; the last place of a sigmoid is more than that of its number."""
    x = np.array([[place * -1e-9, place / 8] for place in range(6)], np.float32)
    model = built(lambda x: x[(x[:, 0] + 1).argsort(stable=True), 1].sigmoid())
    assert Reference(model).widened({"x": x})[0].perturbation >= 2.0**-23 * 0.9


def test_an_answer_of_another_size_is_set_aside_where_ties_decide_the_size() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        order = (x[:, 0] * 0).argsort(stable=True)  # all keys are one
        return x[order][x[order, 1].cummax(0).values <= x[order[0], 1]]  # how many rows depends on which comes first

    x = np.array([[0, 2], [0, 1], [0, 3], [0, 2.5]], np.float32)
    with pytest.raises(AtThreshold):
        judged(built(forward, size=4), x, [x[:3]])
    assert judged(built(lambda x: x[x[:, 1] > 1.5], size=4), x, [x[:2]]) is None


def saturated(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each of eight rows the five best, by scores that are mostly 1 in float32, and what is gathered by them."""
    scores, order = torch.sigmoid(x[:, 0] * 60).reshape(8, 32).topk(5, -1)
    return scores, x[:, 1].reshape(8, 32).gather(1, order)


def test_equal_scores_come_by_their_index_but_for_one_that_is_rounded_otherwise() -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (256, 2)).astype(np.float32)
    x[np.abs(x[:, 0] - 0.28) < 0.05, 0] = 0.4  # none is nearly 1
    order = [np.flatnonzero(row > 0.3) for row in x[:, 0].reshape(8, 32)]
    assert min(map(len, order)) > 6
    order[3] = np.delete(order[3], 1)
    picks = np.stack([row[:5] for row in order])
    gathered = np.take_along_axis(x[:, 1].reshape(8, 32), picks, 1)
    assert judged(built(saturated, size=256), x, [np.ones((8, 5)), gathered])
    gathered[3, 1] = x[96 + np.flatnonzero(x[96:128, 0] < -0.5)[0], 1]
    assert judged(built(saturated, size=256), x, [np.ones((8, 5)), gathered]) is None
