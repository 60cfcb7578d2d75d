"""An encoder as BERT has it, in plain torch: token ids of a vocabulary, a mask that leaves at least one token of each
sequence, segments, and positions up to the length of the sequence."""

from __future__ import annotations

import torch
from torch import nn

from harness import Input, Model
from harness.model.inputs import Arrays

WORDS, WIDTH, HEADS, LONGEST = 1000, 64, 4, 48


class Layer(nn.Module):
    """One layer: attention over what the mask leaves, then a perceptron, a norm behind each."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH, eps=1e-12) for _ in range(2)])

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """x: [batch, tokens, width]; bias: [batch, 1, 1, tokens], −∞ where nothing is to be seen."""
        q, k, v = (each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in self.qkv(x).chunk(3, -1))
        shares = torch.softmax(q @ k.mT / (WIDTH // HEADS) ** 0.5 + bias, -1)
        x = self.norms[0](x + self.out((shares @ v).transpose(1, 2).flatten(2)))
        norm: torch.Tensor = self.norms[1](x + self.narrow(nn.functional.gelu(self.wide(x))))
        return norm


class Bert(nn.Module):
    """Two layers, the pooled first token, and the mean of the tokens that the mask leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.segments = nn.Embedding(WORDS, WIDTH), nn.Embedding(2, WIDTH)
        self.positions = nn.Embedding(LONGEST, WIDTH)
        self.norm, self.pool = nn.LayerNorm(WIDTH, eps=1e-12), nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList([Layer() for _ in range(2)])

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor, index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All int64[batch, tokens] but index, int64[batch]: a token whose state is asked for."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.norm(self.words(input_ids) + self.segments(token_type_ids) + self.positions(places))
        bias = torch.zeros_like(x[:, None, None, :, 0]).masked_fill(attention_mask[:, None, None] == 0, -torch.inf)
        for layer in self.layers:
            x = layer(x, bias)
        kept = attention_mask[..., None].to(x.dtype)
        asked = x.gather(1, index[:, None, None].expand(-1, 1, WIDTH)).squeeze(1)
        return torch.tanh(self.pool(x[:, 0])), (x * kept).sum(1) / kept.sum(1), asked


def build() -> nn.Module:
    """Weights of BERT's own spread: 0.02 would leave nothing to see of two layers."""
    torch.manual_seed(0)
    return Bert().eval()


def prepare(inputs: Arrays) -> Arrays:
    """Leave at least the first token of each sequence: a row of which nothing is left has no softmax."""
    mask = inputs["attention_mask"]
    mask[mask.sum(axis=1) == 0, :1] = 1
    return inputs


model = Model(
    build=build,
    inputs=[
        Input("input_ids", ("batch", "tokens"), "int64", 0, WORDS - 1),
        Input("attention_mask", ("batch", "tokens"), "int64", 0, 1),
        Input("token_type_ids", ("batch", "tokens"), "int64", 0, 1),
        Input("index", ("batch",), "int64", 0, "tokens - 1"),
    ],
    dims={"batch": [1, 4], "tokens": (1, LONGEST)},
    measure={"batch": 1},
    prepare=prepare,
)
