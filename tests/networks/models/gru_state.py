"""A recurrent controller whose state is handed in and out, over a number of steps that changes from call to call."""

import torch
from torch import Tensor, nn

from harness import Input, Model


class Controller(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.GRU(8, 24, num_layers=2, batch_first=True)
        self.command = nn.Linear(24, 3)

    def forward(self, sensors: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        features, state = self.memory(sensors, state)
        return torch.tanh(self.command(features)), state


def build() -> nn.Module:
    torch.manual_seed(7)
    return Controller().eval()


model = Model(
    build=build,
    inputs=[
        Input("sensors", shape=(1, "steps", 8), min_value=-5.0, max_value=5.0),
        Input("state", shape=(2, 1, 24), min_value=-1.0, max_value=1.0),
    ],
    dims={"steps": (1, 20)},
)
