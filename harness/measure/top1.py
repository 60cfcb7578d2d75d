"""Top-1 accuracy: the default score, and what labels have to be for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..agent.structure import flatten
from ..model.model import Array

GIVE_SCORE = "Give the model a `score`"


def top1(outputs: Any, labels: Array) -> float:
    """Compute the share of samples whose largest element of the first output is at the label's place.

    A sample with NaN in its scores is wrong.

    Args:
        outputs: In the model's own nesting; the first output is array[N, classes].
        labels: array[N] of the classes' numbers, from 0.

    Returns:
        The share, 0 to 1.

    Raises:
        ValueError: The outputs or labels have another shape or type, or a label is no class's number. A label that
            nothing could ever match is the file's mistake, and no wrong answer of the model's (issue 16).
    """
    _, first = next(flatten(outputs))
    if isinstance(first, list):
        what = f"top-1 wants scores [N, classes]; found a list of outputs. {GIVE_SCORE}"
        raise ValueError(what)  # noqa: TRY004  # like the other messages to the user
    if first.ndim != 2 or labels.shape != first.shape[:1]:
        shapes = f"output {first.shape}, labels {labels.shape}"
        raise ValueError(f"top-1 wants scores [N, classes] and labels [N]; found {shapes}. {GIVE_SCORE}")
    _check_labels(labels, first.shape[1])
    is_right = (np.argmax(first, axis=1) == labels) & ~np.isnan(first).any(axis=1)
    return float(np.mean(is_right))


def _check_labels(labels: Array, classes: int) -> None:
    wanted = f"top-1 wants the numbers of classes as labels, 0 … {classes - 1}"
    hint = "Number them in samples(), as in [names.index(label) for label in labels], or give the model a `score`"
    if labels.dtype.kind not in "iufb":
        raise ValueError(f"{wanted}; found {labels.flat[0]!r}. {hint}")
    if unknown := [label for label in np.unique(labels).tolist() if not (0 <= label < classes and label % 1 == 0)]:
        raise ValueError(f"{wanted}; found {', '.join(map(str, unknown[:3]))}, which no output can match. {hint}")
