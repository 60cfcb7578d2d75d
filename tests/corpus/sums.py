"""Long sums and bounded functions: right in whatever order they are added, and to a unit of the function's range."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import Model

from . import Dims, function, model, values

FEW: Dims = {"b": (1, 2)}


class VoiceDetector(nn.Module):
    """Frames of sound, a recurrent layer, and how likely each frame is speech: mostly not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.Conv1d(1, 16, 64, stride=32)
        self.layer = nn.LSTM(16, 16, batch_first=True)
        self.head = nn.Linear(16, 1)
        nn.init.constant_(self.head.bias, -7.0)

    def forward(self, sound: Tensor) -> Tensor:
        """A probability for each frame."""
        steps, _ = self.layer(self.frames(sound[:, None]).relu().movedim(1, 2))
        answer: Tensor = self.head(steps)[..., 0].sigmoid()
        return answer


class Policy(nn.Module):
    """Three layers with ELU, and an action in the range −1 … 1 that is mostly small."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (24, 64, 32, 16)
        parts = [part for one, two in pairwise(sizes) for part in (nn.Linear(one, two), nn.ELU())]
        self.layers = nn.Sequential(*parts, nn.Linear(16, 4), nn.Tanh())

    def forward(self, state: Tensor) -> Tensor:
        """The action."""
        action: Tensor = self.layers(state)
        return action


class Odometry(nn.Module):
    """Poses as running sums of steps, whose directions are a running sum."""

    def forward(self, steps: Tensor) -> Tensor:
        """Two coordinates a step."""
        heading = steps[..., 0].cumsum(-1)
        return torch.stack([(turn * steps[..., 1]).cumsum(-1) for turn in (heading.cos(), heading.sin())], -1)


def soft_argmax(x: Tensor) -> Tensor:
    """Where the largest numbers of a picture are, on the average."""
    weights = x.flatten(1).softmax(-1).reshape(x.shape)
    rows, columns = (torch.linspace(0, 1, size) for size in x.shape[1:])
    return torch.stack([(weights.sum(2) * rows).sum(1), (weights.sum(1) * columns).sum(1)], -1)


def loudness(sound: Tensor) -> Tensor:
    """In decibels, over the whole of it."""
    return 10 * torch.log10(sound.square().mean(-1) + 1e-6)


PICTURE = values("b", 3, 120, 160, low=0.0, high=255.0, name="image")
LONG_SUMS: dict[str, Model] = {
    "global-pool-picture": model(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
        values("b", 3, 160, 240, low=0.0, high=1.0, name="image"),
        dims=FEW,
    ),
    "mean-and-deviation-picture": function(
        lambda x: (x.mean((2, 3)), x.std((2, 3)), x.var((1, 2, 3), correction=0)), PICTURE, dims=FEW
    ),
    "group-norm-picture": model(lambda: nn.GroupNorm(1, 3), PICTURE, dims=FEW),
    "instance-norm-picture": model(lambda: nn.InstanceNorm2d(3, affine=True), PICTURE, dims=FEW),
    "layer-norm-picture": model(lambda: nn.LayerNorm([3, 120, 160]), PICTURE, dims=FEW),
    "reconstruction-error": function(
        lambda x: (functional.mse_loss(x, x.flip(-1)), functional.smooth_l1_loss(x, x * 0)), PICTURE, dims=FEW
    ),
    "average-pool-picture": model(lambda: nn.AvgPool2d((60, 80), (30, 40)), PICTURE, dims=FEW),
    "loudness": function(loudness, values("b", 80_000, low=-1.0, high=1.0, name="sound"), dims=FEW),
    "odometry": model(
        Odometry, values("b", "t", 2, low=-1.0, high=1.0, name="steps"), dims={"b": (1, 2), "t": (1, 500)}
    ),
    "soft-argmax": function(soft_argmax, values("b", 120, 160, name="image"), dims=FEW),
    "logsumexp-long": function(lambda x: x.logsumexp(-1), values("b", 20_000, low=-5.0, high=5.0), dims=FEW),
    # ONNX Runtime's ReduceL2 adds one after the other: of more than 14 000 equal numbers that may be beyond 30.
    "length-long": function(functional.normalize, values("b", 10_000), dims=FEW),
    # Equal numbers, added one by one: each addition rounds the same way. PyTorch adds in blocks, or in float64.
    "mean-100000": function(lambda x: (x / 2).mean(-1) * 2, values(100_000, low=9990.0, high=10010.0)),
    "mean-10000": function(lambda x: (x / 2).mean(-1) * 2, values("b", 10_000, low=0.0, high=1.0)),
    "mean-10000-signed": function(lambda x: (x / 2).mean(-1) * 2, values("b", 10_000)),
    "cumulative-sum-2000": function(lambda x: (x / 2).cumsum(-1) * 2, values("b", 2000)),
    "sum-100000": function(lambda x: (x / 2).sum(-1) * 2, values(100_000, low=0.0, high=0.2)),
}
RANGES: dict[str, Model] = {
    "voice-detector": model(VoiceDetector, values("b", 512, low=-1.0, high=1.0, name="sound")),
    "policy": model(Policy, values("b", 24, name="state")),
    "elu-small": model(nn.ELU, values("b", 16, low=-0.01, high=0.01)),
    "elu-layers": model(
        lambda: nn.Sequential(
            OrderedDict(one=nn.Linear(16, 16), act=nn.ELU(0.5), two=nn.Linear(16, 16), last=nn.ELU())
        ),
        values("b", 16, low=-0.01, high=0.01),
    ),
    "selu-small": model(nn.SELU, values("b", 16, low=-0.01, high=0.01)),
    "celu-small": model(lambda: nn.CELU(0.3), values("b", 16, low=-0.01, high=0.01)),
    "expm1": function(torch.expm1, values("b", 16, low=-20.0, high=5.0)),
    "expm1-small": function(torch.expm1, values("b", 16, low=-1e-3, high=1e-3)),
    "sigmoid-tail": function(torch.sigmoid, values("b", 16, low=-16.0, high=-6.0)),
    "silu-tail": function(functional.silu, values("b", 16, low=-16.0, high=-6.0)),
    "gelu-tail": function(functional.gelu, values("b", 16, low=-5.0, high=-3.0)),
    "tanh-small": function(torch.tanh, values("b", 16, low=-1e-2, high=1e-2)),
    "erf-small": function(torch.erf, values("b", 16, low=-1e-2, high=1e-2)),
    "sine-small": function(lambda x: (x.sin(), (x + 1.5707963).cos()), values("b", 16, low=-1e-2, high=1e-2)),
    "softmax-many": function(lambda x: x.softmax(-1), values("b", 1000, low=-10.0, high=10.0)),
}
