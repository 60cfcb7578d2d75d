"""A detector of balls and goals whose non-maximum suppression is written in plain torch: "fast NMS", no loop.

A box goes when a better one covers it, also where that one is gone itself.
"""

import torch
from torch import Tensor, nn

from harness import Input, Model


class Detector(nn.Module):
    cells: Tensor

    def __init__(self, best: int = 24) -> None:
        super().__init__()
        self.best = best
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()
        )
        self.head = nn.Conv2d(16, 6, 1)
        y, x = torch.meshgrid(torch.arange(8.0), torch.arange(10.0), indexing="ij")
        self.register_buffer("cells", torch.stack([x, y], -1).reshape(-1, 2))

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        raw = self.head(self.layers(picture.unsqueeze(0)))[0].flatten(1).transpose(0, 1)
        centre = (self.cells + torch.sigmoid(raw[:, :2])) * 8
        half = 12 * torch.exp(raw[:, 2:4].clamp(-2, 2))
        scores, labels = (3 * raw[:, 4:]).softmax(-1).max(-1)
        scores, order = scores.topk(self.best)
        boxes, labels = torch.cat([centre - half, centre + half], -1)[order], labels[order]
        area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        corner = torch.maximum(boxes[:, None, :2], boxes[:, :2])
        shared = (torch.minimum(boxes[:, None, 2:], boxes[:, 2:]) - corner).clamp(min=0).prod(-1)
        covered = shared / (area[:, None] + area - shared) * (labels[:, None] == labels)
        kept = torch.triu(covered, diagonal=1).amax(0) < 0.5
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}


def build() -> nn.Module:
    torch.manual_seed(8)
    return Detector().eval()


model = Model(build=build, inputs=[Input("picture", shape=(3, 64, 80), min_value=0.0, max_value=1.0)])
