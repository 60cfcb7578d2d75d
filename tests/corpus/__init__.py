"""Models for the parity check: ``clean`` ones must pass on every backend, with every seed; ``bad`` ones must fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness import Closeness, Input, Model

Make = Callable[[], nn.Module]
Dims = dict[str, tuple[int, int]]

BATCH: Dims = {"b": (1, 8)}
SEQUENCE: Dims = {"b": (1, 8), "t": (1, 8)}


class Apply(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        """What the function says."""
        return self.function(*tensors)


def model(make: Make, *inputs: Input, dims: Dims | None = None, tolerance: float | Closeness = 30.0) -> Model:
    """A model with seeded weights, in eval mode; ``dims`` are those of its inputs, a batch where none are given."""

    def build() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = make()
            _train(module)
        return module.eval()

    used = {size for item in inputs for size in item.shape if isinstance(size, str)}
    return Model(build, inputs, dims={**dict.fromkeys(used, BATCH["b"]), **(dims or {})}, tolerance=tolerance)


def function(function: Callable[..., Any], *inputs: Input, dims: Dims | None = None) -> Model:
    """A model that is one function, without weights."""
    return model(lambda: Apply(function), *inputs, dims=dims)


def _train(module: nn.Module) -> None:
    """What training would have changed: a norm that scales by 1 and shifts by 0 would hide what is done to it."""
    for part in module.modules():
        if isinstance(part, (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)) and part.bias is not None:
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
        if isinstance(part, nn.modules.batchnorm._NormBase) and isinstance(part.running_mean, Tensor):
            nn.init.uniform_(part.running_mean, -1.0, 1.0)
            nn.init.uniform_(part.running_var, 0.5, 2.0)  # type: ignore[arg-type]


def image(channels: int = 3, size: int = 16, low: float = -2.0, high: float = 2.0) -> Input:
    """A batch of images."""
    return Input("image", ("b", channels, size, size), min_value=low, max_value=high)


def values(*shape: int | str, low: float = -2.0, high: float = 2.0, name: str = "x", **more: Any) -> Input:
    """Numbers of a range."""
    return Input(name, shape, min_value=low, max_value=high, **more)


def tokens(count: int, shape: Sequence[int | str] = ("b", "t"), name: str = "tokens") -> Input:
    """Numbers of words."""
    return Input(name, shape, "int64", 0, count - 1)
