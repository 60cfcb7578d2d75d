"""Sums in any order, and functions of a bounded range: what a right program is off by is no mismatch, and more is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional

from harness import Closeness, Input, Model, Output
from harness.errors import ModelError
from harness.model.build import BuiltModel, build_model
from harness.model.inputs import Arrays
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.parity.localize.allowance import OPERATORS, allowance
from harness.parity.rounding.bounds import Perturbed, Watching
from harness.parity.rounding.operator_call import EACH, Errors
from harness.parity.rounding.operator_errors import CHANGES
from harness.parity.rounding.summation import UNIT, rounding
from harness.parity.rule.comparison import compare
from harness.parity.rule.reference import Reference
from tests.corpus import Apply

COUNT = 4096
RANDOM = np.random.default_rng(0)
SPREAD = RANDOM.uniform(0, 1, (2, COUNT))
SIGNED = RANDOM.uniform(-1, 1, (2, COUNT))
FLAT = np.full((2, COUNT), 0.1357)


def bound(terms: Array) -> Array:
    """√n · 2⁻²⁴ · Σ|x|."""
    found: Array = np.sqrt(terms.shape[-1]) * UNIT * np.abs(terms).sum(-1)
    return found


@pytest.mark.parametrize(
    ("terms", "part"),
    [
        pytest.param(SPREAD, 1 / 8, id="spread-numbers"),
        pytest.param(SIGNED, 1 / 8, id="numbers-that-cancel"),
        pytest.param(FLAT, 1.0, id="equal-numbers"),
        pytest.param(FLAT + 1e-6 * SPREAD, 1.0, id="nearly-equal-numbers"),
        pytest.param(np.full((2, COUNT), 0.5), 1 / 8, id="equal-numbers-that-add-exactly"),
    ],
)
def test_only_numbers_whose_roundings_err_one_way_have_the_whole_bound(terms: Array, part: float) -> None:
    np.testing.assert_allclose(rounding(terms), part * bound(terms), rtol=1e-6)


def test_a_short_sum_has_a_unit_in_its_last_place() -> None:
    np.testing.assert_allclose(rounding(SPREAD[:, :9]), UNIT * SPREAD[:, :9].sum(-1), rtol=1e-6)


def test_running_sums_have_a_bound_each() -> None:
    found = rounding(FLAT, running=True)
    assert found.shape == FLAT.shape
    assert (np.diff(found, axis=-1) >= 0).all()
    np.testing.assert_allclose(found[:, -1], rounding(FLAT), rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (2, 3, 4)])
def test_any_shape_has_its_bounds(shape: tuple[int, ...]) -> None:
    assert rounding(np.ones(shape)).shape == shape[:-1]
    assert rounding(np.ones(shape), running=True).shape == shape


def test_nan_and_infinity_count_for_nothing() -> None:
    assert rounding(np.array([1.0, np.nan, np.inf, 1e300])) == UNIT * 1.0


def moved(function: Callable[[Tensor], Tensor], x: Array, pattern: str = EACH) -> Array:
    """What an operator's own error moves its result by."""
    given = torch.from_numpy(x.copy())
    before = function(given.clone())
    with torch.no_grad(), Perturbed(Errors(1.0, pattern, 0)):
        after = function(given)
    found: Array = (after - before).abs().numpy()
    return found


N = SPREAD.shape[-1]
POSITIVE = SPREAD[:, :64] + 0.5


@pytest.mark.parametrize(
    ("function", "size"),
    [
        pytest.param(lambda x: x.sum(-1), rounding(SPREAD), id="sum"),
        pytest.param(lambda x: x.sum(), rounding(SPREAD.reshape(-1)), id="sum-of-all"),
        pytest.param(lambda x: x.mean(-1, keepdim=True), rounding(SPREAD)[:, None] / N, id="mean"),
        pytest.param(lambda x: x.cumsum(-1), rounding(SPREAD, running=True), id="cumsum"),
        pytest.param(lambda x: x.cumsum_(-1), rounding(SPREAD, running=True), id="cumsum-in-place"),
        pytest.param(lambda x: x.t().cumsum(0).t(), rounding(SPREAD, running=True), id="cumsum-of-another-axis"),
        pytest.param(lambda x: x.norm(1, -1), rounding(SPREAD), id="length-1"),
        pytest.param(lambda x: x.sigmoid(), np.full_like(SPREAD, 2.0**-23), id="sigmoid"),
        pytest.param(lambda x: x.sigmoid_(), np.full_like(SPREAD, 2.0**-23), id="sigmoid-in-place"),
        pytest.param(lambda x: x.neg().expm1(), np.full_like(SPREAD, 2.0**-23), id="expm1"),
        pytest.param(lambda x: functional.elu(-x, 0.5), np.full_like(SPREAD, 2.0**-24), id="elu"),
        pytest.param(functional.elu, np.zeros_like(SPREAD), id="elu-of-positive-numbers"),
        pytest.param(lambda x: functional.silu(x - 9), 2.0**-23 * (9 - SPREAD), id="silu"),
        pytest.param(
            lambda x: functional.hardtanh(x - 0.5, -4.0, 4.0), np.full_like(SPREAD, 2.0**-21), id="hardtanh-of-4"
        ),
        pytest.param(lambda x: x.norm(3, -1), rounding(SPREAD**3) / 3 / (SPREAD**3).sum(-1) ** (2 / 3), id="length-3"),
        pytest.param(lambda x: torch.dist(x, -x, 1), rounding(2 * SPREAD.reshape(-1)), id="distance"),
        pytest.param(lambda x: functional.mse_loss(x, -x), rounding(4 * SPREAD.reshape(-1) ** 2) / 2 / N, id="mse"),
        pytest.param(
            lambda x: functional.huber_loss(x, x + 3, reduction="sum"), rounding(np.full(2 * N, 2.5)), id="huber-sum"
        ),
        pytest.param(
            lambda x: functional.mse_loss(x, -x, reduction="none"), np.zeros_like(SPREAD), id="mse-of-each-element"
        ),
        pytest.param(lambda x: functional.glu(x, 0), 2.0**-23 * SPREAD[:1], id="glu"),
        pytest.param(lambda x: (x / 2).asin(), np.full_like(SPREAD, 2.0**-23 * np.pi / 2), id="asin"),
        pytest.param(lambda x: (x / 2).acos(), np.full_like(SPREAD, 2.0**-23 * np.pi), id="acos"),
        pytest.param(lambda x: (x + 1.1).sinc(), np.full_like(SPREAD, 2.0**-23), id="sinc"),
        pytest.param(functional.relu6, np.zeros_like(SPREAD), id="relu6-is-exact"),
        pytest.param(lambda x: x @ x.t(), np.zeros((2, 2)), id="a-product-of-matrices"),
        pytest.param(lambda x: functional.conv1d(x[:, None], x[:1, None, :9]), np.zeros((2, 1, N - 8)), id="conv"),
    ],
)
def test_an_operator_errs_by_so_much(function: Callable[[Tensor], Tensor], size: Array) -> None:
    np.testing.assert_allclose(moved(function, SPREAD), size, rtol=1e-5, atol=1e-15)


def picture(x: Tensor) -> Tensor:
    return x.reshape(2, 1, 64, 64)


def windowed(x: Array, places: Sequence[int], size: int) -> Array:
    """What each window of a picture is off by, from these places on along both axes."""
    rows = x.reshape(2, 64, 64)
    found = [rows[:, i : i + size, j : j + size].reshape(2, -1) for i in places for j in places]
    return np.stack([rounding(each) / size**2 for each in found], -1)


# A picture whose left half is flat, and whose windows are of either kind.
HALF = np.where(np.arange(COUNT) % 64 < 32, 0.1357, SPREAD)


@pytest.mark.parametrize(
    ("pool", "places", "size"),
    [
        pytest.param(lambda x: functional.avg_pool2d(x, 16), range(0, 64, 16), 16, id="pool"),
        pytest.param(lambda x: functional.avg_pool2d(x, 32, 8), range(0, 33, 8), 32, id="overlapping"),
        pytest.param(lambda x: functional.avg_pool3d(x[:, None], (1, 16, 16))[:, 0], range(0, 64, 16), 16, id="3d"),
        pytest.param(lambda x: functional.adaptive_avg_pool2d(x, 3), (0, 21, 42), 22, id="adaptive"),
        pytest.param(
            lambda x: torch.ops.aten.avg_pool2d.out(x, [16], out=torch.empty(2, 1, 4, 4, dtype=x.dtype)),
            range(0, 64, 16),
            16,
            id="to-a-tensor-of-the-users",
        ),
    ],
)
def test_a_window_is_a_sum_of_its_own(pool: Callable[[Tensor], Tensor], places: Sequence[int], size: int) -> None:
    found = moved(lambda x: pool(picture(x)).reshape(2, -1), HALF)
    np.testing.assert_allclose(found, windowed(HALF, places, size), rtol=1e-5)
    assert found.max() > 2 * found.min()


def test_what_is_padded_is_no_number_of_a_window() -> None:
    found = moved(lambda x: functional.avg_pool2d(picture(x), 32, 32, padding=16, ceil_mode=True), FLAT)
    corner = rounding(np.full((1, 256), 0.1357)) / 256 / 4
    assert found.shape == (2, 1, 3, 3)
    assert corner <= found[0, 0, 0, 0] < 3 * corner


INDEX = torch.zeros(2, COUNT, dtype=torch.int64)


@pytest.mark.parametrize(
    ("function", "size"),
    [
        pytest.param(lambda x: x.new_zeros(2, 1).scatter_add(1, INDEX, x), 1.0, id="scatter-add"),
        pytest.param(lambda x: x.new_zeros(2, 1).scatter_reduce(1, INDEX, x, "sum"), 1.0, id="scatter-reduce"),
        pytest.param(lambda x: x.new_zeros(2, 1).scatter_reduce_(1, INDEX, x, "mean"), 1 / COUNT, id="its-mean"),
        pytest.param(lambda x: x.new_zeros(2, 1).scatter_reduce(1, INDEX, x, "amax"), 0.0, id="its-maximum"),
        pytest.param(lambda x: x.new_zeros(2, 1).index_add(1, INDEX[0], x, alpha=-2), 2.0, id="index-add"),
        pytest.param(
            lambda x: x.new_zeros(1, 2).index_put((INDEX[0],), x.t(), accumulate=True).t(), 1.0, id="index-put"
        ),
        pytest.param(lambda x: x.new_zeros(1, 2).index_put((INDEX[0],), x.t()).t(), 0.0, id="index-put-of-the-last"),
    ],
)
@pytest.mark.parametrize("terms", [pytest.param(SPREAD, id="spread"), pytest.param(FLAT, id="flat")])
def test_what_is_sent_to_one_place_is_a_sum(function: Callable[[Tensor], Tensor], size: float, terms: Array) -> None:
    np.testing.assert_allclose(moved(function, terms)[:, 0], size * rounding(terms), rtol=1e-3)


NORMS = {
    "layer-norm": lambda x: functional.layer_norm(x, (N,)),
    "group-norm": lambda x: functional.group_norm(x.reshape(2, 4, -1), 1).reshape(2, -1),
    "instance-norm": lambda x: functional.instance_norm(x[:, None])[:, 0],
    "batch-norm": lambda x: functional.batch_norm(x.reshape(1, 2, -1), None, None, training=True).reshape(2, -1),
    "by-hand": lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt(),
}


@pytest.mark.parametrize("norm", [pytest.param(norm, id=name) for name, norm in NORMS.items()])
def test_a_norms_mean_is_moved(norm: Callable[[Tensor], Tensor]) -> None:
    """Of a flat picture what the mean is off by is divided by the root of epsilon."""
    mean = bound(FLAT)[0] / N
    np.testing.assert_allclose(moved(norm, FLAT).max(), mean / np.sqrt(mean**2 + 1e-5), rtol=1e-2)
    assert 1e-8 < moved(norm, SPREAD).max() < 2e-6


def test_a_norm_by_running_statistics_is_no_sum() -> None:
    ones = torch.ones(N, dtype=torch.float64)
    assert moved(lambda x: functional.batch_norm(x, ones, ones), FLAT).max() == 0


@pytest.mark.parametrize("function", [torch.softmax, functional.softmin])
def test_shares_stay_shares(function: Callable[..., Tensor]) -> None:
    assert 2.0**-24 < moved(lambda x: function(x, -1), SPREAD).max() < 2.0**-22
    assert moved(lambda x: function(x, -1), SPREAD, "alike").max() < 1e-9


def built(answer: Callable[..., Any], low: float = 0.0, high: float = 1.0, **more: Any) -> BuiltModel:
    item = Input("x", shape=("b", COUNT), min_value=low, max_value=high, dtype=more.pop("dtype", "float32"))
    module = answer if isinstance(answer, nn.Module) else Apply(answer)
    model = Model(build=module.eval, inputs=[item], dims={"b": (1, 2)}, name="net", **more)
    return build_model(ModelFile(Path("net.py"), model, ()))


def ratios(model: BuiltModel, x: Array, answers: Callable[[Array], Array]) -> tuple[float, float]:
    """By the plain rule and by the wider one."""
    reference, arrays = Reference(model), {"x": x.astype(model.model.inputs[0].dtype)}
    right = reference(arrays)[0]
    answer = answers(right.exact).astype(right.eager.dtype)
    names = model.outputs
    return (
        compare(reference(arrays), names, [answer]).ratio,
        compare(reference.widened(arrays), names, [answer]).ratio,
    )


@pytest.mark.parametrize(
    ("answer", "x", "error"),
    [
        pytest.param(lambda x: x.mean(-1), FLAT, 2e-6, id="the-mean-of-equal-numbers"),
        pytest.param(lambda x: (x * 2 - 1).sum(-1), SPREAD, 2e-3, id="a-sum-that-cancels"),
        pytest.param(lambda x: torch.sigmoid(x * 0 - 6.1), SPREAD, 1e-7, id="a-sigmoids-tail"),
        pytest.param(lambda x: functional.elu(x * -0.01), SPREAD, 1e-7, id="an-elu-near-0"),
        pytest.param(lambda x: functional.elu(x * -0.01) * 3 + 0.01, SPREAD, 3e-7, id="an-elu-in-a-network"),
        pytest.param(lambda x: torch.expm1(x * -1e-3), SPREAD, 1e-7, id="expm1-near-0"),
        pytest.param(torch.jit.script(nn.Sequential(nn.ELU(), nn.AdaptiveAvgPool1d(1))), FLAT, 2e-6, id="scripted"),
    ],
)
def test_what_another_order_or_the_range_explains_is_no_mismatch(answer: Any, x: Array, error: float) -> None:
    plain, widened = ratios(built(answer, -1.0), x, lambda exact: exact + error)
    assert plain > 30 > 10 > widened
    assert ratios(built(answer, -1.0), x, lambda exact: exact + 1000 * error)[1] > 30


@pytest.mark.parametrize(
    ("answer", "x", "factor"),
    [
        pytest.param(lambda x: x.mean(-1), SPREAD, 1 + 1 / COUNT, id="a-mean-by-one-less"),
        pytest.param(
            lambda x: functional.avg_pool2d(x.reshape(-1, 1, 64, 64), 64),
            SPREAD,
            1 + 1 / COUNT,
            id="a-pool-by-one-less",
        ),
        pytest.param(lambda x: x.var(-1, correction=0), SPREAD, 1 + 1 / COUNT, id="an-unbiased-variance"),
        pytest.param(lambda x: x.double().mean(-1).float(), FLAT, 1 + 1e-4 / 3, id="a-sum-in-float64"),
        pytest.param(lambda x: (x.mean(-1) > 0.13569).float(), FLAT, 0.5, id="a-jump-within-30-errors"),
        pytest.param(lambda x: (x.mean(-1) > 0.1356999).float(), FLAT, 0.5, id="a-jump-within-one"),
        pytest.param(lambda x: x @ torch.ones(COUNT, 1), SPREAD, 1 + 1e-5, id="a-product-that-only-adds"),
    ],
)
def test_what_they_do_not_explain_is_one(answer: Any, x: Array, factor: float) -> None:
    assert ratios(built(answer), x, lambda exact: exact * factor)[1] > 30


def test_a_model_in_float64_adds_in_float64() -> None:
    module = Apply(lambda x: x.mean(-1))
    assert ratios(built(module, dtype="float64"), FLAT, lambda exact: exact * (1 + 3e-5))[1] > 30
    assert ratios(built(module), FLAT, lambda exact: exact * (1 + 3e-5))[1] < 30


def converging(x: Tensor) -> Tensor:
    """Half of the way to the sigmoid in each round, until nothing moves."""
    before, after = x + 1, x
    while bool((after - before).abs().max() > 2e-8):
        before, after = after, (after + x.sigmoid()) / 2
    return after


def test_a_loop_that_does_not_converge_with_errors_is_left() -> None:
    plain = Watching()
    with plain:
        converging(torch.from_numpy(SPREAD).float())
    with pytest.raises(RuntimeError, match="does not come to an end"), Perturbed(Errors(1.0, EACH, 0), plain):
        converging(torch.from_numpy(SPREAD))
    assert Reference(built(converging)).widened({"x": SPREAD.astype(np.float32)})[0].perturbation < 1e-6


def test_a_sum_in_float64_takes_nothing_from_another() -> None:
    both = built(lambda x: (x.mean(-1), x.double().mean(-1).float()))
    narrow, wide = Reference(both).widened({"x": FLAT.astype(np.float32)})
    assert narrow.perturbation > 4e-7 > 1e-7 > wide.perturbation


WHOLE = np.full((1, COUNT), 77.0)


@pytest.mark.parametrize(
    ("answer", "size"),
    [
        pytest.param(lambda x: x.mean(-1, dtype=torch.float32), rounding(WHOLE) / COUNT, id="mean"),
        pytest.param(lambda x: x.sum(-1, dtype=torch.float32), rounding(WHOLE), id="sum"),
        pytest.param(lambda x: x.cumsum(-1, dtype=torch.float32), rounding(WHOLE), id="running"),
        pytest.param(lambda x: (x > 3).sum(-1, dtype=torch.float32), rounding(WHOLE / 77), id="truths"),
        pytest.param(lambda x: x.mean(-1, dtype=torch.float64).float(), 2.0**-17, id="in-float64"),
    ],
)
def test_integers_that_are_added_as_floats_are_floats(answer: Callable[[Tensor], Tensor], size: Array) -> None:
    one = Reference(built(answer, 0, 255, dtype="uint8")).widened({"x": WHOLE.astype(np.uint8)})[0]
    assert one.perturbation == pytest.approx(float(np.max(size)), rel=1e-2)


def test_a_closeness_is_not_widened() -> None:
    """log1p's tail: computed as log(1 + x) it is 0 where x is below 2⁻²⁴."""
    model = built(torch.log1p, high=1e-8, tolerance=Closeness(rtol=1e-4))
    assert ratios(model, SPREAD * 1e-8, lambda exact: exact * 0)[1] > 1


def test_samples_raise_the_usual_size() -> None:
    model = built(lambda x: x * 1.0, high=1e-3)
    arrays: Arrays = {"x": np.full((1, COUNT), 1e-4, np.float32)}
    samples: Sequence[Arrays] = [{"x": np.ones((1, COUNT), np.float32)}]
    assert Reference(model).widened(arrays)[0].perturbation < 1e-9
    assert Reference(model, lambda: samples).widened(arrays)[0].perturbation == 2.0**-23


@pytest.mark.parametrize("name", ["output_speech", "speech"])
def test_a_declared_scale_counts(name: str) -> None:
    model = built(lambda x: {"speech": x * 1e-3, "x": x * 1e-3}, outputs=[Output(name, max_value=1.0)])
    speech, other = Reference(model).widened({"x": SPREAD.astype(np.float32)})
    assert speech.perturbation == 2.0**-23
    assert other.perturbation < 1e-9


@pytest.mark.parametrize(("low", "high"), [pytest.param(-1.0, 1.0, id="ones"), pytest.param(0.0, 1e-3, id="small")])
def test_a_declared_scale_that_hides_any_answer_is_refused(low: float, high: float) -> None:
    model = built(lambda x: x * 2, low, high, outputs=[Output("output", max_value=1e30)])
    with pytest.raises(ModelError, match="max_value says nothing about the output: output") as caught:
        Reference(model).widened({"x": high * SPREAD.astype(np.float32)})
    assert f"max_value of about {2 * high:.3g}" in str(caught.value)


def test_a_declared_scale_counts_where_no_usual_input_has_a_reference() -> None:
    """In float64 an element less is kept of all that is large."""
    model = built(
        lambda x: x[:, : COUNT - int(x.dtype == torch.float64 and bool(x.max() > 0.5e-3))],
        high=1e-3,
        outputs=[Output("output", max_value=1.0)],
    )
    assert Reference(model).widened({"x": 1e-4 * SPREAD.astype(np.float32)})[0].perturbation == 2.0**-23


def test_an_unknown_output_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ModelError) as caught:
        built(lambda x: {"speech": x, "state": x}, outputs=[Output("noise", max_value=1.0)])
    assert "outputs names no output" in str(caught.value)
    assert "output_speech, output_state" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: Output("", 1.0), "name is not usable", id="no-name"),
        pytest.param(lambda: Output("x", 0.0), "max_value is not usable", id="zero"),
        pytest.param(lambda: Output("x", float("inf")), "max_value is not usable", id="infinity"),
        pytest.param(
            lambda: built(lambda x: x, outputs=[Output("output", 1.0)], canonical=lambda x: x),
            "cannot be told beside canonical",
            id="beside-canonical",
        ),
        pytest.param(lambda: built(lambda x: x, outputs=["output"]), "outputs is not usable", id="a-text"),
        pytest.param(lambda: built(lambda x: x, outputs=[Output("output", 1.0)] * 2), "two outputs", id="twice"),
    ],
)
def test_an_output_that_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make()


PICTURE = np.full((1, 3, 64, 64), 0.1357)
VECTOR = np.full(3, 1.0)


@pytest.mark.parametrize(
    ("node", "inputs", "least"),
    [
        pytest.param(helper.make_node("ReduceMean", ["x", "a"], ["y"]), [FLAT, np.array([-1])], 30 * 5e-7, id="mean"),
        pytest.param(helper.make_node("ReduceSum", ["x"], ["y"], axes=[1]), [FLAT], 30 * 2e-3, id="sum-by-attribute"),
        pytest.param(helper.make_node("GlobalAveragePool", ["x"], ["y"]), [PICTURE], 30 * 5e-7, id="global-pool"),
        pytest.param(
            helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[64, 64]), [PICTURE], 30 * 5e-7, id="pool"
        ),
        pytest.param(helper.make_node("CumSum", ["x", "a"], ["y"]), [FLAT, np.array(1)], 30 * 2e-3, id="running"),
        pytest.param(
            helper.make_node("InstanceNormalization", ["x", "s", "b"], ["y"]),
            [PICTURE, VECTOR, VECTOR],
            4e-3,
            id="norm",
        ),
        pytest.param(helper.make_node("Sigmoid", ["x"], ["y"]), [-10 * FLAT], 30 * 2.0**-24, id="sigmoid"),
        pytest.param(helper.make_node("Elu", ["x"], ["y"], alpha=0.5), [-FLAT], 30 * 2.0**-25, id="elu"),
    ],
)
def test_a_node_may_be_off_by_what_its_operator_may(node: onnx.NodeProto, inputs: list[Array], least: float) -> None:
    assert least < allowance(node, inputs) < 4 * least


@pytest.mark.parametrize("operator", ["MatMul", "Conv", "Relu"])
def test_other_nodes_may_not(operator: str) -> None:
    assert allowance(helper.make_node(operator, ["x", "w"], ["y"]), [FLAT, FLAT]) == 0


def test_no_product_is_among_the_sums() -> None:
    assert {"mm", "bmm", "addmm", "matmul", "linear", "convolution"}.isdisjoint(CHANGES)
    assert {"MatMul", "Gemm", "Conv", "Einsum"}.isdisjoint(OPERATORS)
