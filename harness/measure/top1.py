"""Top-1 accuracy: the default score, and what labels have to be for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..agent.structure import flatten
from ..model.model import Array

GIVE_SCORE = "Give the model a `score`"


def top1(outputs: Any, labels: Array) -> float:
    """Score the first output: the share of samples whose largest element is at the label's place; NaN is wrong.

    Args:
        outputs: in the model's own structure; the first is [N, classes].
        labels: [N], each a class's place from 0.

    Raises:
        ValueError: they are not; what nothing could ever match is no wrong answer of the model's (issue 16).
    """
    _, first = next(flatten(outputs))
    if isinstance(first, list):
        what = f"top-1 wants scores [N, classes]; found a list of outputs. {GIVE_SCORE}"
        raise ValueError(what)  # noqa: TRY004  # as the others: told to a person
    if first.ndim != 2 or labels.shape != first.shape[:1]:
        shapes = f"output {first.shape}, labels {labels.shape}"
        raise ValueError(f"top-1 wants scores [N, classes] and labels [N]; found {shapes}. {GIVE_SCORE}")
    _check_labels(labels, first.shape[1])
    right = (np.argmax(first, axis=1) == labels) & ~np.isnan(first).any(axis=1)
    return float(np.mean(right))


def _check_labels(labels: Array, classes: int) -> None:
    wanted = f"top-1 wants the numbers of classes as labels, 0 … {classes - 1}"
    hint = "Number them in samples(), as in [names.index(label) for label in labels], or give the model a `score`"
    if labels.dtype.kind not in "iufb":
        raise ValueError(f"{wanted}; found {labels.flat[0]!r}. {hint}")
    if strange := [label for label in np.unique(labels).tolist() if not (0 <= label < classes and label % 1 == 0)]:
        raise ValueError(f"{wanted}; found {', '.join(map(str, strange[:3]))}, which no output can match. {hint}")
