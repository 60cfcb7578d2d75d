# attention over what a mask leaves: a row of which nothing is left has no answer (softmax of nothing but -inf)
import numpy as np
import torch
from torch import nn

from harness import Input, Model


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x, mask):
        scores = self.q(x) @ self.k(x).mT / 8**0.5
        scores = scores.masked_fill(~mask[:, None, :], float("-inf"))
        return torch.softmax(scores, -1) @ self.v(x)


def prepare(inputs):
    empty = ~inputs["mask"].any(axis=1)
    inputs["mask"][empty, :1] = True
    return inputs


model = Model(
    build=lambda: Attention().eval(),
    inputs=[Input("x", ("b", "t", 8), "float32", -1.0, 1.0), Input("mask", ("b", "t"), "bool")],
    dims={"b": (1, 4), "t": (1, 16)},
    prepare=prepare,
)
