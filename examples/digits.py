"""Handwritten digits: a small trained network, the model file to copy. Where the data come from: see README.md here."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from harness import Input, Model

HERE = Path(__file__).parent


class DigitsNet(nn.Sequential):
    """Images [batch, 1, 8, 8], 0 (paper) to 1 (ink) -> a score for each digit [batch, 10]."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.4),
            nn.Linear(64 * 4 * 4, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )


def build() -> nn.Module:
    """Return the network with the weights that train_digits.py wrote."""
    net = DigitsNet()
    net.load_state_dict(torch.load(HERE / "digits.pt", weights_only=True))
    return net.eval()


def load_samples() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the images that training never saw, float32 [N, 1, 8, 8], and their digits, int64 [N]."""
    with np.load(HERE / "digits_heldout.npz") as file:
        images = file["images"].astype(np.float32) / 16  # stored as in the data set: 0 to 16
        return {"image": images[:, np.newaxis]}, file["labels"]


model = Model(
    build=build,
    inputs=[Input("image", shape=("batch", 1, 8, 8), dtype="float32", min_value=0.0, max_value=1.0)],
    dims={"batch": (1, 8)},
    measure={"batch": 1},
    # A limit on latency_p99_ms takes ten times as long to decide: docs/measuring.md.
    limits={"deadline_ms": 10, "latency_p90_ms": 10, "accuracy_min": 0.95},
    samples=load_samples,
)
