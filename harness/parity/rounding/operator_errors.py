"""The errors that right programs may make in one operator: those that only add numbers, and those of a bounded range.

    sums (sum, mean, losses, cumsum, pooling, scattering, softmax, logsumexp, norms: their mean and their variance)
        ± what harness.parity.rounding.summation says of the numbers that are added, at most √n · 2⁻²⁴ · Σ|x|
    sigmoid, softmax, tanh, erf, sin, …
        ± a unit in the last place of the range's larger end, within the range; a norm's is 1 before it is scaled
    elu, selu, celu, expm1
        ± one of 1, times alpha: a runtime computes exp(x) − 1
    silu, gelu, mish, glu
        ± one of x: x times a bounded function

Products of matrices and convolutions are not among them: √n there would hide half precision and TF32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .pooling import Windows, adaptive_windows, window_parts, windows
from .summation import counted, rounding

# A unit in the last place of 1.
ULP = 2.0**-23
# Of one sign within an operator, for roundings that err one way; and of a sign of its own for each element.
PATTERNS = ALIKE, EACH = ("alike", "each")

Change = Callable[["Errors", torch.Tensor], None]


@dataclass
class Errors:
    """Errors of random signs; the same for the same seed, whatever the step.

    Args:
        step: the part of each error that is made.
        pattern: one of PATTERNS.
    """

    step: float
    pattern: str
    seed: int

    def __post_init__(self) -> None:
        self._random = torch.Generator().manual_seed(self.seed)

    def of(self, sizes: torch.Tensor) -> torch.Tensor:
        """Errors as large as they are here, where they are finite."""
        shape = sizes.shape if self.pattern == EACH else ()
        signs = torch.randint(0, 2, shape, generator=self._random) * 2 - 1
        return torch.nan_to_num(sizes, nan=0.0, posinf=0.0, neginf=0.0) * signs * self.step


class Call:
    """One call of an operator, its arguments by their names."""

    def __init__(self, func: Any, args: Any, kwargs: Any) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        named = func._schema.arguments
        given = {argument.name: value for argument, value in zip(named, args, strict=False)}
        self._values = {one.name: one.default_value for one in named if one.has_default_value()} | given | kwargs
        self._first = named[0].name

    def __getitem__(self, name: str) -> Any:
        return self._values.get(name)

    @property
    def named(self) -> dict[str, Any]:
        """All arguments but the first, by their names."""
        return {name: value for name, value in self._values.items() if name != self._first}

    @property
    def x(self) -> torch.Tensor:
        """The first argument."""
        found: torch.Tensor = self.args[0]
        return found

    def plain(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """What the operator makes of other arguments, where it writes to none of them."""
        name = name_of(self.func)
        operator = getattr(getattr(torch.ops.aten, name), "two" if name == "scatter_reduce" else "default")
        found: torch.Tensor = operator(*args, **{key: value for key, value in kwargs.items() if key != "out"})
        return found

    def terms(self, dims: Any = None) -> torch.Tensor:
        """The numbers of some dimensions (None: all) at the end, in one: […, n]."""
        rank = self.x.dim()
        if not rank:
            return self.x.reshape(1)
        chosen = [dims] if isinstance(dims, int) else dims
        away = sorted(dim % rank for dim in chosen) if chosen else list(range(rank))
        kept = [dim for dim in range(rank) if dim not in away]
        return self.x.permute(*kept, *away).reshape(*(self.x.shape[dim] for dim in kept), -1)


def name_of(func: Any) -> str:
    """Of an operator, the same whether it writes to its argument or not."""
    return str(func._schema.name).removeprefix("aten::").removesuffix("_")


def _rounding(terms: torch.Tensor, *, running: bool = False) -> torch.Tensor:
    return torch.from_numpy(np.asarray(rounding(terms.detach().numpy(), running=running)))


def _total(call: Call) -> Change:
    """sum, nansum, mean; their dimensions may be kept."""
    terms = call.terms(call["dim"])
    sizes = _rounding(terms) / (terms.shape[-1] if name_of(call.func) == "mean" else 1)
    return lambda errors, result: _add(result, errors.of(sizes.reshape(result.shape)))


def _loss(call: Call) -> Change | None:
    """mse_loss and its like, which add up what they are of each element: an autoencoder's error, say."""
    if not call["reduction"]:
        return None
    terms = call.plain(call.x, **{**call.named, "reduction": 0}).reshape(-1)
    sizes = _rounding(terms) / (terms.numel() if call["reduction"] == 1 else 1)
    return lambda errors, result: _add(result, errors.of(sizes))


def _running(call: Call) -> Change:
    """cumsum."""
    x = call.x.reshape(1) if not call.x.dim() else call.x
    sizes = _rounding(x.movedim(call["dim"], -1), running=True).movedim(-1, call["dim"])
    return lambda errors, result: _add(result, errors.of(sizes.reshape(result.shape)))


def _pool(call: Call) -> Change:
    """Averages of windows: what they are of the absolute values, and the part of it that a window's sum is off by."""
    sizes = call.plain(call.x.abs(), *call.args[1:], **call.kwargs)
    sizes = sizes * window_parts(call.x, _windows(call, sizes.shape))
    return lambda errors, result: _add(result, errors.of(sizes))


def _windows(call: Call, shape: torch.Size) -> list[Windows]:
    axes = 3 if "3d" in name_of(call.func) else 2
    if call["kernel_size"] is None:
        return [adaptive_windows(call.x.shape[axis], shape[axis]) for axis in range(-axes, 0)]
    pads = [call["padding"]] if isinstance(call["padding"], int) else call["padding"]
    said = (call["kernel_size"], call["stride"] or call["kernel_size"], pads)
    # One number stands for all axes.
    along = ([each[axis % len(each)] for each in said] for axis in range(axes))
    return [windows(call.x.shape[axis - axes], shape[axis - axes], *each) for axis, each in enumerate(along)]


def _spread(call: Call) -> Change:
    """var and std, of whose mean an error comes back squared; var_mean and std_mean."""
    terms = call.terms(call["dim"])
    count, free = terms.shape[-1], 1 if call["correction"] is None else call["correction"]
    mean = _rounding(terms) / count
    squares = _rounding((terms - terms.mean(-1, keepdim=True)) ** 2)
    is_root = name_of(call.func).startswith("std")

    def change(errors: Errors, result: Any) -> None:
        spread, *means = result if isinstance(result, tuple) else (result,)
        moved = errors.of(mean)
        for each in means:
            _add(each, moved.reshape(each.shape))
        more = ((errors.of(squares) + count * moved**2) / max(count - free, 1)).reshape(spread.shape)
        before = spread.clone()
        after = ((before**2 if is_root else before) + more).clamp(min=0)
        _add(spread, (after.sqrt() if is_root else after) - before)

    return change


def _length(call: Call) -> Change | None:
    """A vector's norm."""
    given = call["p"] if call["ord"] is None else call["ord"]
    return _norm(call.terms(call["dim"]), 2.0 if given is None else float(given))


def _distance(call: Call) -> Change | None:
    """dist: the norm of a difference."""
    return _norm((call.x - call["other"]).reshape(-1), float(call["p"]))


def _norm(terms: torch.Tensor, order: float) -> Change | None:
    terms = terms.abs()
    if order == 2:
        sizes = _rounding(terms**2)
        return lambda errors, result: _add(
            result, (result**2 + errors.of(sizes.reshape(result.shape))).clamp(min=0).sqrt() - result
        )
    if math.isinf(order) or order == 0:
        return None
    powers = terms**order
    parts = (_rounding(powers) / powers.sum(-1)).nan_to_num() / abs(order)
    return lambda errors, result: _add(result, errors.of(parts.reshape(result.shape) * result))


def _weights(call: Call) -> Change:
    """softmax: shares of a sum, in the range 0 … 1.

    Errors of the shares have signs of their own: alike, they would be no shares of 1 any more, and 4096 of them
    would hide half precision in whatever they weigh.
    """
    sizes = _exponentials(call, call["dim"])

    def change(errors: Errors, result: torch.Tensor) -> None:
        more = -result * errors.of(sizes)
        if errors.pattern == EACH:
            more = more + errors.of(torch.full_like(result, ULP))
        _add(result, (result + more).clamp(0, 1) - result)

    return change


def _logarithm(call: Call) -> Change:
    """log_softmax and logsumexp: of a sum."""
    sizes = _exponentials(call, call["dim"])
    return lambda errors, result: _add(
        result, errors.of(sizes.reshape(result.shape) if sizes.numel() == result.numel() else sizes)
    )


def _exponentials(call: Call, dims: Any) -> torch.Tensor:
    """What the sum of the exponentials is off by, as a part of it; the dimensions are kept."""
    chosen = [dims] if isinstance(dims, int) else list(dims or range(call.x.dim()))
    terms = call.terms(chosen)
    terms = (terms - terms.amax(-1, keepdim=True)).exp()
    away = {dim % max(call.x.dim(), 1) for dim in chosen}
    shape = [1 if index in away else size for index, size in enumerate(call.x.shape)]
    return (_rounding(terms) / terms.sum(-1)).reshape(shape)


def _layer_norm(call: Call) -> Change:
    dims = len(call["normalized_shape"])
    groups = call.x.reshape(*call.x.shape[: call.x.dim() - dims], -1)
    weight = call["weight"].reshape(-1) if call["weight"] is not None else None
    return _normalized(groups, weight, call["eps"], lambda moved: moved)


def _group_norm(call: Call) -> Change:
    shape = (call["N"], call["group"], call["C"] // call["group"], call["HxW"])
    groups = call.x.reshape(*shape[:2], -1)
    weight = call["weight"].reshape(shape[1:3]).repeat_interleave(shape[3], 1) if call["weight"] is not None else None
    return _normalized(groups, weight, call["eps"], lambda moved: moved)


def _batch_norm(call: Call) -> Change | None:
    """With the statistics of the batch, also for instance norm."""
    if not (call["training"] or call["running_mean"] is None):
        return None
    turned = call.x.movedim(1, 0)
    weight = call["weight"].reshape(-1, 1) if call["weight"] is not None else None
    groups = turned.reshape(turned.shape[0], -1)
    return _normalized(groups, weight, call["eps"], lambda moved: moved.reshape(turned.shape).movedim(0, 1))


def _normalized(
    groups: torch.Tensor, weight: torch.Tensor | None, eps: float, back: Callable[[torch.Tensor], torch.Tensor]
) -> Change:
    """Of groups […, n]: their means and variances are moved."""
    count = groups.shape[-1]
    mean = groups.mean(-1, keepdim=True)
    variance = ((groups - mean) ** 2).mean(-1, keepdim=True)
    means = _rounding(groups).unsqueeze(-1) / count
    squares = _rounding((groups - mean) ** 2).unsqueeze(-1) / count

    def change(errors: Errors, result: Any) -> None:
        moved = errors.of(means)
        spread = (variance + errors.of(squares) + moved**2).clamp(min=0)
        more = (groups - mean - moved) * (spread + eps).rsqrt() - (groups - mean) * (variance + eps).rsqrt()
        more = more + errors.of(torch.full_like(more, ULP))
        more = more if weight is None else more * weight
        first = result[0]
        _add(first, back(more).reshape(first.shape))

    return change


def _scattered(call: Call) -> Change | None:
    """scatter_add, index_add, and scatter_reduce's sums: each place is a sum of what is sent there."""
    if call["reduce"] not in (None, "sum", "mean"):
        return None
    source = call["src"] if call["source"] is None else call["source"]
    more = dict(call.kwargs)
    if call["alpha"] is not None:
        source, more["alpha"] = source * call["alpha"], 1
    named = {"reduce": "sum"} if call["reduce"] is not None else {}

    def run(x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        return call.plain(x, call["dim"], call["index"], source, **more | named)

    # A mean is divided by as many as are counted.
    return _collected(call.x, source, run, is_mean=call["reduce"] == "mean")


def _put(call: Call) -> Change | None:
    """index_put, where it accumulates."""
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
    """Sums of what is sent to each place: torch itself adds them one after the other."""
    sizes = run(x.abs(), source.abs())
    counts = run(torch.ones_like(x), torch.ones_like(source))
    narrow, other = x.float(), source.float()
    # Twice, for this is the end alone: roundings of equal numbers change their sign along the way.
    astray = 2 * (run(narrow, other).double() - run(narrow.double(), other.double())).abs()
    bounds = torch.from_numpy(np.asarray(counted(counts.numpy(), sizes.numpy(), astray.numpy())))
    bounds = bounds / counts if is_mean else bounds
    return lambda errors, result: _add(result, errors.of(bounds))


def _within(low: float, high: float) -> Callable[[Call], Change]:
    """A function of a bounded range."""
    size = ULP * max(abs(low), abs(high))

    def known(call: Call) -> Change:
        return lambda errors, result: _add(
            result, (result + errors.of(torch.full_like(result, size))).clamp(low, high) - result
        )

    return known


def _hardtanh(call: Call) -> Change | None:
    """Not relu6, which is exact, and amid networks."""
    low, high = (float(call[name]) for name in ("min_val", "max_val"))
    return _within(low, high)(call) if low < 0 and math.isfinite(low) and math.isfinite(high) else None


def _exponential_unit(call: Call) -> Change:
    """elu, selu (an elu of another scale), celu, expm1: exp(x) − 1 where x is negative, times a constant."""
    alpha, scale = (1.0 if call[name] is None else float(call[name]) for name in ("alpha", "scale"))
    is_all = name_of(call.func) == "expm1"  # the others leave what is positive as it is
    sizes = torch.where((call.x < 0) | is_all, ULP * abs(alpha * scale), 0.0).to(torch.float64)
    return lambda errors, result: _add(result, errors.of(sizes))


def _times_bounded(call: Call) -> Change:
    """silu, gelu, mish: x times a sigmoid, a tanh or an erf."""
    sizes = ULP * call.x.abs()
    return lambda errors, result: _add(result, errors.of(sizes))


def _gated(call: Call) -> Change:
    """glu: one half times the sigmoid of the other."""
    sizes = ULP * call.x.chunk(2, call["dim"])[0].abs()
    return lambda errors, result: _add(result, errors.of(sizes))


def _add(result: torch.Tensor, more: torch.Tensor) -> None:
    """In place, where the result is a number."""
    result.add_(torch.where(result.isfinite(), more, 0.0))


CHANGES: dict[str, Callable[[Call], Change | None]] = {
    **dict.fromkeys(("sum", "nansum", "mean"), _total),
    **dict.fromkeys(("mse_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy"), _loss),
    **dict.fromkeys(("binary_cross_entropy_with_logits", "soft_margin_loss"), _loss),
    "cumsum": _running,
    **dict.fromkeys(("avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), _pool),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), _spread),
    **dict.fromkeys(("linalg_vector_norm", "norm"), _length),
    "dist": _distance,
    **dict.fromkeys(("_softmax", "_safe_softmax"), _weights),
    **dict.fromkeys(("_log_softmax", "logsumexp"), _logarithm),
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit"), _batch_norm),
    **dict.fromkeys(("scatter_add", "index_add", "scatter_reduce"), _scattered),
    **dict.fromkeys(("index_put", "_index_put_impl"), _put),
    **dict.fromkeys(("sigmoid", "hardsigmoid"), _within(0, 1)),
    **dict.fromkeys(("tanh", "erf", "sin", "cos"), _within(-1, 1)),
    "erfc": _within(0, 2),
    "sinc": _within(-0.25, 1),
    **dict.fromkeys(("atan", "asin"), _within(-math.pi / 2, math.pi / 2)),
    "acos": _within(0, math.pi),
    "atan2": _within(-math.pi, math.pi),
    "hardtanh": _hardtanh,
    **dict.fromkeys(("elu", "celu", "expm1"), _exponential_unit),
    **dict.fromkeys(("silu", "gelu", "mish"), _times_bounded),
    "glu": _gated,
}
