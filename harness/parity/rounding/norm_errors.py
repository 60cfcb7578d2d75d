"""The errors of norms with their own statistics: their means and variances are sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .operator_call import ULP, Call, Change, Errors, add, rounding_of


def layer_norm_errors(call: Call) -> Change:
    """Return the errors of a layer norm."""
    dims = len(call["normalized_shape"])
    groups = call.x.reshape(*call.x.shape[: call.x.dim() - dims], -1)
    weight = call["weight"].reshape(-1) if call["weight"] is not None else None
    return _normalized(groups, weight, call["eps"], lambda moved: moved)


def group_norm_errors(call: Call) -> Change:
    """Return the errors of a group norm."""
    shape = (call["N"], call["group"], call["C"] // call["group"], call["HxW"])
    groups = call.x.reshape(*shape[:2], -1)
    weight = call["weight"].reshape(shape[1:3]).repeat_interleave(shape[3], 1) if call["weight"] is not None else None
    return _normalized(groups, weight, call["eps"], lambda moved: moved)


def batch_norm_errors(call: Call) -> Change | None:
    """Return the errors of a norm with the statistics of the batch, also of instance norm."""
    if not (call["training"] or call["running_mean"] is None):
        return None
    turned = call.x.movedim(1, 0)
    weight = call["weight"].reshape(-1, 1) if call["weight"] is not None else None
    groups = turned.reshape(turned.shape[0], -1)
    return _normalized(groups, weight, call["eps"], lambda moved: moved.reshape(turned.shape).movedim(0, 1))


def _normalized(
    groups: torch.Tensor, weight: torch.Tensor | None, eps: float, back: Callable[[torch.Tensor], torch.Tensor]
) -> Change:
    """Return the errors of normalized groups […, n]: their means and variances are moved.

    Args:
        groups: the numbers that are normalized together, along the last axis.
        weight: what the normalized numbers are multiplied by; None for 1.
        eps: what is added to the variance.
        back: brings the errors of the groups into the result's order.
    """
    count = groups.shape[-1]
    mean = groups.mean(-1, keepdim=True)
    variance = ((groups - mean) ** 2).mean(-1, keepdim=True)
    means = rounding_of(groups).unsqueeze(-1) / count
    squares = rounding_of((groups - mean) ** 2).unsqueeze(-1) / count

    def change(errors: Errors, result: Any) -> None:
        moved = errors.of(means)
        spread = (variance + errors.of(squares) + moved**2).clamp(min=0)
        more = (groups - mean - moved) * (spread + eps).rsqrt() - (groups - mean) * (variance + eps).rsqrt()
        more = more + errors.of(torch.full_like(more, ULP))
        more = more if weight is None else more * weight
        first = result[0]
        add(first, back(more).reshape(first.shape))

    return change
