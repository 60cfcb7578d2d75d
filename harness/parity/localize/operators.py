"""The node of a wrongly exported module from which on nothing is like what PyTorch computes.

Both sides are computed in float64. A value of the graph is like PyTorch's where an operator of the module's call gave
the same numbers. A graph has values of its own on the way to such ones (a product apart from its sum): so the node is
the first that depends on the inputs, is like nothing, and after which nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ...agent.structure import flatten
from ...model.inputs import Arrays
from ...model.model import Array
from ..rule.float64 import run_in_float64
from .graph import Graph
from .record import tensors

if TYPE_CHECKING:
    from .match import Suspect

# The graph's constants are rounded to float32, the model's in float64 are not.
CLOSE = 1e-5


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps what every operator gives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[torch.Tensor] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and keep what it gives."""
        made = func(*args, **(kwargs or {}))
        self.keep(made)
        if (steps := STEPS.get(func)) is not None:
            self.keep(steps(*args))
        return made

    def keep(self, made: Any) -> None:
        """Keep copies of tensors: an operator may write to what another gave."""
        self.found += [leaf.detach().clone() for _, leaf in flatten(made) if isinstance(leaf, torch.Tensor)]


# Intermediate results that a graph may have of one operator of PyTorch's, by its arguments.
ATEN = torch.ops.aten
STEPS: dict[Any, Callable[..., Any]] = {
    ATEN.addmm.default: lambda bias, one, two: one @ two,
    ATEN.convolution.default: lambda x, weight, bias, *how: ATEN.convolution(x, weight, None, *how),
    ATEN.native_layer_norm.default: lambda x, shape, weight, bias, eps: (
        ATEN.native_layer_norm(x, shape, None, None, eps)[0],
        ATEN.native_layer_norm(x, shape, weight, None, eps)[0],
    ),
    ATEN.native_group_norm.default: lambda x, weight, bias, *how: (
        ATEN.native_group_norm(x, None, None, *how)[0],
        ATEN.native_group_norm(x, weight, None, *how)[0],
    ),
}


def operator_values(module: torch.nn.Module, name: str, number: int, arrays: Arrays) -> list[Array]:
    """Run a module in float64, and return what the operators within one call of a part of it give.

    Args:
        module: the whole, in float64.
        name: the part's.
        number: the call's, from 0.
        arrays: the inputs of the whole, by name.
    """
    operators = _Operators()
    calls = 0

    def enter(part: torch.nn.Module, args: Any) -> None:
        if calls == number:
            operators.keep(args)
            operators.__enter__()  # type: ignore[no-untyped-call]

    def leave(part: torch.nn.Module, args: Any, output: Any) -> None:
        nonlocal calls
        if calls == number:
            operators.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        calls += 1

    from torch.nn.attention import SDPBackend, sdpa_kernel

    part = module.get_submodule(name)
    with ExitStack() as stack:
        stack.callback(part.register_forward_pre_hook(enter).remove)
        stack.callback(part.register_forward_hook(leave).remove)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))  # a fused one would hide what the graph has one by one
        run_in_float64(module, tensors(arrays))
    return [
        np.array(tensor.resolve_conj().resolve_neg().numpy()) for tensor in operators.found if not tensor.is_complex()
    ]


def first_unlike(graph: Graph, nodes: Sequence[int], values: Mapping[str, Array], known: Sequence[Array]) -> int | None:
    """Find the node that the module's docstring describes; None where every node is like something.

    Args:
        graph: the exported one.
        nodes: of the module, in order.
        values: what they give in float64.
        known: what PyTorch's operators give.
    """
    by_size: dict[int, list[Array]] = {}
    for array in known:
        by_size.setdefault(array.size, []).append(array)
    # From the last to the first: whether the node, or any after it, gives what PyTorch gives.
    agreeing: set[int] = set()
    for index in reversed(nodes):
        made = [name for name in graph.nodes[index].output if isinstance(values.get(name), np.ndarray)]
        # Indices may be right where the numbers beside them are wrong.
        made = [name for name in made if values[name].dtype.kind == "f"] or made
        after = any(user in agreeing for name in made for user in graph.users.get(name, ()))
        if after or any(_like(values[name], by_size) for name in made):
            agreeing.add(index)
    unlike = [index for index in nodes if index not in agreeing]
    # Sizes and indices on the way are no numbers of the model's.
    kinds = _kinds(graph, unlike[-1], values) if unlike else set()
    kind = "f" if "f" in kinds else next(iter(kinds), "f")
    ways = (
        [index for index in unlike if index in graph.varying and kind in _kinds(graph, index, values)],
        [index for index in unlike if index in graph.varying],
        unlike,
    )
    return next((way[0] for way in ways if way), None)


def off_values(suspect: Suspect) -> tuple[str, str, str]:
    """Return (found, eager's, exact) of the worst element, as text; the forms where shapes or types differ."""
    index = suspect.difference.index
    answer, expected = suspect.answer, suspect.expected
    if answer.shape != expected.eager.shape or answer.dtype != expected.eager.dtype:
        form = f"{expected.eager.dtype}{list(expected.eager.shape)}"
        return f"{answer.dtype}{list(answer.shape)}", form, form
    return str(answer[index]), str(expected.eager[index]), str(expected.exact[index])


def _kinds(graph: Graph, index: int, values: Mapping[str, Array]) -> set[str]:
    made = (values.get(name) for name in graph.nodes[index].output)
    return {array.dtype.kind for array in made if isinstance(array, np.ndarray)}


def is_like(value: Array, others: Sequence[Any]) -> bool:
    """Tell whether any of the others has the same numbers."""
    return any(
        isinstance(other, np.ndarray) and other.size == value.size and _close(widened(other), value) for other in others
    )


def widened(array: Array) -> Array:
    """Return floats as float64."""
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _like(value: Array, by_size: Mapping[int, Sequence[Array]]) -> bool:
    return any(_close(value, other) for other in by_size.get(value.size, ()))


def _close(value: Array, other: Array) -> bool:
    if value.dtype.kind != other.dtype.kind:
        return False
    one, two = value.reshape(-1), other.reshape(-1)
    if one.dtype.kind != "f":
        return bool((one == two).all())
    finite = np.isfinite(two)
    with np.errstate(all="ignore"):
        same = (np.isnan(one) & np.isnan(two)) | (one == two)
        size = np.abs(two).max(initial=0.0, where=finite)
        near = np.abs(one - two) <= CLOSE * size
    return bool(np.where(finite, near, same).all())
