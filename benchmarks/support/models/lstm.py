"""Two layers of LSTM over a second of sensor data: what a robot predicts its next state with. Seeded, not trained."""

import torch
from torch import nn

from harness import Input, Model

STEPS = 50
CHANNELS = 32
WIDTH = 128
SEED = 50


class Predictor(nn.Module):
    """[batch, STEPS, CHANNELS] -> the next step, [batch, CHANNELS]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(CHANNELS, WIDTH, num_layers=2, batch_first=True)
        self.out = nn.Linear(WIDTH, CHANNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predict the step after the last."""
        states, _ = self.lstm(x)
        y: torch.Tensor = self.out(states[:, -1])
        return y


def build() -> nn.Module:
    """Return the network, with the same random weights at every call."""
    torch.manual_seed(SEED)
    return Predictor().eval()


model = Model(
    build=build,
    inputs=[Input("x", shape=("batch", STEPS, CHANNELS), dtype="float32", min_value=-1.0, max_value=1.0)],
    dims={"batch": (1, 4)},
    measure={"batch": 1},
)
