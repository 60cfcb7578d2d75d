"""The float64 run of a model that was written for float32, and the reference made of it."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from harness import Input, Model
from harness.errors import ModelError
from harness.model.build import BuiltModel, build_model
from harness.model.inputs import Arrays
from harness.model.model import Array
from harness.model.model_file import ModelFile
from harness.parity.rule import reference as reference_module
from harness.parity.rule.float64 import Promoted, run_in_float64
from harness.parity.rule.no_reference import NoReference
from harness.parity.rule.reference import Reference

Forward = Callable[..., Any]
Exact = Callable[[Array], Any]


class Net(nn.Module):
    """A module of one function, which gets the module and the input."""

    def __init__(self, forward: Forward, **attributes: Any) -> None:
        super().__init__()
        self.answer = forward
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.answer(self, *inputs)


def wide(net: nn.Module, *arrays: Array) -> Any:
    return run_in_float64(net.eval().double(), [torch.from_numpy(array) for array in arrays])


RANDOM = np.random.default_rng(7)
X = RANDOM.random((4, 6)).astype(np.float32)
X64 = X.astype(np.float64)
CONSTANT = torch.tensor(RANDOM.random((6, 3)), dtype=torch.float32)
CONSTANT64 = CONSTANT.double().numpy()


def into_scratch(net: Any, x: torch.Tensor) -> torch.Tensor:
    net.scratch[:4] = x / 3
    net.scratch.mul_(2)
    answer: torch.Tensor = net.scratch
    return answer


def widened(net: Any, x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.matmul(x, net.c)


@torch.jit.script
def scripted(x: torch.Tensor) -> torch.Tensor:
    return (x / 3).to(torch.float32) + torch.zeros(6, dtype=torch.float32)


@pytest.mark.parametrize(
    ("forward", "exact"),
    [
        pytest.param(lambda net, x: x / 3 + torch.zeros(6, dtype=torch.float32), X64 / 3, id="zeros-of-float32"),
        pytest.param(lambda net, x: x * torch.tensor([1 / 3] * 6), X64 / 3, id="tensor-of-python-numbers"),
        pytest.param(lambda net, x: (x / 3).float(), X64 / 3, id="float"),
        pytest.param(lambda net, x: (x / 3).to(torch.float32), X64 / 3, id="to-float32"),
        pytest.param(lambda net, x: (x / 3).half() * 2, X64 / 3 * 2, id="half"),
        pytest.param(lambda net, x: (x / 3).type(torch.FloatTensor), X64 / 3, id="type"),
        pytest.param(lambda net, x: x * torch.arange(6, dtype=torch.float32) / 7, X64 * np.arange(6) / 7, id="arange"),
        pytest.param(lambda net, x: x * (torch.arange(6) / 7), X64 * np.arange(6) / 7, id="division-of-integers"),
        pytest.param(lambda net, x: x * torch.linspace(0, 1, 6), X64 * np.linspace(0, 1, 6), id="linspace"),
        pytest.param(lambda net, x: x * (x / 3)[0, 0].item(), X64 * (X64[0, 0] / 3), id="item"),
        pytest.param(lambda net, x: torch.sin(x).sum(-1), np.sin(X64).sum(-1), id="sum"),
        pytest.param(lambda net, x: torch.log_softmax(x, -1).exp().sum(), 4.0, id="0-d"),
        pytest.param(lambda net, x: x @ net.c, X64 @ CONSTANT64, id="constant-as-a-plain-attribute"),
        pytest.param(widened, X64 @ CONSTANT64, id="autocast"),
        pytest.param(lambda net, x: scripted(x), X64 / 3, id="scripted-function"),
        pytest.param(
            into_scratch, np.vstack([X64 / 3 * 2, np.zeros((1, 6))]), id="constant-that-is-written-to-and-returned"
        ),
        pytest.param(
            lambda net, x: torch.fft.fft(x).to(torch.complex64).abs(), np.abs(np.fft.fft(X64)), id="complex-numbers"
        ),
        pytest.param(
            lambda net, x: functional.layer_norm(x, (6,)),
            (X64 - X64.mean(-1, keepdims=True)) / np.sqrt(X64.var(-1, keepdims=True) + 1e-5),
            id="layer-norm",
        ),
        pytest.param(lambda net, x: torch.topk(x / 3, 2)[0], np.sort(X64 / 3)[:, :-3:-1], id="topk"),
        pytest.param(
            lambda net, x: functional.interpolate(x[None] / 3, 12), np.repeat(X64 / 3, 2, -1), id="interpolate"
        ),
    ],
)
def test_the_answer_has_the_accuracy_of_float64(forward: Forward, exact: Any) -> None:
    answer = wide(Net(forward, c=CONSTANT.clone(), scratch=torch.zeros(5, 6)), X)
    assert answer.dtype == torch.float64
    np.testing.assert_allclose(answer.numpy().reshape(np.shape(exact)), exact, rtol=1e-14, atol=1e-15)


def sequence(layer: nn.Module) -> nn.Module:
    return Net(lambda net, x: net.layer(x)[0], layer=layer)


def attention(net: Any, x: torch.Tensor) -> torch.Tensor:
    heads = x.reshape(2, 5, 2, 4).transpose(1, 2)
    return functional.scaled_dot_product_attention(heads, heads, heads)


TOKENS = RANDOM.standard_normal((2, 5, 8)).astype(np.float32)
IMAGE = RANDOM.standard_normal((2, 3, 9, 9)).astype(np.float32)


@pytest.mark.parametrize(
    ("make", "array"),
    [
        pytest.param(lambda: nn.Linear(8, 3), TOKENS, id="linear"),
        pytest.param(lambda: sequence(nn.LSTM(8, 4, 2, bidirectional=True)), TOKENS, id="lstm"),
        pytest.param(lambda: sequence(nn.GRU(8, 4, batch_first=True)), TOKENS, id="gru"),
        pytest.param(
            lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
            TOKENS,
            id="transformer-encoder",
        ),
        pytest.param(lambda: Net(attention), TOKENS, id="attention"),
        pytest.param(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2)), IMAGE, id="conv"),
        pytest.param(lambda: nn.ConvTranspose2d(3, 4, 3, stride=2), IMAGE, id="transposed-conv"),
        pytest.param(lambda: nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE, id="bilinear"),
        pytest.param(lambda: nn.Sequential(nn.GroupNorm(3, 3), nn.GELU(), nn.AvgPool2d(2)), IMAGE, id="group-norm"),
        pytest.param(lambda: nn.Embedding(10, 4), np.arange(6), id="embedding"),
        pytest.param(lambda: nn.EmbeddingBag(10, 4), np.arange(6).reshape(2, 3), id="embedding-bag"),
    ],
)
def test_layers_give_what_they_give_where_all_is_float64(make: Callable[[], nn.Module], array: Array) -> None:
    torch.manual_seed(3)
    net = make().eval().double()
    with torch.no_grad():
        honest = net(torch.from_numpy(array).double() if array.dtype == np.float32 else torch.from_numpy(array))
    np.testing.assert_allclose(wide(net, array).numpy(), honest.numpy(), rtol=1e-12, atol=1e-14)


def fails(net: Any, x: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("no")


@pytest.mark.parametrize("forward", [pytest.param(lambda net, x: x, id="works"), pytest.param(fails, id="fails")])
def test_torchs_default_type_is_as_before(forward: Forward) -> None:
    with contextlib.suppress(RuntimeError):
        wide(Net(forward), X)
    assert torch.get_default_dtype() is torch.float32


def built(forward: Forward, inputs: Sequence[Input] = (Input("x", shape=("b", 6)),), **attributes: Any) -> BuiltModel:
    dims = {"b": (0, 8)} if any("b" in item.shape for item in inputs) else {}
    model = Model(build=lambda: Net(forward, **attributes).eval(), inputs=inputs, dims=dims, name="net")
    return build_model(ModelFile(Path("net.py"), model, ()))


def inputs(value: float = 1.0, count: int = 2) -> Arrays:
    return {"x": np.full((count, 6), value, dtype=np.float32)}


def test_the_reference_is_eager_with_the_float64_run_beside_it() -> None:
    (found,) = Reference(built(lambda net, x: {"third": x / 3}))(inputs())
    assert (found.name, found.eager.dtype.name, found.exact.dtype.name) == ("output_third", "float32", "float64")
    assert found.eager[0, 0] == np.float32(1 / 3)
    assert found.exact[0, 0] == 1 / 3


@pytest.mark.parametrize(
    "count", [pytest.param(0, id="empty"), pytest.param(1, id="one"), pytest.param(8, id="largest")]
)
def test_every_size_has_a_reference(count: int) -> None:
    (found,) = Reference(built(lambda net, x: x * 2))(inputs(count=count))
    assert found.exact.shape == (count, 6)


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        pytest.param(lambda net, x: x.view(torch.int32) >> 1, "reads the bits", id="bits-as-integers"),
        pytest.param(lambda net, x: (x.view(torch.int32) & 255).view(torch.float32), "reads the bits", id="and-back"),
        pytest.param(lambda net, x: torch.from_numpy(x.numpy() * 2), "numpy array", id="numpy"),
        pytest.param(lambda net, x: torch.from_numpy(np.asarray(x) * 2), "numpy array", id="asarray"),
        pytest.param(
            lambda net, x: x if x.dtype == torch.float32 else fails(net, x), "RuntimeError: no", id="refuses-float64"
        ),
        pytest.param(
            lambda net, x: x[: x.element_size()], "output: float[4, 6]; float64 gives output: float[8, 6]", id="shape"
        ),
        pytest.param(
            lambda net, x: x if x.dtype == torch.float32 else x.int(), "float64 gives output: int[8, 6]", id="kind"
        ),
        pytest.param(lambda net, x: x if x.dtype == torch.float32 else (x, x), "float64 gives output_0: ", id="names"),
    ],
)
def test_what_has_no_meaning_in_float64_has_no_reference(forward: Forward, said: str) -> None:
    with pytest.raises(NoReference) as caught:
        Reference(built(forward))(inputs(count=8))
    assert said in caught.value.found
    assert torch.get_default_dtype() is torch.float32


def test_inputs_that_the_model_rejects_are_its_own_error() -> None:
    def forward(net: Any, x: torch.Tensor) -> torch.Tensor:
        return x if len(x) < 5 else fails(net, x)

    with pytest.raises(ModelError, match="rejects inputs that its file declares"):
        Reference(built(forward))(inputs(count=5))


def test_an_input_is_run_once() -> None:
    runs = []

    def forward(net: Any, x: torch.Tensor) -> torch.Tensor:
        runs.append(x.dtype)
        return x

    reference = Reference(built(forward))
    assert reference.impurity is None  # looked for once, by running other inputs
    runs.clear()
    assert reference(inputs()) is reference(inputs())
    assert (runs, reference.computed) == ([torch.float32, torch.float64], 1)
    runs.clear()
    reference(inputs(2))
    assert runs == [torch.float32, torch.float64]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"x": np.full((2, 6), np.nextafter(np.float32(1), np.float32(2)))}, id="an-element"),
        pytest.param(inputs(count=3), id="size"),
        pytest.param({"x": np.ones((2, 6), dtype=np.float64)}, id="type"),
    ],
)
def test_another_input_is_run_too(other: Arrays) -> None:
    reference = Reference(built(lambda net, x: x * 2))
    assert reference(inputs()) is not reference(other)


def test_what_is_kept_is_bounded_and_the_oldest_leaves_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_module, "KEPT_BYTES", 3 * 2 * 6 * (4 + 8))
    reference = Reference(built(lambda net, x: x * 2))
    for value in (1, 2, 3, 1, 4):  # 1 is used again before 4 comes: 2 is the oldest then
        reference(inputs(value))
    assert reference.computed == 4
    for value in (1, 3, 4):
        reference(inputs(value))
    assert reference.computed == 4
    reference(inputs(2))
    assert reference.computed == 5


def test_an_answer_larger_than_all_that_is_kept_is_kept_until_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_module, "KEPT_BYTES", 1)
    reference = Reference(built(lambda net, x: x * 2))
    assert reference(inputs()) is reference(inputs())


def test_a_later_run_does_not_change_an_earlier_answer() -> None:
    def forward(net: Any, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = net.scratch
        answer[:] = x.mean(0) / 3
        return answer

    reference = Reference(built(forward, scratch=torch.zeros(6)))
    (first,) = reference(inputs(1))
    reference(inputs(2))
    assert (first.eager[0], first.exact[0]) == (np.float32(1 / 3), 1 / 3)


def built_by(build: Callable[[], nn.Module]) -> BuiltModel:
    return build_model(ModelFile(Path("net.py"), Model(build=build, inputs=[Input("x", shape=(2, 6))], name="net"), ()))


def test_a_constant_that_no_two_builds_share_is_the_same_in_both_runs() -> None:
    (found,) = Reference(built_by(lambda: Net(lambda net, x: x + net.noise, noise=torch.rand(6)).eval()))(inputs())
    assert found.scale < 1e-6


def test_a_module_that_cannot_be_copied_is_built_again() -> None:
    class Uncopied(Net):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("no copy")

    (found,) = Reference(built_by(lambda: Uncopied(lambda net, x: x / 3).eval()))(inputs())
    assert found.exact[0, 0] == 1 / 3


@pytest.mark.parametrize(
    ("forward", "value"),
    [
        pytest.param(lambda net, x: net.weight, 0.5, id="a-parameter"),
        pytest.param(lambda net, x: x.t()[:1].expand(2, -1), 1.0, id="a-view"),
        pytest.param(lambda net, x: torch.complex(x, -x).conj().imag, 1.0, id="negated-view"),
    ],
)
def test_any_tensor_can_be_an_answer(forward: Forward, value: float) -> None:
    (found,) = Reference(built(forward, weight=nn.Parameter(torch.full((2,), 0.5))))(inputs())
    assert (found.eager == value).all()
    assert (found.exact == value).all()
    assert found.exact.flags.c_contiguous


def test_nan_and_infinity_go_through_both_runs() -> None:
    row = np.array([[0, -1, 1, math.inf, math.nan, 2]], dtype=np.float32)
    (found,) = Reference(built(lambda net, x: torch.log(x)))({"x": row})
    for run in (found.eager, found.exact):
        np.testing.assert_allclose(run, [[-math.inf, math.nan, 0, math.inf, math.nan, math.log(2)]], rtol=1e-7)


def test_the_float64_run_does_not_import_torchs_compiler() -> None:
    """torch would import it, for seconds, at the mode's first operator, had it wrapped the mode's method."""
    assert not hasattr(Promoted.__torch_dispatch__, "__wrapped__")


def test_a_forward_that_ends_the_program_is_the_models_error() -> None:
    with pytest.raises(ModelError, match="the model rejects inputs that its file declares") as caught:
        built_by(lambda: Net(lambda net, x: sys.exit(3)).eval())
    assert caught.value.found.splitlines()[0] == "SystemExit: 3"
