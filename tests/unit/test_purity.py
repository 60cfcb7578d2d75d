"""State and random numbers: found where answers show them, named, and not seen where nothing but a cache changes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from harness import Input, Model
from harness.model.build import build_model
from harness.model.inputs import Arrays
from harness.model.model_file import ModelFile
from harness.parity.rule.comparison import differ
from harness.parity.rule.no_reference import NoReference
from harness.parity.rule.purity import first_answer, observe
from harness.parity.rule.reference import Reference

COUNTED = [0]


class Net(nn.Module):
    """A module of one function, which gets the module and the input; tensors among the attributes are buffers."""

    def __init__(self, forward: Callable[[Any, torch.Tensor], Any], **attributes: Any) -> None:
        super().__init__()
        self.answer = forward
        for name, value in attributes.items():
            self.register_buffer(name, value) if isinstance(value, torch.Tensor) else setattr(self, name, value)

    def forward(self, x: torch.Tensor) -> Any:
        return self.answer(self, x)


class Drops(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, 0.01)


class CountsInItsClass(nn.Module):
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        type(self).calls += 1
        return x * self.calls


def sliding(net: Any, x: torch.Tensor) -> Any:
    net.past = torch.cat([net.past, x.reshape(-1)])[-10:]
    return x + net.past.sum()


def average(net: Any, x: torch.Tensor) -> Any:
    net.mean.mul_(0.9).add_(x.mean(), alpha=0.1)
    return x - net.mean


def behind_torch(net: Any, x: torch.Tensor) -> Any:
    net.mean.data[...] = net.mean + x.mean()
    return x + net.mean


def on_some(net: Any, x: torch.Tensor) -> Any:
    if len(x) > 4:
        net.seen.add_(1)
    return x + net.seen


def stale(net: Any, x: torch.Tensor) -> Any:
    net.cache[: len(x)] = x
    return x + net.cache.sum(0)


def appended(net: Any, x: torch.Tensor) -> Any:
    net.history.append(x)
    return x + len(net.history)


def recurrent(net: Any, x: torch.Tensor) -> Any:
    answer, net.hidden = net.rnn(x, net.hidden)
    return answer


def settling(net: Any, x: torch.Tensor) -> Any:
    net.scale = min(net.scale + 1, 3)
    return x * net.scale


def counted_outside(net: Any, x: torch.Tensor) -> Any:
    COUNTED[0] += 1
    return x + COUNTED[0]


def cache(net: Any, x: torch.Tensor) -> Any:
    net.cache[: len(x)] = x * 2
    return torch.relu(net.cache[: len(x)])


def table(net: Any, x: torch.Tensor) -> Any:
    if net.table is None or len(net.table) < len(x):
        net.table = torch.arange(len(x), dtype=torch.float32)[:, None]
    return x + net.table[: len(x)]


def logged(net: Any, x: torch.Tensor) -> Any:
    net.calls += 1
    return x * 2


def drawn_for_nothing(net: Any, x: torch.Tensor) -> Any:
    torch.rand(3)
    return x * 2


def inputs() -> list[Arrays]:
    """Two of one size, a larger one, a smaller one."""
    numbers = np.random.default_rng(7)
    return [{"x": numbers.random((size, 3), dtype=np.float32)} for size in (4, 4, 8, 1)]


class Remembers(nn.Module):
    """In a default argument, of which there is one for all calls."""

    def forward(self, x: torch.Tensor, past: list[torch.Tensor] = []) -> torch.Tensor:  # noqa: B006
        past.append(x.mean())
        return x + past[-2] if len(past) > 1 else x


STATEFUL = [
    pytest.param(Remembers(), "Remembers.forward.past", id="in-a-default-argument"),
    pytest.param(Net(sliding, past=torch.zeros(10)), "past", id="a-sliding-buffer"),
    pytest.param(Net(average, mean=torch.zeros(())), "mean", id="a-running-mean"),
    pytest.param(Net(behind_torch, mean=torch.zeros(())), "mean", id="written-behind-torch"),
    pytest.param(Net(on_some, seen=torch.zeros(())), "seen", id="on-some-inputs-only"),
    pytest.param(Net(stale, cache=torch.zeros(8, 3)), "cache", id="what-a-larger-input-left"),
    pytest.param(Net(appended, history=[]), "history", id="a-list"),
    pytest.param(Net(recurrent, rnn=nn.GRU(3, 3), hidden=None), "hidden", id="a-hidden-state"),
    pytest.param(Net(settling, scale=0), "scale", id="a-number-that-settles"),
    pytest.param(nn.Sequential(nn.ReLU(), Net(average, mean=torch.zeros(()))), "1.mean", id="in-a-module-within"),
    pytest.param(CountsInItsClass(), "CountsInItsClass.calls", id="in-the-class"),
]


@pytest.mark.parametrize(("module", "place"), STATEFUL)
def test_state_is_found_and_named(module: nn.Module, place: str) -> None:
    found = observe(module, inputs())
    assert found is not None
    assert (found.kind, found.places[0]) == ("state", place)
    assert "keeps state from call to call: it changes " + place in found.found
    assert "an input and an output" in found.hint


RANDOM = [
    pytest.param(nn.Sequential(nn.Linear(3, 3), Drops()), ("bernoulli", "1"), id="a-dropout-of-one-in-a-hundred"),
    pytest.param(Net(lambda net, x: x + torch.randn_like(x)), ("randn_like", ""), id="noise"),
    pytest.param(Net(lambda net, x: functional.gumbel_softmax(x)), ("exponential", ""), id="gumbel"),
    pytest.param(Net(lambda net, x: x + torch.rand(3) if len(x) == 8 else x), ("rand", ""), id="in-a-branch"),
    pytest.param(
        Net(lambda net, x: x + torch.rand(3, generator=net.own), own=torch.Generator()), ("rand", ""), id="its-own"
    ),
    pytest.param(Net(lambda net, x: x + np.random.rand()), ("numpy.random", ""), id="numpy"),
    pytest.param(
        Net(lambda net, x: x + float(net.own.random()), own=np.random.default_rng(0)),
        ("from the generator own", ""),
        id="a-generator-of-numpys-own",
    ),
    pytest.param(Net(lambda net, x: x + random.random()), ("random", ""), id="python"),
]


@pytest.mark.parametrize(("module", "operator"), RANDOM)
def test_random_numbers_are_found_and_their_operator_named(module: nn.Module, operator: tuple[str, str]) -> None:
    found = observe(module, inputs())
    assert found is not None
    assert (found.kind, operator in found.operators) == ("random", True)
    assert "forward draws random numbers" in found.found


def test_a_functional_dropout_is_said_to_be_the_likely_cause() -> None:
    found = observe(Drops(), inputs())
    assert found is not None
    assert "F.dropout(x, p, training=self.training)" in found.hint


def test_state_with_random_numbers_beside_it_is_both() -> None:
    module = Net(lambda net, x: average(net, x) + torch.randn_like(x), mean=torch.zeros(()))
    found = observe(module, inputs())
    assert found is not None
    assert (found.kind, found.places, "it draws random numbers, too" in found.found) == ("state", ("mean",), True)


def test_what_changes_outside_the_module_is_said_to() -> None:
    found = observe(Net(counted_outside), inputs())
    assert found is not None
    assert (found.kind, "a global variable" in found.found) == ("unknown", True)


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(nn.Linear(3, 3), id="nothing-kept"),
        pytest.param(Net(cache, cache=torch.zeros(8, 3)), id="a-cache-within-a-call"),
        pytest.param(Net(table, table=None), id="a-table-that-grows"),
        pytest.param(Net(logged, calls=0), id="a-count-that-nobody-reads"),
        pytest.param(Net(drawn_for_nothing), id="numbers-that-nobody-reads"),
    ],
)
def test_what_answers_alike_is_not_blamed(module: nn.Module) -> None:
    assert observe(module, inputs()) is None


def test_the_generators_of_random_numbers_are_left_as_they_were() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    observe(Drops(), inputs())
    assert torch.equal(torch.rand(2), expected)


def test_an_input_that_the_module_rejects_is_somebody_elses_to_say() -> None:
    def picky(net: Any, x: torch.Tensor) -> Any:
        if len(x) == 8:
            raise ValueError("too large")
        return x * 2

    assert observe(Net(picky), inputs()) is None


@pytest.mark.parametrize(
    ("other", "is_other"),
    [
        pytest.param(np.array([1, 1000.0002], np.float32), False, id="rounding-of-the-largest"),
        pytest.param(np.array([1, 1000.01], np.float32), True, id="more-than-rounding"),
        pytest.param(np.array([1, 1000], np.float64), True, id="type"),
        pytest.param(np.array([1, 1000, 1], np.float32), True, id="shape"),
        pytest.param(np.array([np.nan, 1000], np.float32), True, id="nan"),
        pytest.param(np.array([1, np.inf], np.float32), True, id="infinity"),
    ],
)
def test_answers_are_the_same_up_to_rounding(other: np.ndarray[Any, Any], is_other: bool) -> None:
    assert differ([np.array([1, 1000], np.float32)], [other]) is is_other
    assert not differ([other], [other.copy()])


# What a model's first input leaves


def first_mean(net: Any, x: torch.Tensor) -> Any:
    net.mean = x.mean() if net.mean is None else net.mean
    return x - net.mean


def test_what_only_the_first_input_decides_is_state() -> None:
    module, fresh = (Net(first_mean, mean=None) for _ in range(2))
    for arrays in inputs():
        module(torch.from_numpy(arrays["x"]))
    found = first_answer(module, fresh, inputs()[1])
    assert found is not None
    assert (found.kind, found.places) == ("state", ("mean",))


@pytest.mark.parametrize(
    ("forward", "place"), [pytest.param(first_mean, "mean", id="state"), pytest.param(table, None, id="a-table")]
)
def test_a_model_that_its_first_run_has_changed_is_compared_with_one_that_never_ran(
    forward: Callable[[Any, torch.Tensor], Any], place: str | None
) -> None:
    model = Model(
        lambda: Net(forward, mean=None, table=None).eval(), [Input("x", ("n", 3))], dims={"n": (1, 9)}, name="net"
    )
    built = build_model(ModelFile(Path("net.py"), model, ()))
    assert built.touched == (place or "table",)
    impurity = Reference(built).impurity
    assert (impurity is not None) is (place is not None)


class Unreadable(dict[str, Any]):
    """As OmegaConf's where a value is missing."""

    def __getitem__(self, key: str) -> Any:
        raise ValueError(f"{key} is missing")


class Unsized(list[Any]):
    def __len__(self) -> int:
        raise TypeError("nobody knows")


@pytest.mark.parametrize("settings", [Unreadable(size=1), Unsized([1])], ids=["a-mapping", "a-list"])
def test_what_cannot_be_read_of_a_module_ends_nothing(settings: Any) -> None:
    module = Net(lambda net, x: x * 2, settings=settings).eval()
    assert observe(module, inputs()) is None
    assert observe(Net(sliding, settings=settings, past=torch.zeros(10)), inputs()) is not None


def at_every_400th(net: Any, x: torch.Tensor) -> Any:
    net.calls += 1
    return x + (net.calls % 400 == 0)


def test_a_state_that_shows_at_every_400th_call_is_found() -> None:
    item = Input("x", shape=(4,), min_value=-1e-3, max_value=1e-3)
    model = Model(lambda: Net(at_every_400th, calls=0).eval(), [item], name="net")
    reference = Reference(build_model(ModelFile(Path("net.py"), model, ())))

    def run_often() -> None:
        for number in range(420):
            reference({"x": np.full(4, number * 1e-6, np.float32)})

    with pytest.raises(NoReference, match="two answers for one input"):
        run_often()
