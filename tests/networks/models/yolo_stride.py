"""A detector's backbone and neck as YOLO has them, in plain torch: sides that are multiples of its largest stride."""

from __future__ import annotations

import torch
from torch import nn

from harness import Input, Model

STRIDE = 32


def block(given: int, made: int, stride: int = 1) -> nn.Sequential:
    """A convolution without bias, a norm with statistics that a trained one could have, SiLU."""
    norm = nn.BatchNorm2d(made, eps=1e-3)
    norm.running_var.fill_(0.5)  # type: ignore[union-attr]
    return nn.Sequential(nn.Conv2d(given, made, 3, stride, 1, bias=False), norm, nn.SiLU())


class Yolo(nn.Module):
    """Pictures at strides 8, 16 and 32; the deeper ones go up again beside the others, as a feature pyramid."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(block(3, 8, 2), block(8, 8, 2), block(8, 16, 2))
        self.down = nn.ModuleList([block(16, 24, 2), block(24, 32, 2)])
        self.up = nn.ModuleList([block(32 + 24, 24), block(24 + 16, 16)])
        self.heads = nn.ModuleList([nn.Conv2d(width, 6, 1) for width in (16, 24, 32)])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image: float32[batch, 3, height, width]; returns [batch, places, 6]: a box, in strides, and two scores."""
        finest = self.stem(image)
        middle = self.down[0](finest)
        coarsest = self.down[1](middle)
        middle = self.up[0](torch.cat([nn.functional.interpolate(coarsest, scale_factor=2.0), middle], 1))
        finest = self.up[1](torch.cat([nn.functional.interpolate(middle, scale_factor=2.0), finest], 1))
        found = [head(each).flatten(2) for head, each in zip(self.heads, (finest, middle, coarsest), strict=True)]
        answer = torch.cat(found, 2).mT
        return torch.cat([answer[..., :4], answer[..., 4:].sigmoid()], -1)


def build() -> nn.Module:
    """Seeded weights."""
    torch.manual_seed(0)
    return Yolo().eval()


model = Model(
    build=build,
    inputs=[Input("image", ("batch", 3, "height", "width"), min_value=0.0, max_value=1.0)],
    dims={"batch": [1, 2], "height": (STRIDE, 256, STRIDE), "width": range(STRIDE, 321, STRIDE)},
    measure={"batch": 1, "height": 192, "width": 256},
)
