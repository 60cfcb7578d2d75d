"""Models that every backend answers rightly: whatever the check finds here is a false alarm.

The ranges of the inputs are those that a user would declare, the awkward ones on purpose.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from harness import Closeness, Input, Model

from . import BATCH, SEQUENCE, Apply, Make, arithmetic, function, image, model, tokens, values
from .networks import (
    Attention,
    Detector,
    Encoder,
    FusedAttention,
    Quantized,
    Recurrent,
    Residual,
    RMSNorm,
    UNet,
)
from .sums import LONG_SUMS, RANGES


@dataclass(frozen=True)
class Clean:
    """A model.

    Attributes:
        quick: whether it is tried in the normal run too.
    """

    model: Model
    quick: bool = False


def _block(*parts: nn.Module) -> nn.Sequential:
    """Convolutions, then a class for each image."""
    channels = [part.out_channels for part in parts if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d))][-1]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 5))


CONVOLUTIONS = {
    "conv-plain": Clean(
        model(
            lambda: _block(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU()),
            image(low=0.0, high=1.0),
        ),
        quick=True,
    ),
    "conv-batch-norm": Clean(
        model(
            lambda: nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                Residual(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())),
                nn.Conv2d(8, 4, 1),
            ),
            image(),
        ),
        quick=True,
    ),
    "conv-depthwise": Clean(
        model(
            lambda: _block(
                nn.Conv2d(3, 12, 1),
                nn.Conv2d(12, 12, 3, padding=1, groups=12),
                nn.BatchNorm2d(12),
                nn.Hardswish(),
                nn.Conv2d(12, 8, 1),
            ),
            image(),
        )
    ),
    "conv-dilated": Clean(
        model(lambda: _block(nn.Conv2d(3, 6, 3, dilation=2), nn.ReLU(), nn.Conv2d(6, 6, 3, dilation=3)), image())
    ),
    "conv-transposed": Clean(
        model(
            lambda: nn.Sequential(
                nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1), nn.Tanh()
            ),
            image(),
        )
    ),
    "conv-grouped": Clean(
        model(lambda: _block(nn.Conv2d(3, 12, 3), nn.ELU(), nn.Conv2d(12, 12, 3, groups=4), nn.ELU()), image())
    ),
    "conv-1d": Clean(
        model(
            lambda: nn.Sequential(nn.Conv1d(2, 8, 5, padding=2), nn.GELU(), nn.Conv1d(8, 3, 5, stride=2)),
            values("b", 2, "t"),
            dims=BATCH | {"t": (8, 40)},
        )
    ),
    "conv-3d": Clean(
        model(lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AvgPool3d(2)), values("b", 1, 8, 8, 8))
    ),
    "conv-any-size": Clean(
        model(
            lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(8, 2, 1)),
            values("b", 3, "h", "w"),
            dims=BATCH | {"h": (1, 17), "w": (1, 18)},
        )
    ),
    "unet": Clean(model(UNet, image()), quick=True),
}

FUNCTIONS: dict[str, Make] = {
    "gelu": nn.GELU,
    "gelu-tanh": lambda: nn.GELU("tanh"),
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "leaky-relu": lambda: nn.LeakyReLU(0.1),
    "prelu": nn.PReLU,
    "relu6": nn.ReLU6,
    "softsign": nn.Softsign,
    "erf": lambda: Apply(torch.erf),
    "softmax": lambda: nn.Softmax(-1),
    "log-softmax": lambda: nn.LogSoftmax(-1),
}
# One by one: where one is off, the others beside it would not be looked at.
ACTIVATIONS = {
    name: Clean(model(make, values("b", 16, low=-20.0, high=20.0)), quick=name in ("gelu", "hardswish"))
    for name, make in FUNCTIONS.items()
}

SEQUENCES = {
    "transformer-encoder": Clean(model(Encoder, tokens(50), dims=SEQUENCE), quick=True),
    "transformer-encoder-after": Clean(
        model(
            lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 1),
            values("b", 5, 16),
        )
    ),
    "attention": Clean(model(Attention, values("b", "t", 16), dims=SEQUENCE)),
    "attention-causal": Clean(model(lambda: Attention(causal=True), values("b", "t", 16), dims=SEQUENCE)),
    "attention-masked": Clean(
        model(Attention, values("b", "t", 16), Input("keep", ("b", "t"), "bool"), dims=SEQUENCE), quick=True
    ),
    "attention-fused": Clean(
        model(FusedAttention, values("b", "t", 16), Input("lengths", ("b",), "int64", 1, 8), dims=SEQUENCE)
    ),
    "lstm": Clean(model(lambda: Recurrent(nn.LSTM(8, 12, batch_first=True)), values("b", 7, 8)), quick=True),
    "lstm-two-layers": Clean(model(lambda: Recurrent(nn.LSTM(8, 12, 2, batch_first=True)), values("b", 5, 8))),
    "lstm-bidirectional": Clean(
        model(lambda: Recurrent(nn.LSTM(8, 6, batch_first=True, bidirectional=True)), values("b", 6, 8))
    ),
    "gru": Clean(model(lambda: Recurrent(nn.GRU(8, 12, batch_first=True)), values("b", 7, 8))),
    "rnn": Clean(model(lambda: Recurrent(nn.RNN(8, 12, batch_first=True)), values("b", 7, 8))),
    "embedding": Clean(model(lambda: nn.Sequential(nn.Embedding(30, 8), nn.Linear(8, 4)), tokens(30), dims=SEQUENCE)),
    "embedding-sum": Clean(model(lambda: nn.EmbeddingBag(40, 6, mode="sum"), tokens(40, ("b", 9)))),
}

LAYERS = {
    "layer-norm": Clean(model(lambda: nn.Sequential(nn.Linear(12, 24), nn.LayerNorm(24)), values("b", 12)), quick=True),
    "layer-norm-alone": Clean(model(lambda: nn.LayerNorm(32), values("b", 32, low=-100.0, high=100.0))),
    "group-norm": Clean(model(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU()), image())),
    "instance-norm": Clean(
        model(lambda: nn.Sequential(nn.InstanceNorm2d(3, affine=True), nn.Conv2d(3, 4, 3)), image())
    ),
    "batch-norm": Clean(model(lambda: nn.Sequential(nn.BatchNorm1d(10), nn.Linear(10, 4)), values("b", 10))),
    "rms-norm": Clean(model(lambda: nn.Sequential(nn.Linear(12, 24), RMSNorm(24)), values("b", 12))),
    "rms-norm-torch": Clean(model(lambda: nn.RMSNorm(24), values("b", 24))),
    "local-response-norm": Clean(model(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.LocalResponseNorm(3)), image())),
    "max-pool": Clean(model(lambda: nn.MaxPool2d(3, 2, 1), image())),
    "avg-pool": Clean(model(lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), image())),
    "adaptive-pool": Clean(
        function(lambda x: (functional.adaptive_avg_pool2d(x, 4), functional.adaptive_max_pool2d(x, 2)), image())
    ),
    "global-pool": Clean(
        model(lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)), image()), quick=True
    ),
    "global-pool-alone": Clean(function(lambda x: x.mean((2, 3)), image(low=0.0, high=255.0))),
    "nearest": Clean(function(lambda x: functional.interpolate(x, scale_factor=2, mode="nearest"), image(2, 6))),
    "bilinear": Clean(function(lambda x: functional.interpolate(x, (13, 9), mode="bilinear"), image(2, 6))),
    "bilinear-corners": Clean(
        function(lambda x: functional.interpolate(x, (13, 9), mode="bilinear", align_corners=True), image(2, 6))
    ),
    "pixel-shuffle": Clean(model(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.PixelShuffle(2)), image())),
    "branches": Clean(
        function(lambda x: {"clamp": x.clamp(-1.0, 1.5), "sign": x.sign(), "abs": x.abs()}, values("b", 16)), quick=True
    ),
    "special-values": Clean(
        function(
            lambda x: {"relu": x.relu(), "line": x * 2 + 1, "root": x.sqrt(), "tanh": x.tanh(), "exp": x.exp()},
            values("b", 6, low=-50.0, high=50.0, allow_nan=True, allow_infinity=True),
        )
    ),
}

WHOLE = {
    "identity": Clean(model(nn.Identity, values("b", 5, low=-1e6, high=1e6))),
    "mlp": Clean(
        model(
            lambda: nn.Sequential(OrderedDict(one=nn.Linear(16, 32), act=nn.ReLU(), two=nn.Linear(32, 10))),
            values("b", 16),
        ),
        quick=True,
    ),
    "mlp-unbounded": Clean(
        model(lambda: nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)), Input("x", ("b", 16)))
    ),
    "mlp-float64": Clean(
        model(
            lambda: nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)).double(),
            values("b", 16, dtype="float64"),
        )
    ),
    "int8": Clean(  # where both sides round a tie differently, one of its 8 bits' steps is 1e5 ulps
        model(Quantized, values("b", 16), tolerance=Closeness(atol=0.01))
    ),
    "detector": Clean(model(Detector, image()), quick=True),
    "residual-chain": Clean(
        model(lambda: Residual(*(nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(30))), values("b", 16))
    ),
    "linear-2048": Clean(model(lambda: nn.Linear(2048, 16), values("b", 2048))),
    "large-offset": Clean(
        model(
            lambda: nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)),
            values("b", 16, low=999.0, high=1001.0),
        )
    ),
    "large-offset-conv": Clean(model(lambda: nn.Conv2d(3, 4, 3), image(low=9990.0, high=10010.0))),
    "pixels": Clean(
        model(lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU()), image(low=0.0, high=255.0))
    ),
}

NUMBERS = {
    "mean-100": Clean(function(lambda x: x.mean(-1), values("b", 100, low=0.0, high=1.0))),
    "variance": Clean(function(arithmetic.variance, values("b", 100, low=995.0, high=1005.0)), quick=True),
    "standardized": Clean(function(arithmetic.standardized, values("b", 64, low=90.0, high=110.0))),
    "cancellation": Clean(function(lambda x: x - x.mean(-1, keepdim=True), values("b", 50, low=990.0, high=1010.0))),
    "softmax-large": Clean(function(lambda x: x.softmax(-1), values("b", 12, low=-1e4, high=1e4))),
    "logsumexp": Clean(function(lambda x: x.logsumexp(-1), values("b", 12, low=-500.0, high=500.0))),
    "exp-normalized": Clean(function(arithmetic.exp_normalized, values("b", 12, low=-60.0, high=60.0))),
    "cosine": Clean(
        function(lambda x, y: functional.cosine_similarity(x, y, -1), values("b", 32), values("b", 32, name="y"))
    ),
    "division": Clean(
        function(lambda x, y: x / y, values("b", 8), values("b", 8, low=1e-3, high=2e-3, name="y")),
    ),
    "cumulative-sum": Clean(function(lambda x: x.cumsum(-1), values("b", 20))),
    "polynomial": Clean(  # at its root: with 30, zeros would pass as well, and nothing could be said
        model(lambda: Apply(arithmetic.polynomial), values("b", 10, low=0.9, high=1.1), tolerance=10.0)
    ),
    # Of two inputs that are constants at once, a product this long is what bad.SUMS is about.
    "product-2048": Clean(model(lambda: nn.Linear(2048, 5), values("b", 2048))),
    "distances": Clean(function(arithmetic.distances, values("b", 16), values(5, 16, name="y"))),
    "log-exp": Clean(function(lambda x: (x.log() * 0.5).exp(), values("b", 10, low=1e-6, high=1e6))),
    "sine": Clean(function(lambda x: (x.sin(), x.cos()), values("b", 10, low=-100.0, high=100.0))),
    "scalars": Clean(function(arithmetic.statistics, values("b", 10))),
    "integers": Clean(
        function(
            arithmetic.integers,
            Input("x", ("b", 5), "int64", -(10**9), 10**9),
            Input("y", ("b", 5), "int64", 1, 1000),
        ),
        quick=True,
    ),
    "tied": Clean(function(arithmetic.tied, values("b", 12, low=-3.0, high=3.0)), quick=True),
    "classes": Clean(function(arithmetic.classes, values("b", 8))),
    "booleans": Clean(function(arithmetic.booleans, values("b", 6), values("b", 6, name="y"))),
    "chosen": Clean(function(arithmetic.chosen, values("b", 6), values("b", 6, name="y"))),
    "best": Clean(function(arithmetic.best, values("b", 9))),
    "in-order": Clean(function(arithmetic.in_order, values("b", 9))),
    "gathered": Clean(function(arithmetic.gathered, values("b", 9), tokens(9, ("b", 4), "places"))),
    "scattered": Clean(function(arithmetic.scattered, values("b", 9), tokens(9, ("b", 9), "places"))),
    "one-hot": Clean(function(arithmetic.one_hot, tokens(7, ("b",), "places"))),
    "two-inputs": Clean(model(lambda: nn.Bilinear(6, 5, 4), values("b", 6, name="left"), values("b", 5, name="right"))),
    "three-inputs": Clean(
        function(
            lambda x, scale, places: (x * scale[:, None]).gather(1, places),
            values("b", 6),
            values("b", low=0.1, high=10.0, name="scale"),
            tokens(6, ("b", 3), "places"),
        )
    ),
}

# A few of them stand for their kind in the normal run.
QUICK = ("group-norm-picture", "odometry", "voice-detector", "elu-small")
ORDERS = {name: Clean(each, quick=name in QUICK) for name, each in (LONG_SUMS | RANGES).items()}

CLEAN: dict[str, Clean] = CONVOLUTIONS | ACTIVATIONS | SEQUENCES | LAYERS | WHOLE | NUMBERS | ORDERS
