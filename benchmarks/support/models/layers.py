"""Linear layers, as many as LAYERS says: what a build costs is known from their number."""

from __future__ import annotations

import torch

from harness import Input, Model

LAYERS = 40
WIDTH = 96


def build() -> torch.nn.Module:
    """Make the layers alone: nothing between them that a runtime could take out."""
    torch.manual_seed(0)
    return torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))).eval()


model = Model(build=build, inputs=[Input("x", shape=(16, WIDTH), min_value=-1.0, max_value=1.0)])
