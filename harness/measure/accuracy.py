"""Accuracy: the model's score on real samples, of outputs computed on the device; eager PyTorch's beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..checks.finding import Finding
from ..checks.limits import Metric
from ..errors import ModelError, ProcessError, RemoteError
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

# About how many samples go into one call: few enough to show progress, enough to spread the link's cost.
BATCH = 64
# How many samples, spread over all, are taken on an emulated board, where an inference takes a hundred times as long:
# too few to judge a limit.
EMULATED_SAMPLES = 60

Infer = Callable[[Sequence[Arrays]], Sequence[Sequence[Array]]]
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class AccuracyRun:
    """The score of one deployment, computed when it is called.

    Attributes:
        built: The model.
        samples: The model file's samples, and eager PyTorch's score on them; None if it has none.
        infer: Returns the deployment's outputs for sets of inputs.
        report: Called with (sets done, sets in all).
    """

    built: BuiltModel
    samples: tuple[SampleSet, float] | None
    infer: Infer
    report: Report

    def __call__(self) -> Finding:
        """Run the deployment on all samples and score its outputs.

        The score on these samples is exact, so the value is its own bound; nothing is claimed about other samples. If
        the outputs cannot be scored, although eager PyTorch's could, the deployment is at fault: a failure. Where
        it is a client, and the computer that serves the model does not answer, there is no score.

        Raises:
            ProcessError: The model's process died, which says nothing about the outputs.
        """
        if self.samples is None:
            return Finding(ACCURACY, not_applicable="the model file has no samples")
        samples, eager = self.samples
        outputs: list[Sequence[Array]] = []
        size = max(BATCH // samples.step, 1)
        details = {"eager": eager, "given": samples.given}
        for start in range(0, len(samples.sets), size):
            try:
                outputs += self.infer(samples.sets[start : start + size])
            except RemoteError as error:  # no wrong answer, but none
                return Finding(ACCURACY, no_bound_reason=f"{error.told} (after {len(outputs)} calls)", details=details)
            self.report(len(outputs), len(samples.sets))
        try:
            value = self.built.ask(score, replace(samples, sets=()), outputs)
        except ProcessError:  # says nothing about the outputs
            raise
        except ModelError as error:
            failure = f"the backend's outputs cannot be scored, eager PyTorch's can: {error.found}"
            return Finding(ACCURACY, samples=len(samples.labels), failure=failure, details=details)
        return score_finding(value, taken=len(samples.labels), given=samples.given, eager=eager)


def score_finding(value: float, *, taken: int, given: int, eager: float) -> Finding:
    """Report a score over samples, which is judged only where all of the file's were taken.

    Args:
        value: The score, 0 to 1.
        taken: Over how many samples.
        given: How many the model file has.
        eager: Eager PyTorch's score over the same samples.
    """
    few = f"{taken} of {given} samples say too little of all: judged on a board"
    return Finding(
        ACCURACY,
        value,
        value,
        samples=taken,
        not_judged_reason=few if taken < given else "",
        details={"eager": eager, "given": given},
        compared=f"eager {ACCURACY.shown(eager, 3)}",
    )
