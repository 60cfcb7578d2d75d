"""The errors of operators that only add numbers; a Change of None stands for a call that is left alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .operator_call import EACH, ULP, Call, Change, Errors, add, name_of, rounding_of
from .pooling import Windows, adaptive_windows, window_parts, windows
from .summation import counted


def total_errors(call: Call) -> Change:
    """Return the errors of sum, nansum and mean; their dimensions may be kept."""
    terms = call.terms(call["dim"])
    sizes = rounding_of(terms) / (terms.shape[-1] if name_of(call.func) == "mean" else 1)
    return lambda errors, result: add(result, errors.of(sizes.reshape(result.shape)))


def loss_errors(call: Call) -> Change | None:
    """Return the errors of mse_loss and its like, which add up what they are of each element: an autoencoder's, say."""
    if not call["reduction"]:
        return None
    terms = call.plain(call.x, **{**call.named, "reduction": 0}).reshape(-1)
    sizes = rounding_of(terms) / (terms.numel() if call["reduction"] == 1 else 1)
    return lambda errors, result: add(result, errors.of(sizes))


def running_errors(call: Call) -> Change:
    """Return the errors of cumsum."""
    x = call.x.reshape(1) if not call.x.dim() else call.x
    sizes = rounding_of(x.movedim(call["dim"], -1), running=True).movedim(-1, call["dim"])
    return lambda errors, result: add(result, errors.of(sizes.reshape(result.shape)))


def pool_errors(call: Call) -> Change:
    """Return the errors of averages of windows.

    Each is the average of the absolute values, times the part of it that the window's sum may be off by.
    """
    sizes = call.plain(call.x.abs(), *call.args[1:], **call.kwargs)
    sizes = sizes * window_parts(call.x, _windows(call, sizes.shape))
    return lambda errors, result: add(result, errors.of(sizes))


def _windows(call: Call, shape: torch.Size) -> list[Windows]:
    axes = 3 if "3d" in name_of(call.func) else 2
    if call["kernel_size"] is None:
        return [adaptive_windows(call.x.shape[axis], shape[axis]) for axis in range(-axes, 0)]
    pads = [call["padding"]] if isinstance(call["padding"], int) else call["padding"]
    said = (call["kernel_size"], call["stride"] or call["kernel_size"], pads)
    # One number stands for all axes.
    along = ([each[axis % len(each)] for each in said] for axis in range(axes))
    return [windows(call.x.shape[axis - axes], shape[axis - axes], *each) for axis, each in enumerate(along)]


def spread_errors(call: Call) -> Change:
    """Return the errors of var, std, var_mean and std_mean: an error of the mean comes back squared."""
    terms = call.terms(call["dim"])
    count, free = terms.shape[-1], 1 if call["correction"] is None else call["correction"]
    mean = rounding_of(terms) / count
    squares = rounding_of((terms - terms.mean(-1, keepdim=True)) ** 2)
    is_root = name_of(call.func).startswith("std")

    def change(errors: Errors, result: Any) -> None:
        spread, *means = result if isinstance(result, tuple) else (result,)
        moved = errors.of(mean)
        for each in means:
            add(each, moved.reshape(each.shape))
        more = ((errors.of(squares) + count * moved**2) / max(count - free, 1)).reshape(spread.shape)
        before = spread.clone()
        after = ((before**2 if is_root else before) + more).clamp(min=0)
        add(spread, (after.sqrt() if is_root else after) - before)

    return change


def length_errors(call: Call) -> Change | None:
    """Return the errors of a vector's norm."""
    given = call["p"] if call["ord"] is None else call["ord"]
    return _norm(call.terms(call["dim"]), 2.0 if given is None else float(given))


def distance_errors(call: Call) -> Change | None:
    """Return the errors of dist, the norm of a difference."""
    return _norm((call.x - call["other"]).reshape(-1), float(call["p"]))


def _norm(terms: torch.Tensor, order: float) -> Change | None:
    terms = terms.abs()
    if order == 2:
        sizes = rounding_of(terms**2)
        return lambda errors, result: add(
            result, (result**2 + errors.of(sizes.reshape(result.shape))).clamp(min=0).sqrt() - result
        )
    if math.isinf(order) or order == 0:
        return None
    powers = terms**order
    parts = (rounding_of(powers) / powers.sum(-1)).nan_to_num() / abs(order)
    return lambda errors, result: add(result, errors.of(parts.reshape(result.shape) * result))


def weights_errors(call: Call) -> Change:
    """Return the errors of softmax: shares of a sum, in the range 0 … 1.

    Errors of the shares have signs of their own: alike, they would be no shares of 1 any more, and 4096 of them
    would hide half precision in whatever they weigh.
    """
    sizes = _exponentials(call, call["dim"])

    def change(errors: Errors, result: torch.Tensor) -> None:
        more = -result * errors.of(sizes)
        if errors.pattern == EACH:
            more = more + errors.of(torch.full_like(result, ULP))
        add(result, (result + more).clamp(0, 1) - result)

    return change


def logarithm_errors(call: Call) -> Change:
    """Return the errors of log_softmax and logsumexp: those of a sum."""
    sizes = _exponentials(call, call["dim"])
    return lambda errors, result: add(
        result, errors.of(sizes.reshape(result.shape) if sizes.numel() == result.numel() else sizes)
    )


def _exponentials(call: Call, dims: Any) -> torch.Tensor:
    """Bound what the sum of the exponentials is off by, as a part of it; the dimensions are kept."""
    chosen = [dims] if isinstance(dims, int) else list(dims or range(call.x.dim()))
    terms = call.terms(chosen)
    terms = (terms - terms.amax(-1, keepdim=True)).exp()
    away = {dim % max(call.x.dim(), 1) for dim in chosen}
    shape = [1 if index in away else size for index, size in enumerate(call.x.shape)]
    return (rounding_of(terms) / terms.sum(-1)).reshape(shape)


def scattered_errors(call: Call) -> Change | None:
    """Return the errors of scatter_add, index_add and scatter_reduce: each place is a sum of what is sent there."""
    if call["reduce"] not in (None, "sum", "mean"):
        return None
    source = call["src"] if call["source"] is None else call["source"]
    more = dict(call.kwargs)
    if call["alpha"] is not None:
        source, more["alpha"] = source * call["alpha"], 1
    named = {"reduce": "sum"} if call["reduce"] is not None else {}

    def run(x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        return call.plain(x, call["dim"], call["index"], source, **more | named)

    # A mean divides each sum by how many numbers it has.
    return _collected(call.x, source, run, is_mean=call["reduce"] == "mean")


def put_errors(call: Call) -> Change | None:
    """Return the errors of index_put, where it accumulates."""
    if not call["accumulate"]:
        return None
    return _collected(call.x, call["values"], lambda x, values: call.plain(x, call["indices"], values, True))


def _collected(
    x: torch.Tensor,
    source: torch.Tensor,
    run: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    is_mean: bool = False,
) -> Change:
    """Return the errors of sums of what is sent to each place: torch itself adds them one after the other.

    Args:
        x: what is added to.
        source: what is sent.
        run: sends a source to x.
        is_mean: whether each sum is divided by how many were sent.
    """
    sizes = run(x.abs(), source.abs())
    counts = run(torch.ones_like(x), torch.ones_like(source))
    narrow, other = x.float(), source.float()
    # Twice, because this sees only the end: roundings of equal numbers change their sign along the way.
    astray = 2 * (run(narrow, other).double() - run(narrow.double(), other.double())).abs()
    bounds = torch.from_numpy(np.asarray(counted(counts.numpy(), sizes.numpy(), astray.numpy())))
    bounds = bounds / counts if is_mean else bounds
    return lambda errors, result: add(result, errors.of(bounds))
