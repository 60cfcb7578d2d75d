"""How far one node of an ONNX graph may be off by itself where it only adds numbers, or has a bounded range.

The same errors as for the whole model (harness.parity.rounding.operator_errors), made in the operator of PyTorch that
is the node: a mean over a picture is hundreds of units in its own last place off, and not to blame for what another
node does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...model.model import Array
from ..rounding.bounds import MANY, Perturbed
from ..rounding.conditioning import largest_difference
from ..rounding.operator_call import PATTERNS, Errors

if TYPE_CHECKING:
    import onnx

Operator = Callable[[Sequence[Any], Mapping[str, Any]], Tensor]


def allowance(node: onnx.NodeProto, inputs: Sequence[Array | None]) -> float:
    """Bound what the node's outputs may be off by, as much as parity's default tolerance allows.

    Args:
        node: of the graph.
        inputs: the node's, in its order, float64 for float32; None for one that is left out.

    Returns:
        0 for other operators, and where it cannot be said.
    """
    import onnx

    operator = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if operator is None or not inputs or inputs[0] is None or inputs[0].dtype != np.float64:
        return 0.0
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    tensors = [None if array is None else torch.from_numpy(np.array(array, order="C")) for array in inputs]
    try:
        with torch.no_grad():
            right = operator(tensors, attributes).numpy()
            result = 0.0
            for seed, pattern in enumerate(PATTERNS):
                with Perturbed(Errors(MANY, pattern, seed)):
                    moved = operator(tensors, attributes)
                result = max(result, largest_difference(moved.numpy(), right))
    except (RuntimeError, ValueError, IndexError, TypeError):  # it is no operator of PyTorch's with these attributes
        return 0.0
    return result


def _axes(given: Sequence[Any], attributes: Mapping[str, Any]) -> list[int]:
    """Return a reduction's axes: an attribute, since opset 18 an input; all of them where neither is given."""
    said = attributes.get("axes")
    if said is None and len(given) > 1 and given[1] is not None:
        said = given[1].reshape(-1).tolist()
    return [int(axis) for axis in said or range(given[0].dim())]


def _layer_norm(given: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    shape = list(given[0].shape[attributes.get("axis", -1) :])
    return functional.layer_norm(given[0], shape, given[1].reshape(shape), None, attributes.get("epsilon", 1e-5))


def _instance_norm(given: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    return functional.instance_norm(given[0], weight=given[1], eps=attributes.get("epsilon", 1e-5))


def _group_norm(given: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    groups, eps = attributes["num_groups"], attributes.get("epsilon", 1e-5)
    return functional.group_norm(given[0], groups, given[1], None, eps)


def _windows(given: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    """Stand in for averages of windows: none is off by more than the mean of as many of the largest number."""
    largest: Tensor = given[0].abs().nan_to_num(0.0, 0.0, 0.0).max()
    return largest.expand(math.prod(attributes["kernel_shape"])).mean()


def _running(given: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    axis = int(given[1])
    x: Tensor = given[0].flip(axis) if attributes.get("reverse") else given[0]
    return x.cumsum(axis)


OPERATORS: dict[str, Operator] = {
    "ReduceMean": lambda given, said: given[0].mean(_axes(given, said)),
    "ReduceSum": lambda given, said: given[0].sum(_axes(given, said)),
    "ReduceSumSquare": lambda given, said: given[0].square().sum(_axes(given, said)),
    "ReduceL1": lambda given, said: torch.linalg.vector_norm(given[0], 1, _axes(given, said)),
    "ReduceL2": lambda given, said: torch.linalg.vector_norm(given[0], 2, _axes(given, said)),
    "ReduceLogSumExp": lambda given, said: given[0].logsumexp(_axes(given, said)),
    "GlobalAveragePool": lambda given, said: given[0].mean(list(range(2, given[0].dim()))),
    "AveragePool": _windows,
    "CumSum": _running,
    "Softmax": lambda given, said: given[0].softmax(said.get("axis", -1)),
    "LogSoftmax": lambda given, said: given[0].log_softmax(said.get("axis", -1)),
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "Sigmoid": lambda given, said: given[0].sigmoid(),
    "HardSigmoid": lambda given, said: functional.hardsigmoid(given[0]),
    "Tanh": lambda given, said: given[0].tanh(),
    "Erf": lambda given, said: given[0].erf(),
    "Sin": lambda given, said: given[0].sin(),
    "Cos": lambda given, said: given[0].cos(),
    "Atan": lambda given, said: given[0].atan(),
    "Elu": lambda given, said: functional.elu(given[0], said.get("alpha", 1.0)),
    "Selu": lambda given, said: functional.selu(given[0]),
    "Celu": lambda given, said: functional.celu(given[0], said.get("alpha", 1.0)),
    "Gelu": lambda given, said: functional.gelu(given[0]),
    "Mish": lambda given, said: functional.mish(given[0]),
}
