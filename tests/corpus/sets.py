"""Models whose answers are sets: what they return is picked, sorted, kept or suppressed, and so are its ties.

All are right, on every backend; wrong answers to them are made in tests/integration/test_parity_sets.py and in
tests/unit/test_ties.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import Input, Model

from . import function, model, tokens, values
from .clean import Clean


class Detector(nn.Module):
    """A small head over places: scores and boxes; the best come first."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.scores = nn.Conv2d(8, 2, 1)
        self.boxes = nn.Conv2d(8, 4, 1)

    def heads(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(scores[n], labels[n], boxes[n, 4]) of every place."""
        features = torch.relu(self.body(image))
        scores, labels = self.scores(features).softmax(1).flatten(2)[0].max(0)
        sides = self.boxes(features).sigmoid().flatten(2)[0].T
        rows = torch.arange(image.shape[2]).repeat_interleave(image.shape[3])
        columns = torch.arange(image.shape[3]).repeat(image.shape[2])
        corners = torch.stack([rows, columns], -1) + sides[:, :2]
        return scores, labels, torch.cat([corners, corners + sides[:, 2:] + 1], -1)


class Best(Detector):
    """The best dozen."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Boxes, scores and labels, the best first."""
        scores, labels, boxes = self.heads(image)
        best, places = scores.topk(12)
        return {"boxes": boxes[places], "scores": best, "labels": labels[places]}


class Above(Detector):
    """Those above a threshold."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and boxes, in the order of their places."""
        scores, _, boxes = self.heads(image)
        kept = scores > 0.6
        return scores[kept], boxes[kept]


class Sorted(Detector):
    """Those above a threshold, the best first."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and boxes."""
        scores, labels, boxes = self.heads(image)
        order = scores.argsort(descending=True)
        order = order[scores[order] > 0.55]
        return scores[order], labels[order], boxes[order]


def overlaps(boxes: Tensor) -> Tensor:
    """Of each two boxes the intersection over the union."""
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return common / (area[:, None] + area[None] - common)


@torch.jit.script
def suppressed(ious: Tensor, threshold: float) -> Tensor:
    """Which boxes are left, the best first: non-maximum suppression by a loop."""
    kept = torch.ones(ious.shape[0], dtype=torch.bool)
    for place in range(ious.shape[0]):
        worse = torch.arange(ious.shape[0]) > place
        kept = kept & ~(worse & (ious[place] > threshold) & kept[place])
    return kept


class Suppressing(Detector):
    """Non-maximum suppression, written by hand."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels of those that are left."""
        scores, labels, boxes = self.heads(image)
        best, order = scores.sort(descending=True)
        boxes, labels = boxes[order], labels[order]
        kept = suppressed(overlaps(boxes), 0.5)
        return boxes[kept], best[kept], labels[kept]


class Edges(nn.Module):
    """Each point's nearest others, and what they carry, as in DGCNN."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 5)

    def forward(self, points: Tensor, features: Tensor) -> Tensor:
        """The largest of the neighbours' features, mixed."""
        nearest = (points[:, :, None] - points[:, None]).pow(2).sum(-1).topk(3, dim=-1, largest=False).indices
        rows = torch.arange(points.shape[0]).view(-1, 1, 1)
        mixed: Tensor = self.mix(features[rows, nearest]).amax(2)
        return mixed


class Routed(nn.Module):
    """A mixture of experts: the best two of four, weighted."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 4)
        self.experts = nn.Parameter(torch.randn(4, 6, 3))

    def forward(self, x: Tensor) -> Tensor:
        """What the experts of each row say."""
        weights, chosen = self.gate(x).softmax(-1).topk(2)
        said = torch.einsum("bi,bkio->bko", x, self.experts[chosen])
        answer: Tensor = (said * weights[..., None]).sum(1)
        return answer


def picture(size: int = 6) -> Input:
    """One picture."""
    return Input("image", (1, 3, size, size), min_value=0.0, max_value=1.0)


def by_label(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Rows sorted by their best number, with the labels that they carry."""
    order = x.amax(-1).argsort(dim=-1, descending=True)
    return x.gather(1, order[..., None].expand(-1, -1, 3)), labels.gather(1, order)


def nearest_codes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each number's nearest of five codes, and that one's own number."""
    codes = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    chosen = (x[..., None] - codes).abs().argmin(-1)
    return codes[chosen], chosen


_MODELS: dict[str, Model] = {
    "best-boxes": model(Best, picture()),
    "boxes-above-a-threshold": model(Above, picture()),
    "sorted-boxes-above-a-threshold": model(Sorted, picture()),
    "suppression-by-hand": model(Suppressing, picture(4)),
    "nearest-points": model(
        Edges,
        Input("points", ("b", 8, 2), "float32", 0.0, 1.0),
        Input("features", ("b", 8, 4), "float32", -1.0, 1.0),
        dims={"b": (1, 2)},
    ),
    "experts": model(Routed, values("b", 6)),
    "rows-by-their-best": function(by_label, values("b", 5, 3), tokens(50, ("b", 5), "labels")),
    "sorted-columns": function(lambda x: x.sort(dim=1)[0], values("b", 7, 2)),
    "sorted-places": function(lambda x: x.argsort(dim=1) * 2 + 1, values("b", 7)),
    "nearest-codes": function(nearest_codes, values("b", 4, low=-1.5, high=1.5)),
    "where-positive": function(lambda x: (torch.where(x > 0.1), x[x > 0.1])[1], values("b", 6)),
    "nonzero": function(lambda x: functional.relu(x - 0.3).nonzero(), values("b", 6)),
    "k-th-value": function(lambda x: x.gather(-1, x.sort(-1)[1][..., 2:4]), values("b", 6)),
}

# Two of them in make test: neighbours that coincide, and rows whose number depends on values.
QUICK = ("nearest-points", "suppression-by-hand")

SETS: dict[str, Clean] = {name: Clean(one, name in QUICK) for name, one in _MODELS.items()}
