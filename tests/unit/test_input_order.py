"""Inputs in the order of forward's parameters: what is crossed is refused, what is not known is left alone."""

from __future__ import annotations

import functools
import types
from typing import Any

import pytest
import torch
from torch import nn

from harness.errors import ModelError
from harness.model.input_order import check_input_order, parameter_names

PARAMETERS = ["input_ids", "token_type_ids", "attention_mask"]


class Bert(nn.Module):
    def forward(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return input_ids + 2 * token_type_ids + 3 * attention_mask


class Decorated(nn.Module):
    @torch.inference_mode()
    def forward(self, input_ids: Any, token_type_ids: Any, attention_mask: Any) -> Any:
        return input_ids


class Anything(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return args[0]


class Partly(nn.Module):
    def forward(self, input_ids: Any, *rest: Any, attention_mask: Any = None) -> Any:
        return input_ids


def replaced() -> nn.Module:
    """As accelerate does it."""
    module, before = Bert(), Bert.forward

    @functools.wraps(before)
    def forward(self: nn.Module, *args: Any) -> Any:
        return before(self, *args)  # type: ignore[arg-type]

    module.forward = types.MethodType(forward, module)  # type: ignore[method-assign]
    return module


def traced() -> nn.Module:
    three = (torch.zeros(2), torch.zeros(2), torch.zeros(2))
    script: nn.Module = torch.jit.trace(Bert().eval(), three)  # type: ignore[no-untyped-call]
    return script


@pytest.mark.filterwarnings("ignore:`torch.jit.freeze` is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    "module",
    [
        pytest.param(Bert, id="plain"),
        pytest.param(Decorated, id="decorated"),
        pytest.param(replaced, id="forward replaced"),
        pytest.param(traced, id="traced"),
        pytest.param(lambda: torch.jit.script(Bert()), id="scripted"),
        pytest.param(lambda: torch.jit.freeze(torch.jit.script(Bert().eval())), id="frozen"),
        pytest.param(lambda: nn.DataParallel(Bert()), id="data parallel"),
        pytest.param(lambda: torch.compile(Bert(), backend="eager"), id="compiled"),
    ],
)
def test_the_names_of_forwards_parameters_are_known(module: Any) -> None:
    assert parameter_names(module()) == PARAMETERS


@pytest.mark.parametrize(
    ("module", "names"),
    [pytest.param(Anything(), [], id="none"), pytest.param(Partly(), ["input_ids"], id="the first")],
)
def test_what_forward_takes_any_of_has_no_name(module: nn.Module, names: list[str]) -> None:
    assert parameter_names(module) == names


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(PARAMETERS, id="the same"),
        pytest.param(PARAMETERS[:2], id="fewer"),
        pytest.param(["image", "mask", "attention_mask"], id="other names, and one in its place"),
        pytest.param(["a", "b", "c", "d"], id="none known"),
    ],
)
def test_inputs_in_their_places_are_accepted(inputs: list[str]) -> None:
    check_input_order(inputs, PARAMETERS, "model.py")


@pytest.mark.parametrize(
    ("inputs", "found", "order"),
    [
        pytest.param(
            ["input_ids", "attention_mask", "token_type_ids"],
            "input attention_mask goes to forward's parameter token_type_ids",
            "order input_ids, token_type_ids, attention_mask",
            id="two crossed",
        ),
        pytest.param(
            ["input_ids", "attention_mask"],
            "input attention_mask goes to forward's parameter token_type_ids",
            "order input_ids, (token_type_ids), attention_mask",
            id="one left out between",
        ),
        pytest.param(
            ["token_type_ids", "words", "attention_mask"],
            "input token_type_ids goes to forward's parameter input_ids",
            "order words, token_type_ids, attention_mask",
            id="beside a name of its own",
        ),
        pytest.param(
            ["a", "b", "c", "input_ids"], "input input_ids goes behind", "order input_ids, a, b, c", id="behind all"
        ),
    ],
)
def test_an_input_in_anothers_place_is_an_error(inputs: list[str], found: str, order: str) -> None:
    with pytest.raises(ModelError) as error:
        check_input_order(inputs, PARAMETERS, "model.py")
    assert found in error.value.found
    assert order in error.value.wanted
