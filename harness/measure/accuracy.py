"""Accuracy: the model's score over real samples, computed on the device; eager PyTorch's beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..agent.structure import flatten, rebuild
from ..build import BuiltModel, run_eager
from ..checks import Finding
from ..errors import ModelError
from ..inputs import Arrays
from ..limits import Metric
from ..model import Array, Input

ACCURACY = Metric("accuracy", "", "the score over the model file's samples, on the device", bound="min")
METRICS = (ACCURACY,)

# How many samples go into one call, at least: progress is seen, and the link's cost is spread.
BATCH = 64

Infer = Callable[[Sequence[Arrays]], Sequence[Sequence[Array]]]
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class SampleSet:
    """Real samples, cut into the sets of inputs that the model takes at its measured sizes.

    Attributes:
        sets: one call's inputs each; the last may repeat samples of the one before, to be of full size.
        labels: array[N, …].
        stacked: whether a sample lacks the model's first axis: then outputs are stacked, else joined.
    """

    sets: tuple[Arrays, ...]
    labels: Array
    stacked: bool
    step: int

    def join(self, outputs: Sequence[Array]) -> Array:
        """One output of every set to one array, whose first axis counts the samples."""
        if self.stacked:
            return np.stack(outputs)
        repeated = -len(self.labels) % self.step
        parts = [*outputs[:-1], outputs[-1][repeated:]]
        return np.concatenate(parts)


def read_samples(built: BuiltModel) -> SampleSet | None:
    """The model file's samples, validated; None where it has none.

    Raises:
        ModelError: samples() raises, or what it returns does not fit the inputs.
    """
    model, where = built.model, f"{built.file.path}: samples"
    if model.samples is None:
        return None
    try:
        arrays, labels = model.samples()
        columns = {item.name: np.asarray(arrays[item.name]) for item in model.inputs}
        answers = np.asarray(labels)
    except Exception as error:
        wanted = "({input name: array[N, …]}, labels[N])"
        found = f"{type(error).__name__}: {error}"
        raise ModelError("samples() cannot be used", wanted=wanted, found=found, where=where) from error
    count = len(answers)
    plans = [_plan(item, columns[item.name], model.measure, count, where) for item in model.inputs]
    stacked, step = plans[0]
    if count == 0 or any(plan != plans[0] for plan in plans):
        raise ModelError("the samples do not fit each other", wanted="N samples of every input, N > 0", where=where)
    typed = {item.name: columns[item.name].astype(item.dtype) for item in model.inputs}
    return SampleSet(tuple(_cut(typed, count, step, stacked)), answers, stacked, step)


def _plan(item: Input, column: Array, sizes: Mapping[str, int], count: int, where: str) -> tuple[bool, int]:
    """(stacked, samples in a set) of one input."""
    shape = item.sizes(sizes)
    if len(column) == count and column.shape[1:] == shape:
        return True, 1
    if shape and column.shape[1:] == shape[1:] and len(column) == count and 0 < shape[0] <= count:
        return False, shape[0]
    wanted = f"[N, {', '.join(map(str, shape[1:]))}] or [N, {', '.join(map(str, shape))}], N = {count} as of the labels"
    raise ModelError(f"the samples of {item.name!r} do not fit", wanted=wanted, found=str(column.shape), where=where)


def _cut(columns: Mapping[str, Array], count: int, step: int, stacked: bool) -> Iterator[Arrays]:
    for start in range(0, count, step):
        first = min(start, count - step)
        at: Any = first if stacked else slice(first, first + step)
        yield {name: column[at] for name, column in columns.items()}


def eager_accuracy(built: BuiltModel, samples: SampleSet) -> float:
    """The score of the module itself."""
    outputs = [[leaf.numpy() for _, leaf in flatten(run_eager(built.module, arrays))] for arrays in samples.sets]
    return score(built, samples, outputs)


@dataclass(frozen=True)
class AccuracyRun:
    """The score of a deployment.

    Attributes:
        samples: the model file's, with eager PyTorch's score over them; None where it has none.
        infer: the deployment's outputs for sets of inputs.
        report: is told (sets done, sets in all).
    """

    built: BuiltModel
    samples: tuple[SampleSet, float] | None
    infer: Infer
    report: Report

    def __call__(self) -> Finding:
        """Over these samples the score is exact: the value is its own bound. What it says of others is not claimed."""
        if self.samples is None:
            return Finding(ACCURACY, not_applicable="the model file has no samples")
        samples, eager = self.samples
        outputs: list[Sequence[Array]] = []
        size = max(BATCH // samples.step, 1)
        for start in range(0, len(samples.sets), size):
            outputs += self.infer(samples.sets[start : start + size])
            self.report(len(outputs), len(samples.sets))
        value = score(self.built, samples, outputs)
        return Finding(ACCURACY, value, value, samples=len(samples.labels), details={"eager": eager})


def score(built: BuiltModel, samples: SampleSet, outputs: Sequence[Sequence[Array]]) -> float:
    """The model file's score, or top-1, of all sets' outputs.

    Raises:
        ModelError: the score function raises, or returns no finite number.
    """
    joined = [samples.join([one[index] for one in outputs]) for index in range(len(built.outputs))]
    function = built.model.score or _top1
    try:
        value = float(function(rebuild(built.structure, iter(joined)), samples.labels))
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        raise ModelError("score() cannot be used", found=found, where=str(built.file.path)) from error
    if not math.isfinite(value):
        raise ModelError(
            "score() is not usable", wanted="a finite number", found=str(value), where=str(built.file.path)
        )
    return value


def _top1(outputs: Any, labels: Array) -> float:
    _, first = next(flatten(outputs))
    if first.ndim != 2 or labels.shape != first.shape[:1]:
        shapes = f"output {first.shape}, labels {labels.shape}"
        raise ValueError(f"top-1 wants scores [N, classes] and labels [N]; found {shapes}. Give the model a `score`")
    return float(np.mean(np.argmax(first, axis=1) == labels))
