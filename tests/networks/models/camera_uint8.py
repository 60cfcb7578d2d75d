"""A small network that is given the camera's bytes as they come, height × width × channels, and normalises inside."""

import torch
from torch import Tensor, nn

from harness import Input, Model


class Camera(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53]))
        self.register_buffer("std", torch.tensor([58.395, 57.12, 57.375]))
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.Hardswish(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=8),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 4),
        )

    def forward(self, picture: Tensor) -> Tensor:
        normal = (picture.float() - self.mean) / self.std
        scores: Tensor = self.layers(normal.permute(0, 3, 1, 2))
        return scores.softmax(-1)


def build() -> nn.Module:
    torch.manual_seed(3)
    return Camera().eval()


model = Model(
    build=build,
    inputs=[Input("picture", shape=("cameras", "height", "width", 3), dtype="uint8", min_value=0, max_value=255)],
    dims={"cameras": (1, 2), "height": (48, 120), "width": (64, 160)},
)
