"""Right models, and what a wrong backend would compute in their place: the check must tell them apart.

No backend is known to be wrong in these ways. But they are what a rule could hide that is wide enough for sums in any
order; and half precision and TF32 in products of matrices are what one could hide that is as wide for these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import Input, Model

from . import function, values

Function = Callable[..., Any]


@dataclass(frozen=True)
class Impostor:
    """A model, and a function in its place that is wrong."""

    model: Model
    wrong: Function


def half(x: Tensor) -> Tensor:
    """Rounded to half precision."""
    return x.half().float()


def tf32(x: Tensor) -> Tensor:
    """Rounded to a mantissa of 10 bits, as graphics processors do before they multiply."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def _pair(right: Function, wrong: Function, *inputs: Input) -> Impostor:
    return Impostor(function(right, *inputs), wrong)


def _numbers(count: int) -> Input:
    return values("b", count, low=0.0, high=1.0)


def _picture(side: int, channels: int = 2) -> Input:
    return values("b", channels, side, side, low=0.0, high=1.0, name="image")


def sum_in_half(count: int) -> Impostor:
    """Added in float32 even, and then rounded."""
    return _pair(lambda x: x.sum(-1), lambda x: half(x.sum(-1)), _numbers(count))


def mean_of_one_less(count: int) -> Impostor:
    """Divided by n − 1."""
    return _pair(lambda x: x.mean(-1), lambda x: x.sum(-1) / (x.shape[-1] - 1), _numbers(count))


def short_window(count: int) -> Impostor:
    """One number forgotten."""
    return _pair(lambda x: x.mean(-1), lambda x: x[..., :-1].mean(-1), _numbers(count))


def unbiased_variance(count: int) -> Impostor:
    """Divided by n − 1 where n is wanted."""
    return _pair(lambda x: x.var(-1, correction=0), lambda x: x.var(-1), _numbers(count))


def unbiased_deviation(count: int) -> Impostor:
    """Likewise."""
    return _pair(lambda x: x.std(-1, correction=0), lambda x: x.std(-1), _numbers(count))


def layer_norm_unbiased(count: int) -> Impostor:
    """Scaled by the unbiased deviation."""

    def wrong(x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt()

    return _pair(lambda x: functional.layer_norm(x, (count,)), wrong, _numbers(count))


def group_norm_in_half(side: int) -> Impostor:
    """Of a picture, whose elements are rounded before."""
    return _pair(lambda x: functional.group_norm(x, 1), lambda x: functional.group_norm(half(x), 1), _picture(side))


def pool_without_border(window: int) -> Impostor:
    """The zeros beside a picture are not counted."""

    def pool(x: Tensor, counted: bool) -> Tensor:
        return functional.avg_pool2d(x, window, window, window // 2, count_include_pad=counted)

    return _pair(lambda x: pool(x, True), lambda x: pool(x, False), _picture(2 * window))


def global_pool_of_one_row_less(side: int) -> Impostor:
    """The last row is forgotten."""
    return _pair(
        lambda x: functional.adaptive_avg_pool2d(x, 1),
        lambda x: functional.adaptive_avg_pool2d(x[..., :-1, :], 1),
        _picture(side),
    )


def running_sum_in_half(count: int) -> Impostor:
    """Of numbers that were rounded."""
    return _pair(lambda x: x.cumsum(-1), lambda x: half(x).cumsum(-1), _numbers(count))


def running_sum_without_itself(count: int) -> Impostor:
    """Each number's sum ends before it."""
    return _pair(lambda x: x.cumsum(-1), lambda x: x.cumsum(-1) - x, _numbers(count))


def softmax_in_half(count: int) -> Impostor:
    """Its sum is rounded."""

    def wrong(x: Tensor) -> Tensor:
        powers = (x - x.amax(-1, keepdim=True)).exp()
        return powers / half(powers.sum(-1, keepdim=True))

    return _pair(lambda x: x.softmax(-1), wrong, values("b", count))


def length_in_half(count: int) -> Impostor:
    """A vector is scaled by a length that is rounded."""
    return _pair(functional.normalize, lambda x: x / half(x.norm(dim=-1, keepdim=True)), _numbers(count))


def linear(count: int, rounded: Function) -> Impostor:
    """A product of a matrix and a vector, of which both are rounded before."""
    weight = torch.randn(8, count, generator=torch.Generator().manual_seed(0)) / count**0.5
    return _pair(
        lambda x: functional.linear(x, weight),
        lambda x: functional.linear(rounded(x), rounded(weight)),
        values("b", count),
    )


def product(count: int, rounded: Function) -> Impostor:
    """A product of two matrices that are both inputs, as in attention."""
    return _pair(
        lambda x, y: x @ y / count,
        lambda x, y: rounded(x) @ rounded(y) / count,
        values("b", 4, count),
        values("b", count, 4, name="y"),
    )


def convolution(count: int, rounded: Function) -> Impostor:
    """A 3 × 3 convolution, whose sums have so many numbers."""
    channels = -(-count // 9)
    weight = torch.randn(4, channels, 3, 3, generator=torch.Generator().manual_seed(0)) / count**0.5
    return _pair(
        lambda x: functional.conv2d(x, weight),
        lambda x: functional.conv2d(rounded(x), rounded(weight)),
        values("b", channels, 5, 5),
    )


def pooled(count: int, rounded: Function) -> Impostor:
    """A network with both: its convolution is rounded, and a long sum follows."""
    weight = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(0)) / 5
    side = round(count**0.5)

    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return functional.conv2d(x, weight, padding=1).relu().mean((-1, -2))

    return _pair(
        lambda x: forward(x, weight), lambda x: forward(rounded(x), rounded(weight)), _picture(side, channels=3)
    )


def activation(right: nn.Module, wrong: Function) -> Impostor:
    """Of a bounded range, or nearly so."""
    return _pair(right, wrong, values("b", 16, low=-6.0, high=6.0))


SUMS = {
    f"{make.__name__.replace('_', '-')}-{size}": (lambda make=make, size=size: make(size))
    for make, sizes in {
        sum_in_half: (16, 4096, 65_536),
        mean_of_one_less: (16, 4096, 16_384),
        short_window: (16, 4096, 16_384),
        unbiased_variance: (16, 4096, 16_384),
        unbiased_deviation: (16, 4096),
        layer_norm_unbiased: (16, 1024, 4096),
        group_norm_in_half: (8, 64, 128),
        pool_without_border: (2, 3, 15, 64),
        global_pool_of_one_row_less: (8, 64, 240),
        running_sum_in_half: (16, 500, 4096),
        running_sum_without_itself: (16, 4096),
        softmax_in_half: (16, 256),
        length_in_half: (16, 4096),
    }.items()
    for size in sizes
}
PRODUCTS = {
    f"{make.__name__}-{rounded.__name__}-{size}": (lambda make=make, size=size, rounded=rounded: make(size, rounded))
    for make in (linear, product, convolution)
    for rounded in (half, tf32)
    for size in (64, 512, 4096)
}
MIXED = {
    f"pooled-{rounded.__name__}-{size}": (lambda size=size, rounded=rounded: pooled(size, rounded))
    for rounded in (half, tf32)
    for size in (256, 16_384)
}
RANGES = {
    "tanh-in-half": lambda: activation(nn.Tanh(), lambda x: half(x.tanh())),
    "sigmoid-in-half": lambda: activation(nn.Sigmoid(), lambda x: half(x.sigmoid())),
    "gelu-by-tanh": lambda: activation(nn.GELU(), lambda x: functional.gelu(x, approximate="tanh")),
    "elu-of-another-alpha": lambda: activation(nn.ELU(), lambda x: functional.elu(x, 1.001)),
    "selu-as-elu": lambda: activation(nn.SELU(), functional.elu),
    "hardsigmoid-for-sigmoid": lambda: activation(nn.Sigmoid(), functional.hardsigmoid),
    "sine-in-half": lambda: _pair(torch.sin, lambda x: half(x).sin(), values("b", 16)),
}
IMPOSTORS: dict[str, Callable[[], Impostor]] = SUMS | PRODUCTS | MIXED | RANGES
