"""Outputs that are declared to be sets, and the model file's own canonical form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import Input, Model, Unordered
from harness.checks.check import Verdict, judge
from harness.checks.finding import Finding
from harness.checks.limits import Limit
from harness.errors import ModelError
from harness.model.build import BuiltModel, build_model
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.model.unordered import RowSet, row_sets
from harness.parity.judging import Judging
from harness.parity.replay.program import arranged
from harness.parity.rule import sets
from harness.parity.rule.comparison import Expected
from harness.parity.rule.reference import Reference
from harness.parity.rule.rows import bottleneck, matching
from harness.parity.rule.sets import arranged as in_order
from harness.parity.search import ParitySearch
from harness.parity.trials.recipe import Recipe

RANDOM = np.random.default_rng(0)
OUTPUTS = ("output_boxes", "output_scores", "output_1_boxes", "output_0")


class Boxes(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"boxes": x * 2, "scores": x[..., 0] / 3, "labels": (x[..., 1] * 8).round().long()}


def built(**more: Any) -> BuiltModel:
    inputs = [Input("x", shape=("b", 7, 4), min_value=-1.0, max_value=1.0)]
    model = Model(lambda: Boxes().eval(), inputs, dims={"b": (1, 2)}, name="net", **more)
    return build_model(ModelFile(Path("net.py"), model, ()))


def right(x: Array) -> list[Array]:
    return [x * 2, x[..., 0] / np.float32(3), np.round(x[..., 1] * 8).astype(np.int64)]


def search(model: BuiltModel, backend: Callable[[Array], list[Array]]) -> tuple[Verdict, Finding]:
    reference = Reference(model)

    def infer(recipes: Sequence[Recipe]) -> list[list[Array]]:
        return [backend(reference.space.make(recipe)["x"]) for recipe in recipes]

    searching = ParitySearch(
        reference=reference,
        infer=infer,
        names=model.outputs,
        search_seed=0,
        report=lambda done, total: None,
        search_s=1,
    )
    finding = searching.run(searching.check)
    return judge(finding, [Limit("parity", 30.0, "net.py")]).verdict, finding


def shuffled(x: Array) -> list[Array]:
    order = np.random.default_rng(len(x)).permutation(x.shape[1])
    return [answer[:, order] for answer in right(x)]


def apart(x: Array) -> list[Array]:
    """Each output in an order of its own: the labels are other rows'."""
    boxes, scores, labels = shuffled(x)
    return [boxes, scores, np.roll(labels, 1, axis=1)]


def twice(x: Array) -> list[Array]:
    """One row comes twice, in another's place."""
    return [answer[:, [0, 0, *range(2, x.shape[1])]] for answer in shuffled(x)]


def beside(x: Array) -> list[Array]:
    """A row's box is a thousandth off."""
    boxes, scores, labels = shuffled(x)
    boxes[:, 3] *= np.float32(1.001)
    return [boxes, scores, labels]


TOGETHER = [Unordered(("boxes", "scores", "labels"), axis=1)]


def test_rows_of_a_set_may_come_in_any_order() -> None:
    assert search(built(unordered=TOGETHER), shuffled)[0] is Verdict.PASS
    assert search(built(), shuffled)[0] is Verdict.FAIL


def at_every_call(answer: Callable[[Array], list[Array]]) -> Callable[[Array], list[Array]]:
    """The rows in another order at each call."""
    random = np.random.default_rng(0)

    def backend(x: Array) -> list[Array]:
        order = random.permutation(x.shape[1])
        return [each[:, order] for each in answer(x)]

    return backend


def sorted_each(outputs: Any) -> Any:
    """Scores and labels, each by size."""
    return [np.sort(outputs["scores"], axis=1), np.sort(outputs["labels"], axis=1)]


def wrong_in_places(x: Array) -> list[Array]:
    boxes, scores, labels = right(x)
    return [boxes, scores * 2, labels]


@pytest.mark.parametrize("answer", [right, wrong_in_places])
@pytest.mark.parametrize("more", [{"unordered": TOGETHER}, {"canonical": sorted_each}], ids=["unordered", "canonical"])
def test_another_order_at_every_call_is_no_state(more: Any, answer: Callable[[Array], list[Array]]) -> None:
    reference, backend = Reference(built(**more)), at_every_call(answer)

    def judging(backend: Callable[[Array], list[Array]]) -> Judging:
        return Judging(
            reference,
            lambda recipes: [backend(reference.space.make(recipe)["x"]) for recipe in recipes],
            reference.built.outputs,
        )

    recipe, other, *_ = reference.space.whole_range()
    assert not judging(backend).changes_around(recipe, other)
    sizes = iter((1, 1, 2))
    assert judging(lambda x: [each * size for size in [next(sizes)] for each in backend(x)]).changes_around(
        recipe, other
    )


@pytest.mark.parametrize("backend", [apart, twice, beside])
def test_but_each_row_is_one_of_the_references(backend: Callable[[Array], list[Array]]) -> None:
    assert search(built(unordered=TOGETHER), backend)[0] is Verdict.FAIL


def test_a_batch_is_no_set() -> None:
    def swapped(x: Array) -> list[Array]:
        return [answer[::-1] for answer in shuffled(x)]

    assert search(built(unordered=TOGETHER), swapped)[0] is Verdict.FAIL


def test_a_row_more_or_less_is_a_difference() -> None:
    verdict, finding = search(built(unordered=TOGETHER), lambda x: [answer[:, 1:] for answer in shuffled(x)])
    assert verdict is Verdict.FAIL
    assert "shape: wanted" in finding.failure


def test_of_two_numbers_the_float64_run_may_have_another_order_than_eager() -> None:
    class Wide(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[0] if x.dtype == torch.float32 else x[0].flip(0)

    inputs = [Input("x", shape=(1, 7, 4), min_value=-1.0, max_value=1.0)]
    model = Model(lambda: Wide().eval(), inputs, name="net", unordered=["output"])
    whole = build_model(ModelFile(Path("net.py"), model, ()))
    assert search(whole, lambda x: [x[0, ::-1]])[0] is Verdict.PASS
    assert search(whole, lambda x: [x[0, ::-1] * np.float32(1.001)])[0] is Verdict.FAIL


def ordered(outputs: Any) -> Any:
    """Rows by their scores."""
    order = np.argsort(outputs["scores"], axis=1, kind="stable")
    return [np.take_along_axis(outputs["scores"], order, 1), np.sort(outputs["labels"], axis=1)]


def test_a_canonical_form_is_what_is_compared() -> None:
    assert search(built(canonical=ordered), shuffled)[0] is Verdict.PASS
    verdict, finding = search(
        built(canonical=ordered), lambda x: [*shuffled(x)[:1], shuffled(x)[1] * np.float32(1.001), *shuffled(x)[2:]]
    )
    assert (verdict, "output_0[" in finding.failure) == (Verdict.FAIL, True)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda x: shuffled(x)[:2], id="an-output-is-missing"),
        pytest.param(lambda x: [*shuffled(x)[:2], shuffled(x)[2].astype(np.int32)], id="type"),
        pytest.param(lambda x: [shuffled(x)[0], shuffled(x)[1].reshape(-1), shuffled(x)[2]], id="axes"),
    ],
)
def test_a_canonical_form_hides_no_wrong_form_of_the_outputs(wrong: Callable[[Array], list[Array]]) -> None:
    verdict, finding = search(built(canonical=ordered), wrong)
    assert verdict is Verdict.FAIL
    assert "outputs: wanted output_boxes: float32, 3 axes" in finding.failure


def test_a_canonical_form_that_is_always_the_same_compares_nothing() -> None:
    verdict, finding = search(built(canonical=lambda outputs: np.zeros(3)), lambda x: [one * 2 for one in right(x)])
    assert verdict is Verdict.INCONCLUSIVE
    assert finding.invalid_reason == "canonical() gives the same for every input: nothing was compared"


def raising(outputs: Any) -> Any:
    raise RuntimeError("no")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        pytest.param(raising, "RuntimeError: no", id="raises"),
        pytest.param(lambda outputs: "boxes", "<U5", id="a-text"),
        pytest.param(lambda outputs: {}, "nothing", id="nothing"),
        pytest.param(lambda outputs: None, "object", id="none"),
    ],
)
def test_a_canonical_form_that_is_none_is_the_model_files_error(function: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(ModelError) as caught:
        search(built(canonical=function), shuffled)
    assert said in caught.value.found
    assert "output_scores: float32[1, 7]" in caught.value.wanted


def test_what_a_canonical_form_takes_of_pytorch_and_not_of_the_backend_is_a_difference() -> None:
    def whole(outputs: Any) -> Any:
        if np.isnan(outputs["boxes"]).any():
            raise ValueError("a NaN")
        return outputs

    verdict, finding = search(built(canonical=whole), lambda x: [x * np.float32("nan"), *right(x)[1:]])
    assert verdict is Verdict.FAIL
    assert "takes PyTorch's outputs, and not the backend's: ValueError: a NaN" in finding.failure


@pytest.mark.parametrize(
    ("said", "found"),
    [
        pytest.param("output_boxes", ["output_boxes"], id="a-whole-name"),
        pytest.param(("scores",), ["output_scores"], id="its-end"),
        pytest.param(("1_boxes", "boxes"), ["output_1_boxes", "output_boxes"], id="the-whole-comes-first"),
        pytest.param((3, 1), ["output_0", "output_scores"], id="places"),
    ],
)
def test_outputs_are_named_as_users_know_them(said: Any, found: list[str]) -> None:
    inputs = [Input("x", shape=(1,))]
    model = Model(torch.nn.Identity, inputs, unordered=[said])
    assert list(model.row_sets(OUTPUTS)[0].outputs) == found


@pytest.mark.parametrize(
    ("said", "message"),
    [
        pytest.param([("labels",)], "unordered names no output", id="none"),
        pytest.param([(9,)], "unordered names no output", id="a-place-that-is-none"),
        pytest.param([("a",)], "unordered names several outputs", id="several"),
        pytest.param([("boxes",), (0,)], "an output is named twice", id="twice"),
    ],
)
def test_a_name_that_is_nobodys_or_several_says_what_there_is(said: Any, message: str) -> None:
    outputs = (*OUTPUTS, "output_1_a", "output_2_a")
    with pytest.raises(ModelError, match=message) as caught:
        row_sets(Model(torch.nn.Identity, [Input("x", shape=(1,))], unordered=said).unordered, outputs)  # type: ignore[arg-type]
    assert message == "an output is named twice" or "output_boxes, output_scores" in caught.value.wanted


def test_a_name_that_no_output_has_is_an_error_when_the_model_is_built() -> None:
    with pytest.raises(ModelError, match="unordered names no output"):
        built(unordered=[("classes",)])


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("boxes", id="a-name-alone"),
        pytest.param([()], id="an-empty-group"),
        pytest.param([(1.5,)], id="a-number"),
        pytest.param(3, id="no-list"),
        pytest.param([(True,)], id="a-truth"),
    ],
)
def test_what_is_no_list_of_groups_is_refused(said: Any) -> None:
    with pytest.raises(ModelError, match="unordered is not usable"):
        Model(torch.nn.Identity, [Input("x", shape=(1,))], unordered=said)


def test_an_axis_is_a_whole_number() -> None:
    with pytest.raises(ModelError, match="no usable axis"):
        Unordered(("boxes",), axis=-1)


def test_a_canonical_form_is_a_function() -> None:
    with pytest.raises(ModelError, match="canonical cannot be called"):
        Model(torch.nn.Identity, [Input("x", shape=(1,))], canonical=3)  # type: ignore[arg-type]


def test_a_matching_finds_partners_for_all_where_there_are_any() -> None:
    """The first row's nearest partner is the only one of the last."""
    for _ in range(200):
        order = RANDOM.permutation(9)
        allowed = RANDOM.random((9, 9)) < 0.15
        allowed[np.arange(9), order] = True
        partners = matching(allowed)
        assert sorted(partners) == list(range(9))
        assert allowed[np.arange(9), partners].all()


def test_a_matching_has_as_many_pairs_as_can_be() -> None:
    allowed = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0]], bool)
    assert np.count_nonzero(matching(allowed) >= 0) == 2
    assert (matching(np.zeros((2, 2), bool)) == -1).all()


def test_the_worst_pair_is_as_near_as_can_be() -> None:
    for _ in range(50):
        distances = RANDOM.random((5, 5))
        partners = bottleneck(distances)
        assert partners is not None
        every = (distances[np.arange(5), list(order)].max() for order in permutations(range(5)))
        assert distances[np.arange(5), partners].max() == min(every)
    assert bottleneck(np.array([[1.0, np.inf], [1.0, np.inf]])) is None


@pytest.mark.parametrize("axis", [0, 1])
def test_a_replay_puts_rows_beside_the_references_too(axis: int) -> None:
    boxes = RANDOM.random((5, 5, 2)).astype(np.float32)
    labels = RANDOM.integers(0, 99, (5, 5))
    reference = {"boxes": boxes, "labels": labels}
    case = {
        "outputs": [{"name": "boxes", "scale": 1e-7}, {"name": "labels", "scale": 0.0}],
        "sets": [{"outputs": ["boxes", "labels"], "axis": axis}],
    }
    order = RANDOM.permutation(5)
    found = arranged(case, [one.take(order, axis) for one in (boxes, labels)], reference)
    assert all((one == other).all() for one, other in zip(found, (boxes, labels), strict=True))
    apart = arranged(case, [boxes.take(order, axis), labels], reference)
    assert (apart[1] != labels).any() or (apart[0] != boxes).any()


def placed(answer: Array, rows: Array, limit: float = 30.0) -> list[Any]:
    """The answer's rows of one output as they are put beside the reference's."""
    one = Expected("rows", rows, rows.astype(np.float64))
    found: list[Any] = in_order([one], [answer], [RowSet(("rows",), 0)], limit)[0].tolist()
    return found


def test_rows_in_place_are_not_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = RANDOM.random((3000, 4)).astype(np.float32)
    sizes: list[int] = []

    def counted(distances: Array) -> Array | None:
        sizes.append(len(distances))
        return bottleneck(distances)

    monkeypatch.setattr(sets, "bottleneck", counted)
    near = rows + np.float32(1e-6)
    assert placed(near, rows) == near.tolist()
    assert placed(rows[[1, 0, *range(2, 3000)]], rows) == rows.tolist()
    assert sizes == [2]


def test_a_row_in_place_gives_way_where_another_has_no_other_partner() -> None:
    ulp = 2.0**-23
    rows = np.array([[1.5], [1.5 + 24 * ulp], [1]], np.float32)
    # The first is in place, and the second is near that place alone; both are right the other way round.
    answer = np.array([[1.5], [1.5 - 20 * ulp], [1]], np.float32)
    assert placed(answer, rows) == answer[[1, 0, 2]].tolist()
