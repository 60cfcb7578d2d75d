"""What a module takes of what its file declares: where it rejects something, the message names what passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harness import Input, Model
from harness.errors import ModelError
from harness.model.build import build_model, explain_rejection
from harness.model.inputs import Arrays, uniform_set
from harness.model.model_file import ModelFile

X = Input("x", ("b", "t"), min_value=0, max_value=1)
PICTURE = Input("x", (1, "h", "w"), min_value=0, max_value=1)


class Net(nn.Module):
    def __init__(self, takes: Callable[..., Any]) -> None:
        super().__init__()
        self.takes, self.weight = takes, nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        if not self.takes(x, *others):
            raise ValueError("not this one")
        return x * self.weight


def file_of(takes: Callable[..., Any], inputs: list[Input], dims: dict[str, Any], **more: Any) -> ModelFile:
    return ModelFile(Path("net.py"), Model(lambda: Net(takes).eval(), inputs, dims=dims, **more), ())


def refused(*args: Any, **more: Any) -> ModelError:
    with pytest.raises(ModelError, match="rejects inputs that its file declares") as caught:
        build_model(file_of(*args, **more))
    return caught.value


def multiples(x: torch.Tensor) -> bool:
    return x.shape[1] % 32 == x.shape[2] % 32 == 0


@pytest.mark.parametrize(
    ("takes", "inputs", "dims", "found", "hint"),
    [
        pytest.param(
            multiples,
            [PICTURE],
            {"h": (1, 320), "w": (33, 320)},
            "every multiple of 32 passes as h; every multiple of 32 passes as w",
            '"h": (32, 320, 32), "w": (64, 320, 32)',
            id="multiples",
        ),
        pytest.param(
            multiples,
            [PICTURE],
            {"h": range(32, 321, 16), "w": (32, 320, 32)},
            "every multiple of 32 passes as h (",
            '{"h": (32, 320, 32)}',
            id="multiples of a smaller step",
        ),
        pytest.param(
            lambda x: x.shape[1] >= 16,
            [X],
            {"b": (1, 4), "t": (1, 2000)},
            "passes with t >= 16 (",
            '{"t": (16, 2000)}',
            id="from",
        ),
        pytest.param(
            lambda x: x.shape[1] <= 512,
            [X],
            {"b": (1, 4), "t": (1, 2000)},
            "passes with t <= 512 (",
            '{"t": (1, 512)}',
            id="up to",
        ),
        pytest.param(
            lambda x: x.shape[1] % 7 == 3,
            [X],
            {"b": (1, 4), "t": (1, 200)},
            "every 7th t passes, from 3 on",
            '{"t": (3, 199, 7)}',
            id="every seventh",
        ),
        pytest.param(
            lambda x: x.shape[1] in (16, 32),
            [X],
            {"b": (1, 4), "t": [8, 16, 32, 64]},
            "passes with t = 16, 32",
            '{"t": [16, 32]}',
            id="some of a list",
        ),
        pytest.param(
            lambda x, y: len(y) <= x.shape[1],
            [X, Input("y", ("k",))],
            {"b": (1, 2), "t": (2, 100), "k": (1, 20)},
            "passes with t >= 20",
            "k = 20",
            id="one beside another",
        ),
        pytest.param(
            lambda x: False,
            [X],
            {"b": (1, 4), "t": (1, 200)},
            "it rejects all",
            "the order of `inputs`",
            id="nothing",
        ),
    ],
)
def test_the_message_names_the_sizes_that_pass(takes: Any, inputs: Any, dims: Any, found: str, hint: str) -> None:
    error = refused(takes, inputs, dims)
    assert "ValueError: not this one" in error.found
    assert found in error.found
    assert hint in error.hint + error.found


@pytest.mark.parametrize(
    ("takes", "said"),
    [
        pytest.param(lambda x, mask: mask.any(), "the values of mask", id="a mask that is all zero"),
        pytest.param(lambda x, mask: (x < 1).all(), "the values of x (here 1.0)", id="the end of a range"),
    ],
)
def test_values_that_are_rejected_are_told_from_sizes(takes: Any, said: str) -> None:
    error = refused(takes, [X, Input("mask", ("t",), "bool")], {"b": (1, 2), "t": (6, 9)})
    assert said in error.found
    assert "passes with" not in error.found
    assert "prepare=" in error.hint


def test_what_prepare_makes_valid_is_not_rejected() -> None:
    def prepare(inputs: Arrays) -> Arrays:
        inputs["mask"][0] = True
        return inputs

    inputs, dims = [X, Input("mask", ("t",), "bool")], {"b": (1, 2), "t": (1, 9)}
    assert build_model(file_of(lambda x, mask: mask.any(), inputs, dims, prepare=prepare)).outputs == ("output",)


def test_what_parity_comes_upon_is_told_in_the_same_way() -> None:
    built = build_model(file_of(lambda x: x.shape[1] != 4, [X], {"b": (1, 2), "t": (1, 9)}))
    error = explain_rejection(built, uniform_set(built.model, {"b": 1, "t": 4}, 0), "ValueError: not this one")
    assert "t = 4" in error.wanted
    assert "it passes at b = 1, t = " in error.found
    assert "leave out of dims what it rejects" in error.hint


def test_the_module_that_is_judged_has_not_been_run_before() -> None:
    calls: list[tuple[int, ...]] = []

    def takes(x: torch.Tensor) -> bool:
        calls.append(tuple(x.shape))
        return True

    built: list[int] = []

    def build() -> nn.Module:
        built.append(len(calls))
        return Net(takes).eval()

    build_model(ModelFile(Path("net.py"), Model(build, [X], dims={"b": (1, 2), "t": (1, 9)}), ()))
    assert len(built) == 2
    assert len(calls) == built[1] + 1  # of the second module only the run that shows its outputs


def test_a_size_that_has_no_room_on_this_host_is_not_called_rejected() -> None:
    def takes(x: torch.Tensor) -> bool:
        if x.shape[1] == 9:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
        return True

    assert build_model(file_of(takes, [X], {"b": (1, 2), "t": (1, 9)})).outputs == ("output",)


def test_looking_draws_no_random_numbers_from_the_builds() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    build_model(file_of(lambda x: torch.rand(1) < 2, [Input("x", (3,))], {}))
    drawn = [torch.rand(1) for _ in range(2)]
    torch.random.set_rng_state(before)
    torch.rand(1)  # the run that shows the outputs
    assert [torch.rand(1) for _ in range(2)] == drawn
