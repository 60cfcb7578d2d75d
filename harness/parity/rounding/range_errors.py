"""The errors of functions of a bounded range, and of those that are such a function times a number."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from .operator_call import ULP, Call, Change, add, name_of


def within_errors(low: float, high: float) -> Callable[[Call], Change]:
    """Return what makes the errors of a function of a bounded range: a unit in its last place, within the range."""
    size = ULP * max(abs(low), abs(high))

    def known(call: Call) -> Change:
        return lambda errors, result: add(
            result, (result + errors.of(torch.full_like(result, size))).clamp(low, high) - result
        )

    return known


def hardtanh_errors(call: Call) -> Change | None:
    """Return the errors of hardtanh, but not of relu6, which is exact, and amid networks."""
    low, high = (float(call[name]) for name in ("min_val", "max_val"))
    return within_errors(low, high)(call) if low < 0 and math.isfinite(low) and math.isfinite(high) else None


def exponential_unit_errors(call: Call) -> Change:
    """Return the errors of elu, selu (an elu of another scale), celu and expm1.

    They are exp(x) − 1 where x is negative, times a constant.
    """
    alpha, scale = (1.0 if call[name] is None else float(call[name]) for name in ("alpha", "scale"))
    is_all = name_of(call.func) == "expm1"  # the others leave what is positive as it is
    sizes = torch.where((call.x < 0) | is_all, ULP * abs(alpha * scale), 0.0).to(torch.float64)
    return lambda errors, result: add(result, errors.of(sizes))


def times_bounded_errors(call: Call) -> Change:
    """Return the errors of silu, gelu and mish: x times a sigmoid, a tanh or an erf."""
    sizes = ULP * call.x.abs()
    return lambda errors, result: add(result, errors.of(sizes))


def gated_errors(call: Call) -> Change:
    """Return the errors of glu: one half times the sigmoid of the other."""
    sizes = ULP * call.x.chunk(2, call["dim"])[0].abs()
    return lambda errors, result: add(result, errors.of(sizes))
