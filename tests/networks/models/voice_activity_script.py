"""Silero's detector as its package ships it: a ScriptModule that takes its memory and gives it back."""

import torch
from packages import FOLDER  # type: ignore[import-not-found]  # beside this file

from harness import Input, Model


def build() -> torch.nn.Module:
    jit = torch.jit.load(FOLDER / "silero_vad/data/silero_vad.jit", map_location="cpu")  # type: ignore[no-untyped-call]
    net: torch.nn.Module = jit._model
    return net.eval()


model = Model(
    build=build,
    inputs=[
        Input("sound", shape=("batch", 576), min_value=-1.0, max_value=1.0),
        Input("state", shape=(2, "batch", 128), min_value=-1.0, max_value=1.0),
    ],
    dims={"batch": (1, 4)},
)
