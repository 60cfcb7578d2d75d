# lengths of a packed sequence: each is at most the number of steps, and 0 is no length
import torch
from torch import nn

from harness import Input, Model


class Lengths(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Linear(4, 8)

    def forward(self, x, length):
        if bool((length > x.shape[1]).any()) or bool((length < 1).any()):
            raise ValueError("a length is beyond the steps")
        last = (length - 1).reshape(-1, 1, 1).expand(-1, 1, 8)
        return torch.relu(self.mix(x)).cumsum(1).gather(1, last).squeeze(1) / length.unsqueeze(1)


model = Model(
    build=lambda: Lengths().eval(),
    inputs=[Input("x", ("b", "t", 4), "float32", -1.0, 1.0), Input("length", ("b",), "int64", 1, "t")],
    dims={"b": (1, 4), "t": (1, 20)},
)
