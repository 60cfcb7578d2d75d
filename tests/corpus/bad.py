"""Models whose exports answer wrongly, with torch 2.13.0 and ONNX Runtime 1.32.0 on x86-64: the check must find them.

Each is a chain of modules, of which one is to blame. The inputs that show it are inside the declared ranges. A later
version that mends one makes its test fail: then it belongs to the clean ones.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from harness import Input, Model

from . import Apply, model, values

DYNAMO = "torch.onnx.export(dynamo=True)"
TRACED = "torch.onnx.export(dynamo=False)"


@dataclass(frozen=True)
class Bad:
    """A model, and what is wrong with it.

    Attributes:
        module: the name of the module that answers wrongly.
        exporter: whose artifact does; the older one is only asked for what the other refuses.
        backends: which show it: "onnx", "torchscript", "torchscript-optimized" (frozen, then optimize_for_inference).
        item: what of it was known before, with PyTorch's answer → the other one.
        fault: whose it is, by backend; not said where that is a matter of opinion.
    """

    model: Model
    module: str
    item: str
    exporter: str = DYNAMO
    backends: tuple[str, ...] = ("onnx",)
    fault: Mapping[str, str] = field(default_factory=dict)


def _chain(**parts: nn.Module | Callable[..., Any]) -> nn.Module:
    """A sequence of modules, and of functions as modules."""
    modules = {name: part if isinstance(part, nn.Module) else Apply(part) for name, part in parts.items()}
    return nn.Sequential(OrderedDict(modules))


class Checked(nn.Module):
    """Looks at its input: what the dynamo exporter refuses, and the older one forgets."""

    def forward(self, x: Tensor) -> Tensor:
        """The same."""
        if bool((x < -1000).any()):
            raise ValueError("too small")
        return x


class Gate(nn.Module):
    """Takes one of two ways; a trace takes the first one that it sees, always."""

    def forward(self, x: Tensor) -> Tensor:
        """Twice the input or half of it."""
        return x * 2 if bool(x.mean() > 0) else x / 2


def _integers(low: int, high: int, *shape: int | str) -> Input:
    return Input("x", shape, "int64", low, high)


def _with_nan(*shape: int | str) -> Input:
    return values(*shape, allow_nan=True)


def _with_infinity(*shape: int | str) -> Input:
    return values(*shape, allow_infinity=True)


VALUES = {
    "floor-divide-integers": Bad(
        model(
            lambda: _chain(check=Checked(), divide=lambda x: x // 3, twice=lambda x: x * 2),
            _integers(-100, 100, "b", 4),
        ),
        "divide",
        "tensor([-7]) // 3: -3 → -2",
        TRACED,
        fault={"onnx": "exporter"},
    ),
    "shift-integers": Bad(
        model(
            lambda: _chain(check=Checked(), shift=lambda x: x >> 1, twice=lambda x: x * 2), _integers(-100, 100, "b", 4)
        ),
        "shift",
        "tensor([-7]) >> 1: -4 → -3",
        TRACED,
        fault={"onnx": "exporter"},
    ),
    "divide-integers": Bad(
        model(
            lambda: _chain(
                next=lambda x: x + 1,
                divide=lambda x: torch.div(x, 3, rounding_mode="trunc"),
                twice=lambda x: x * 2,
            ),
            _integers(-(10**9), 10**9, "b", 4),
        ),
        "divide",
        "div(tensor([50000003]), 1, rounding_mode='trunc') goes through float32: 50000003 → 50000004",
        fault={"onnx": "exporter"},
    ),
    "floor-divide-floats": Bad(
        model(
            lambda: _chain(negative=lambda x: -x, divide=lambda x: x // 0.1, halve=lambda x: x / 2),
            values("b", 4, low=-1.0, high=1.0),
        ),
        "divide",
        "tensor([1.]) // .1: 9 → 10",
        fault={"onnx": "exporter"},
    ),
    "remainder-infinity": Bad(
        model(
            lambda: _chain(line=nn.Linear(4, 4), wrap=lambda x: torch.remainder(x, math.inf), halve=lambda x: x / 2),
            values("b", 4),
        ),
        "wrap",
        "remainder(tensor([1.]), inf): 1 → nan",
        fault={"onnx": "exporter"},
    ),
    "log-sigmoid": Bad(
        model(
            lambda: _chain(negative=lambda x: -x, log=nn.LogSigmoid(), twice=lambda x: x * 2),
            values("b", 16, low=-20.0, high=20.0),
        ),
        "log",
        "logsigmoid(tensor([-19.])) is exported as log(sigmoid(x)): -19 → -inf",
        fault={"onnx": "runtime"},
    ),
    "branch": Bad(
        model(lambda: _chain(line=nn.Linear(4, 4), gate=Gate(), act=nn.Tanh()), values("b", 4)),
        "gate",
        "a Python `if` on a tensor's value: one branch baked in",
        TRACED,
        ("onnx", "torchscript", "torchscript-optimized"),
        fault={"onnx": "exporter", "torchscript": "TorchScript", "torchscript-optimized": "TorchScript"},
    ),
}

NAN = {
    "amax-nan": Bad(
        model(
            lambda: _chain(halve=lambda x: x / 2, largest=lambda x: x.amax(-1), twice=lambda x: x * 2),
            _with_nan("b", 6),
        ),
        "largest",
        "amax over a NaN that is not the first element: nan → a number",
        fault={"onnx": "runtime"},
    ),
    "amin-nan": Bad(
        model(
            lambda: _chain(halve=lambda x: x / 2, smallest=lambda x: x.amin(-1), twice=lambda x: x * 2),
            _with_nan("b", 6),
        ),
        "smallest",
        "amin likewise",
        fault={"onnx": "runtime"},
    ),
    "max-nan": Bad(
        model(
            lambda: _chain(halve=lambda x: x / 2, largest=lambda x: x.max(-1)[0], twice=lambda x: x * 2),
            _with_nan("b", 6),
        ),
        "largest",
        "max(dim) over a NaN: nan → a number",
        fault={"onnx": "runtime"},
    ),
    "argmax-nan": Bad(
        model(lambda: _chain(halve=lambda x: x / 2, largest=lambda x: x.argmax(-1)), _with_nan("b", 6)),
        "largest",
        "argmax over a NaN: its place → another one",
        fault={"onnx": "runtime"},
    ),
    "max-pool-nan": Bad(
        model(
            lambda: _chain(halve=lambda x: x / 2, pool=nn.MaxPool2d(2), twice=lambda x: x * 2), _with_nan("b", 2, 4, 4)
        ),
        "pool",
        "max-pooling over a NaN: nan → a number",
        fault={"onnx": "runtime"},
    ),
    "max-pool-infinity": Bad(
        model(
            lambda: _chain(
                mask=lambda x: x.masked_fill(x < 0.5, -math.inf), pool=nn.MaxPool1d(2), halve=lambda x: x / 2
            ),
            values("b", 2, 6),
        ),
        "pool",
        "max-pool of all -inf: -inf → -FLT_MAX",
        fault={"onnx": "runtime"},
    ),
    "clamp-infinity": Bad(
        model(
            lambda: _chain(halve=lambda x: x / 2, clamp=lambda x: x.clamp(min=0.0), negative=lambda x: -x),
            _with_infinity("b", 6),
        ),
        "clamp",
        "clamp(tensor([inf]), min=0.): inf → 3.4028e38",
        fault={"onnx": "runtime"},
    ),
    "sign-nan": Bad(
        model(lambda: _chain(halve=lambda x: x / 2, sign=torch.sign, twice=lambda x: x * 2), _with_nan("b", 6)),
        "sign",
        "sign(tensor([nan])): 0 → nan",
        fault={"onnx": "exporter"},
    ),
    "power-infinity": Bad(
        model(
            lambda: _chain(twice=lambda x: x * 2, power=lambda x: x**0.5, halve=lambda x: x / 2), _with_infinity("b", 6)
        ),
        "power",
        "tensor([-inf]) ** .5: nan → inf",
    ),
    "optimized-relu": Bad(
        model(
            lambda: _chain(first=nn.Conv2d(3, 4, 3), act=nn.ReLU(), last=nn.Conv2d(4, 2, 1)),
            _with_nan("b", 3, 8, 8),
        ),
        "act",
        "optimize_for_inference, ReLU behind a convolution: nan → 0",
        backends=("torchscript-optimized",),
        fault={"torchscript-optimized": "optimizer"},
    ),
    "optimized-max-pool": Bad(
        model(
            lambda: _chain(first=nn.Conv2d(3, 4, 3), pool=nn.MaxPool2d(2), last=nn.Conv2d(4, 2, 1)),
            _with_nan("b", 3, 8, 8),
        ),
        "pool",
        "optimize_for_inference, max-pooling behind a convolution: nan → a number",
        backends=("onnx", "torchscript-optimized"),
        fault={"onnx": "runtime", "torchscript-optimized": "optimizer"},
    ),
}

CONSTANTS = {
    # The exporter's optimizer takes a constant below 1e-8 for 0, and adds no zeros: the level of silence is gone.
    "small-offset": Bad(
        model(
            lambda: _chain(power=lambda x: x.square().mean(-1), level=lambda x: torch.log10(x + 1e-10)),
            values("b", 64),
        ),
        "level",
        "log10(x.square().mean() + 1e-10) of silence: -10 → -inf",
        fault={"onnx": "exporter"},
    ),
}

SUMS = {
    "sum-integers": Bad(
        model(
            lambda: _chain(next=lambda x: x + 1, total=lambda x: x.sum(-1), negative=lambda x: -x),
            _integers(0, 2**53, "b", 5),
        ),
        "total",
        "tensor([2**53, 1, 1, 1]).sum(): off by one",
        fault={"onnx": "runtime"},
    ),
    # Equal numbers, added one by one: each addition rounds the same way, and in a running sum there are no blocks.
    # Beyond 30 times √n units in the last place that is no matter of the order any more. Shorter ones: sums.LONG_SUMS.
    "cumulative-sum": Bad(
        model(
            lambda: _chain(halve=lambda x: x / 2, total=lambda x: x.cumsum(-1), twice=lambda x: x * 2),
            values("b", 100_000, low=0.0, high=0.7),
            dims={"b": (1, 2)},
        ),
        "total",
        "cumulative sum of 100 000 equal numbers: off by one unit in the last place → by 1e-3 of it",
        fault={"onnx": "runtime"},
    ),
}

BAD: dict[str, Bad] = VALUES | NAN | CONSTANTS | SUMS
