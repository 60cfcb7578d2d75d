"""A small vision transformer in float16, with a Closeness: it is narrower by intent."""

import torch
from torch import Tensor, nn

from harness import Closeness, Input, Model


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixes, self.joins = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.thinks = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        mixed = self.mixes(self.before(tokens)).reshape(batch, count, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4).unbind(0)
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.joins(seen.transpose(1, 2).reshape(batch, count, width))
        thought: Tensor = self.thinks(self.between(tokens))
        return tokens + thought


class ViT(nn.Module):
    def __init__(self, width: int = 48, patches: int = 16) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 8, stride=8)
        self.start = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, patches + 1, width) * 0.02)
        self.blocks = nn.Sequential(Block(width, 4), Block(width, 4))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, picture: Tensor) -> Tensor:
        patches = self.patch(picture).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.start.expand(patches.shape[0], -1, -1), patches], 1) + self.places
        scores: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return scores


def build() -> nn.Module:
    torch.manual_seed(6)
    return ViT().eval().half()


model = Model(
    build=build,
    inputs=[Input("picture", shape=("batch", 3, 32, 32), dtype="float16", min_value=-2.0, max_value=2.0)],
    dims={"batch": (1, 4)},
    tolerance=Closeness(rtol=2e-2, atol=1e-2),
)
