"""How far the sum of each window of a pooling may be off, as a part of the sum of its absolute values."""

from __future__ import annotations

import math

import numpy as np
import torch

from .summation import UNIT, rounding

# For windows of up to so many elements the whole bound counts: an error such as a forgotten element is far above it.
FEW = 64
# The most elements that are added, one in several windows counted for each: beyond, the whole bound counts.
MUCH = 1 << 23

# (starts[m], ends[m]) of the windows along an axis, within the input.
Windows = tuple[torch.Tensor, torch.Tensor]


def windows(given: int, made: int, size: int, stride: int, pad: int) -> Windows:
    """Return the windows along one axis; what is padded is 0, and left out.

    Args:
        given: the axis's elements.
        made: how many windows there are.
        size: a window's elements.
        stride: from one window's start to the next.
        pad: how many zeros stand before the axis.
    """
    starts = torch.arange(made) * stride - pad
    return starts.clamp(0, given), (starts + size).clamp(0, given)


def adaptive_windows(given: int, made: int) -> Windows:
    """Return the windows of adaptive pooling along one axis, from ``given`` elements to ``made``."""
    places = torch.arange(made)
    return places * given // made, -((places + 1) * -given // made)


def window_parts(x: torch.Tensor, along: list[Windows]) -> torch.Tensor:
    """Bound the error of each window's sum, as a part of its absolute sum; see harness.parity.rounding.summation.

    Args:
        x: float64[…, one axis for each of along].
        along: the windows along each of these axes.
    """
    shape = (*x.shape[: x.dim() - len(along)], *(len(starts) for starts, _ in along))
    count = math.prod(int((ends - starts).max()) for starts, ends in along)
    if count <= FEW or math.prod(shape) * count > MUCH:
        return torch.full(shape, math.sqrt(count) * UNIT, dtype=torch.float64)
    # Pad each axis by one 0, which windows that are shorter than the longest read.
    padded = torch.nn.functional.pad(x, (0, 1) * len(along))
    starts, ends = along[0]
    firsts = ((starts[place : place + 1], ends[place : place + 1]) for place in range(len(starts)))
    return torch.cat([_part(padded, [first, *along[1:]]) for first in firsts], dim=-len(along))


def _part(padded: torch.Tensor, along: list[Windows]) -> torch.Tensor:
    axes = len(along)
    for axis, (starts, ends) in zip(range(-axes, 0), along, strict=True):
        places = starts[:, None] + torch.arange(int((ends - starts).max()))
        places = torch.where(places < ends[:, None], places, padded.shape[axis] - 1)
        padded = torch.unflatten(padded.index_select(axis, places.reshape(-1)), axis, places.shape)
    within = range(-2 * axes + 1, 0, 2)
    terms = padded.movedim(tuple(within), tuple(range(-axes, 0))).flatten(-axes)
    bounds = torch.from_numpy(np.asarray(rounding(terms.numpy())))
    return (bounds / terms.abs().sum(-1)).nan_to_num(posinf=0.0)
