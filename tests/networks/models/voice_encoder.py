"""Resemblyzer's voice encoder with its own weights: who speaks, from a mel spectrogram of any length."""

import torch
from packages import package, package_without_imports  # type: ignore[import-not-found]  # beside this file

from harness import Input, Model


def build() -> torch.nn.Module:
    package_without_imports("resemblyzer", audio=None)
    net: torch.nn.Module = package("resemblyzer.voice_encoder").VoiceEncoder("cpu", verbose=False)
    return net.eval()


model = Model(
    build=build,
    inputs=[Input("mels", shape=("voices", "frames", 40), min_value=0.0, max_value=10.0)],
    dims={"voices": (1, 2), "frames": (8, 24)},
)
