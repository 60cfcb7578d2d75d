"""Accuracy: the model's score over real samples, computed on the device; eager PyTorch's beside it."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..agent.structure import flatten, rebuild
from ..checks.finding import Finding
from ..checks.limits import Metric
from ..errors import ModelError, ProcessError
from ..model.build import BuiltModel, run_eager
from ..model.dimension import describe_dimension
from ..model.inputs import Arrays
from ..model.model import Array, Input, Model
from ..model.ragged import Column, as_list, chosen_of, fit_each, read_column, read_labels, typed
from ..model.user_code import missing_file_hint, users_code, words
from ..parity.trials.space import SAMPLES, samples_of
from .nesting import describe_arguments, describe_value
from .sample_range import check_range
from .top1 import top1

ACCURACY = Metric("accuracy", "", "the score over the model file's samples, on the device", bound="min")
METRICS = (ACCURACY,)

# How many samples go into one call, at least: progress is seen, and the link's cost is spread.
BATCH = 64
# On an emulated board, where an inference takes a hundred times as long, at most so many, spread over all of them: a
# look, on which no limit is judged.
EMULATED_SAMPLES = 60

# What the samples, the search's choice of them, and their inputs' hash are kept under.
ALL, SEARCHED, HASH = "samples", "searched samples", "hash of the samples"
# So is what is to be said of them.
REMARKS = "remarks on the samples"

Infer = Callable[[Sequence[Arrays]], Sequence[Sequence[Array]]]
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class SampleSet:
    """Real samples, cut into sets of inputs for one call each.

    Their sizes are their own, within the model's dims; only of an axis that counts them, `measure` says how many go
    into a call.

    Attributes:
        sets: one call's inputs each; the last may repeat samples of the one before, to be of full size.
        labels: array[N, …].
        stacked: whether a sample lacks the model's first axis: then outputs are stacked, else joined.
        step: how many samples a set has.
        given: how many samples the model file has.
        stay: whether the labels are objects, which stay where the module is; here are their places among all.
        inputs_hash: of all inputs, where they stay.
        lists: which of eager's outputs cannot be made one array, by place: score() gets lists of these.
    """

    sets: tuple[Arrays, ...]
    labels: Array
    stacked: bool
    step: int
    given: int
    stay: bool = False
    inputs_hash: str = ""
    lists: frozenset[int] = frozenset()

    def join(self, outputs: Sequence[Array], *, as_lists: bool = False) -> Array | list[Array]:
        """One output of every set to one array, whose first axis counts the samples; to a list where shapes differ.

        An output whose first axis is not the samples' (a state, a global score) is stacked, set by set.

        Args:
            as_lists: whether eager's was a list: what score() gets does not depend on whose outputs these are.
        """
        if as_lists or len({output.shape for output in outputs}) > 1:
            return as_list(outputs, self.step, self.stacked, -len(self.labels) % self.step)
        if self.stacked or any(output.shape[:1] != (self.step,) for output in outputs):
            return np.stack(outputs)
        repeated = -len(self.labels) % self.step
        parts = [*outputs[:-1], outputs[-1][repeated:]]
        return np.concatenate(parts)


def read_samples(built: BuiltModel, at_most: int | None = None) -> SampleSet | None:
    """The model file's samples, validated; None where it has none.

    Args:
        at_most: so many of them, evenly spread.

    Raises:
        ModelError: samples() raises, or what it returns does not fit the inputs.
    """
    if built.model.samples is None:
        return None
    if ALL not in built.kept:
        built.kept[ALL] = _read_all(built)
    columns, answers, stacked, step = built.kept[ALL]
    count = len(answers)
    if at_most is not None and count > max(at_most, step):
        chosen = _spread(count, max(at_most, step))
        columns = {name: chosen_of(column, chosen) for name, column in columns.items()}
        answers = answers[chosen]
    return SampleSet(tuple(_cut(columns, len(answers), step, stacked)), answers, stacked, step, count)


def _spread(count: int, wanted: int) -> Array:
    """So many of the numbers below a count, evenly spread."""
    return np.linspace(0, count - 1, wanted).round().astype(int)


def _read_all(built: BuiltModel) -> tuple[dict[str, Column], Array, bool, int]:
    """(inputs by name, labels, stacked, samples in a set) of all samples; the last two as SampleSet has them."""
    model, where = built.model, f"{built.file.path}: samples"
    assert model.samples is not None
    returned: Any = None
    wanted = "({input name: array[N, …], or a list of N arrays}, labels[N]), N > 0"
    try:
        with users_code():
            returned = model.samples()
            arrays, labels = returned
            given = {item.name: read_column(arrays[item.name]) for item in model.inputs}
            answers = read_labels(labels)
        columns = {item.name: typed(given[item.name], item.dtype) for item in model.inputs}
    except (Exception, SystemExit) as error:
        said = "" if returned is None else f"\nit returned {describe_value(returned)}"
        what = "samples() raised" if returned is None else "what samples() returned cannot be used"
        found, hint = f"{words(error)}{said}", missing_file_hint(error)
        raise ModelError(what, wanted=wanted, found=found, where=where, hint=hint) from error
    built.kept[REMARKS] = check_range(given, model, where)
    if answers.ndim == 0 or len(answers) == 0:
        raise ModelError("the samples have no labels", wanted=wanted, found=f"labels{list(answers.shape)}", where=where)
    if any(isinstance(column, list) for column in columns.values()):
        return columns, answers, _read_each(columns, model, len(answers), where), 1
    sizes: dict[str, int] = {}
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    plans = {item.name: _plan(item, arrays[item.name], model, sizes, len(answers), where) for item in model.inputs}
    (stacked, step), *others = plans.values()
    if any(plan != (stacked, step) for plan in others):
        found = ", ".join(f"{name}: {'one' if one else size}" for name, (one, size) in plans.items())
        what, wanted = "the samples do not fit each other", "the same count of samples in every input of a call"
        raise ModelError(what, wanted=wanted, found=found, where=where)
    return columns, answers, stacked, step


def _read_each(columns: Mapping[str, Column], model: Model, count: int, where: str) -> bool:
    """Whether samples of different sizes have the model's whole shape; each goes into a call of its own.

    Raises:
        ModelError: one does not fit.
    """
    stacked, problem = fit_each(columns, model, count, _bind)
    counts = {name: len(column) for name, column in columns.items() if len(column) != count}
    problem = problem or ", ".join(f"{name}: {found} samples" for name, found in counts.items())
    if problem:
        shapes = "; ".join(f"{item.name}: {_written(item.shape, model)}" for item in model.inputs)
        what, wanted = "the samples do not fit", f"{count} of each input, as there are labels, of {shapes}"
        hint = "samples of different sizes go into calls of one each; the first axis may be left out where it may be 1"
        raise ModelError(what, wanted=wanted, found=problem, where=where, hint=hint)
    return stacked


def _plan(item: Input, column: Array, model: Model, sizes: dict[str, int], count: int, where: str) -> tuple[bool, int]:
    """(stacked, samples in a set) of one input.

    Args:
        sizes: of the dimensions that the inputs before have; gains those of this one.
    """
    shape = tuple(item.shape)
    if column.shape[:1] == (count,) and _bind(shape, column.shape[1:], model, sizes):
        return True, 1
    if shape and column.shape[:1] == (count,) and _bind(shape[1:], column.shape[1:], model, sizes):
        step = _step(shape[0], model, sizes, count)
        if 0 < step <= count and _bind(shape[:1], (step,), model, sizes):
            return False, step
    shapes = " or ".join(_written([count, *one], model) for one in dict.fromkeys([shape[1:], shape]))
    least = _step(shape[0], model, sizes, count) if shape else 0
    few = f"; at least {least} samples, for so many go into a call" if least > count else ""
    wanted, found = f"{shapes}, as there are {count} labels{few}", f"{list(column.shape)}"
    raise ModelError(f"the samples of {item.name!r} do not fit", wanted=wanted, found=found, where=where)


def _bind(shape: Sequence[int | str], found: Sequence[int], model: Model, sizes: dict[str, int]) -> bool:
    """Whether sizes are what a shape allows, and what the inputs before have; if so, they are kept in ``sizes``."""
    bound = dict(sizes)
    if len(shape) != len(found):
        return False
    for size, its in zip(shape, found, strict=True):
        allowed = model.dims[size] if isinstance(size, str) else (size,)
        if its not in allowed or (isinstance(size, str) and bound.setdefault(size, its) != its):
            return False
    sizes.update(bound)
    return True


def _step(first: int | str, model: Model, sizes: Mapping[str, int], count: int) -> int:
    """How many samples go into a call, where its first axis counts them: as measured, if there are so many."""
    if not isinstance(first, str):
        return first
    allowed = model.dims[first]
    most = min(model.measure[first], count)
    return sizes.get(first, allowed[max(bisect_right(allowed, most) - 1, 0)])


def _written(shape: Sequence[int | str], model: Model) -> str:
    """A shape, with the range of each named size."""
    named = {name: describe_dimension(allowed) for name, allowed in model.dims.items()}
    return f"[{', '.join(named[size] if isinstance(size, str) else str(size) for size in shape)}]"


def _cut(columns: Mapping[str, Column], count: int, step: int, stacked: bool) -> Iterator[Arrays]:
    if any(isinstance(column, list) for column in columns.values()):
        for index in range(count):
            each = {name: column[index] for name, column in columns.items()}
            yield each if stacked else {name: array[np.newaxis] for name, array in each.items()}
        return
    for start in range(0, count, step):
        first = min(start, count - step)
        at: Any = first if stacked else slice(first, first + step)
        yield {name: np.asarray(np.asarray(column)[at]) for name, column in columns.items()}


def scored_samples(built: BuiltModel, at_most: int | None) -> tuple[SampleSet, float] | None:
    """Read the samples, and score eager PyTorch over them: a question (see BuiltModel).

    Raises: as read_samples and score.
    """
    samples = read_samples(built, at_most)
    if samples is None:
        return None
    outputs = eager_outputs(built, samples)
    differ = (len({output.shape for output in column}) > 1 for column in zip(*outputs, strict=True))
    samples = replace(samples, lists=frozenset(place for place, each in enumerate(differ) if each))
    accuracy = score(built, samples, outputs)
    if samples.labels.dtype.hasobject:  # of a class of the user's own, maybe: score() has them where they are
        samples = replace(
            samples, labels=_spread(samples.given, len(samples.labels)), stay=True, inputs_hash=_inputs_hash(built)
        )
    return samples, accuracy


def searched_samples(built: BuiltModel) -> list[Arrays]:
    """Read the samples that the search for mismatches mutates: a question (see BuiltModel).

    Raises: as read_samples.
    """
    if SEARCHED not in built.kept:
        samples = read_samples(built, SAMPLES)
        built.kept[SEARCHED] = samples_of(samples.sets, built.model) if samples else []
    found: list[Arrays] = built.kept[SEARCHED]
    return found


def sample_notes(built: BuiltModel) -> list[str]:
    """Say what a person should know of the samples, whatever is measured: a question (see BuiltModel).

    Raises: as read_samples.
    """
    read_samples(built)
    found: list[str] = built.kept.get(REMARKS, [])
    return found


def eager_accuracy(built: BuiltModel, samples: SampleSet) -> float:
    """The score of the module itself."""
    return score(built, samples, eager_outputs(built, samples))


def eager_outputs(built: BuiltModel, samples: SampleSet) -> list[list[Array]]:
    """The module's own outputs for each set."""
    runs = (flatten(run_eager(built.module, arrays)) for arrays in samples.sets)
    return [[np.array(leaf.detach().resolve_neg().numpy()) for _, leaf in leaves] for leaves in runs]


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
        return Finding(ACCURACY, value, value, samples=taken, unjudged=unjudged, details=details, compared=compared)


def score(built: BuiltModel, samples: SampleSet, outputs: Sequence[Sequence[Array]]) -> float:
    """The model file's score, or top-1, of all sets' outputs.

    Raises:
        ModelError: the score function raises, or returns no finite number.
    """
    function = built.model.score or top1
    labels = _labels(built, samples).copy()  # score() may write to them
    given, what = "", "the outputs cannot be scored"
    try:
        columns = enumerate(zip(*outputs, strict=True))
        joined = [samples.join(column, as_lists=place in samples.lists) for place, column in columns]
        if len(joined) != len(built.outputs):
            raise ValueError(f"wanted the outputs {', '.join(built.outputs)}; found {len(joined)}")
        outcome = rebuild(built.structure, iter(joined))
        given = f"\nit was given\n{describe_arguments(outputs=outcome, labels=labels)}"  # it may change them
        what = "score() raised" if function is built.model.score else what
        with users_code():
            said = function(outcome, labels)
            what = "score() returned no number" if function is built.model.score else what
            value = float(said)
    except (Exception, SystemExit) as error:
        found, where, hint = f"{words(error)}{given}", str(built.file.path), missing_file_hint(error)
        raise ModelError(what, found=found, where=where, hint=hint) from error
    if not math.isfinite(value):
        raise ModelError(
            "score() is not usable", wanted="a finite number", found=f"{value}{given}", where=str(built.file.path)
        )
    return value


def _labels(built: BuiltModel, samples: SampleSet) -> Array:
    """The samples' labels; those that stay with the module are read once more where its process has died since.

    Raises:
        ProcessError: they cannot be had again, or come with other inputs.
    """
    if not samples.stay:
        return samples.labels
    where = f"{built.file.path}: samples"
    try:
        there = read_samples(built)
    except ModelError as error:
        raise ProcessError("the labels cannot be read again", found=str(error), where=where) from error
    if there is None or _inputs_hash(built) != samples.inputs_hash:
        what, wanted = "samples() returns others when it is called again", "the same inputs in the same order"
        raise ProcessError(what, wanted=wanted, where=where, hint="seed what chooses or shuffles them")
    return there.labels[samples.labels]


def _inputs_hash(built: BuiltModel) -> str:
    """Tell samples from others, once in a process."""
    if HASH not in built.kept:
        digest = hashlib.sha256()
        for name, column in built.kept[ALL][0].items():
            for part in column if isinstance(column, list) else [column]:
                digest.update(f"{name} {part.dtype} {part.shape}".encode())
                digest.update(np.ascontiguousarray(part).data.cast("B") if part.size else b"")
        built.kept[HASH] = digest.hexdigest()
    found: str = built.kept[HASH]
    return found
