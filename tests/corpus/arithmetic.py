"""Functions that lose digits or depend on exact ones, and are right nevertheless."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def variance(x: Tensor) -> Tensor:
    """Of numbers far from zero: their squares are a million times as large."""
    return (x - x.mean(-1, keepdim=True)).pow(2).mean(-1)


def standardized(x: Tensor) -> Tensor:
    """(x − mean) / deviation, as a preprocessing step does it."""
    return (x - x.mean(-1, keepdim=True)) / (variance(x)[..., None] + 1e-3).sqrt()


def polynomial(x: Tensor) -> Tensor:
    """(x − 1)⁵ multiplied out, by Horner's rule: near 1 all its digits cancel."""
    value = torch.ones_like(x)
    for coefficient in (-5.0, 10.0, -10.0, 5.0, -1.0):
        value = value * x + coefficient
    return value


def exp_normalized(x: Tensor) -> Tensor:
    """A softmax by hand."""
    weights = (x - x.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True)


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances by |x|² − 2xy + |y|²: of near points the digits cancel."""
    return x.pow(2).sum(-1)[:, None] - 2 * x @ y.T + y.pow(2).sum(-1)[None, :]


def integers(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """What int64 can do."""
    return {
        "sum": x + y,
        "product": x * y,
        "quotient": x // y,
        "rest": x % y,
        "total": x.sum(-1),
        "smaller": torch.minimum(x, y),
        "distance": (x - y).abs(),
    }


def booleans(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Comparisons of the inputs themselves: exact, also on a tie."""
    larger = x > y
    return {"larger": larger, "equal": x == y, "inside": (x >= -1.0) & (x < 1.0) | ~larger, "any": larger.any(-1)}


def chosen(x: Tensor, y: Tensor) -> Tensor:
    """Either of two branches."""
    return torch.where(x > 0.25, x * y, y - x)


def distinct(x: Tensor) -> Tensor:
    """Whole numbers in an order that x decides, no two of them equal."""
    width = x.shape[-1]
    return (x * 8).round() * width + torch.arange(width, device=x.device)


def best(x: Tensor) -> dict[str, Tensor]:
    """The largest ones, with their places."""
    keys = distinct(x)
    top, places = keys.topk(3)
    return {
        "top": top,
        "places": places,
        "first": keys.argmax(-1),
        "last": keys.argmin(-1),
        "values": x.gather(1, places),
    }


def in_order(x: Tensor) -> tuple[Tensor, Tensor]:
    """All of them, with their places."""
    keys, places = distinct(x).sort(-1, descending=True)
    return keys, places


def tied(x: Tensor) -> dict[str, Tensor]:
    """The places of the largest ones, where many are equal; which of these is picked, nobody promises."""
    keys = x.round()
    return {"places": keys.topk(3)[1], "first": keys.argmax(-1), "least": keys.min(-1)[1].int()}


def classes(x: Tensor) -> Tensor:
    """The likeliest of twelve; on an even input all are as likely."""
    scores = torch.softmax(x @ x.new_tensor([[0.1] * 12] * x.shape[-1]) + x[..., :1] * 1e-7, -1)
    return scores.argmax(-1)


def gathered(x: Tensor, places: Tensor) -> Tensor:
    """The named elements of each row."""
    return x.gather(1, places) * 3.0


def scattered(x: Tensor, places: Tensor) -> Tensor:
    """Each row's elements added up where they are sent."""
    return torch.zeros_like(x).scatter_add(1, places, x)


def one_hot(places: Tensor) -> Tensor:
    """As a vector with a one."""
    return functional.one_hot(places, 7).float()


def statistics(x: Tensor) -> dict[str, Tensor]:
    """One number each, without a dimension."""
    return {"mean": x.mean(), "largest": x.max(), "norm": x.pow(2).sum().sqrt()}
