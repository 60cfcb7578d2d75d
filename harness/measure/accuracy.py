"""Accuracy: the model's score over real samples, computed on the device; eager PyTorch's beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..checks.finding import Finding
from ..checks.limits import Metric
from ..errors import ModelError, ProcessError
from ..model.build import BuiltModel
from ..model.inputs import Arrays
from ..model.model import Array
from .sample_set import SampleSet, read_samples, sample_notes, searched_samples
from .score import score, scored_samples

__all__ = [
    "ACCURACY",
    "EMULATED_SAMPLES",
    "METRICS",
    "AccuracyRun",
    "SampleSet",
    "read_samples",
    "sample_notes",
    "scored_samples",
    "searched_samples",
]

ACCURACY = Metric("accuracy", "", "the score over the model file's samples, on the device", bound="min")
METRICS = (ACCURACY,)

# How many samples go into one call, at least: progress is seen, and the link's cost is spread.
BATCH = 64
# On an emulated board, where an inference takes a hundred times as long, at most so many, spread over all of them: a
# look, on which no limit is judged.
EMULATED_SAMPLES = 60

Infer = Callable[[Sequence[Arrays]], Sequence[Sequence[Array]]]
Report = Callable[[int, int], None]


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
        """Over these samples the score is exact: the value is its own bound. What it says of others is not claimed.

        Eager PyTorch's outputs have been scored: where the deployment's cannot be, they are at fault.
        """
        if self.samples is None:
            return Finding(ACCURACY, not_applicable="the model file has no samples")
        samples, eager = self.samples
        outputs: list[Sequence[Array]] = []
        size = max(BATCH // samples.step, 1)
        for start in range(0, len(samples.sets), size):
            outputs += self.infer(samples.sets[start : start + size])
            self.report(len(outputs), len(samples.sets))
        details = {"eager": eager, "given": samples.given}
        try:
            value = self.built.ask(score, replace(samples, sets=()), outputs)
        except ProcessError:  # it says nothing of the outputs
            raise
        except ModelError as error:
            failure = f"the backend's outputs cannot be scored, eager PyTorch's can: {error.found}"
            return Finding(ACCURACY, samples=len(samples.labels), failure=failure, details=details)
        taken = len(samples.labels)
        unjudged = (
            f"{taken} of {samples.given} samples say too little of all: judged on a board"
            if taken < samples.given
            else ""
        )
        compared = f"eager {ACCURACY.shown(eager, 3)}"
        return Finding(
            ACCURACY, value, value, samples=taken, not_judged_reason=unjudged, details=details, compared=compared
        )
