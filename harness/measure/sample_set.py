"""The model file's samples: read, validated, and cut into sets of inputs for one call each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError
from ..model.build import BuiltModel
from ..model.dimension import describe_dimension
from ..model.inputs import Arrays
from ..model.model import Array, Input, Model
from ..model.ragged import Column, as_list, chosen_of, fit_each, read_column, read_labels, typed
from ..model.user_code import missing_file_hint, users_code, words
from ..parity.trials.samples import SAMPLES, samples_of
from .nesting import describe_value
from .sample_range import check_range

# Keys of BuiltModel.kept: all samples, those that the search for mismatches mutates, and notes on samples.
ALL, SEARCHED, REMARKS = "samples", "searched samples", "remarks on the samples"


@dataclass(frozen=True, kw_only=True)
class SampleSet:
    """Real samples, cut into sets of inputs for one call each.

    Samples have sizes of their own, within the model's dims; ``measure`` only decides how many go into a call, where
    the first axis counts them.

    Attributes:
        sets: The inputs of each call, by name. The last set may repeat samples of the one before, to be of full size.
        labels: array[N, …]; if ``stay``, the places of the labels among all, int[N].
        stacked: Whether a set is one sample, with the model's whole shape: outputs are then stacked, else concatenated.
        step: How many samples a set has.
        given: How many samples the model file has.
        stay: Whether the labels are objects, perhaps of the user's own classes, which stay in the model's process.
        inputs_hash: The hash of all inputs; only if ``stay``.
        lists: The places of eager's outputs that cannot be one array, for their shapes differ: score() gets lists.
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
        """Join one output of all sets to one array whose first axis counts the samples, or to a list if shapes differ.

        An output whose first axis does not count samples (a state, a global score) is stacked, set by set.

        Args:
            outputs: The output of each set.
            as_lists: Whether eager's output is a list: the form that score() gets must not depend on the backend.
        """
        if as_lists or len({output.shape for output in outputs}) > 1:
            return as_list(outputs, self.step, self.stacked, -len(self.labels) % self.step)
        if self.stacked or any(output.shape[:1] != (self.step,) for output in outputs):
            return np.stack(outputs)
        repeated = -len(self.labels) % self.step
        parts = [*outputs[:-1], outputs[-1][repeated:]]
        return np.concatenate(parts)


def read_samples(built: BuiltModel, at_most: int | None = None) -> SampleSet | None:
    """Read and validate the model file's samples, in its process; return None if it has none.

    Args:
        built: The model; it keeps the samples for the next call.
        at_most: How many to take, evenly spread over all; None for all.

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
        chosen = spread_places(count, max(at_most, step))
        columns = {name: chosen_of(column, chosen) for name, column in columns.items()}
        answers = answers[chosen]
    sets = tuple(_cut(columns, len(answers), step, stacked))
    return SampleSet(sets=sets, labels=answers, stacked=stacked, step=step, given=count)


def spread_places(count: int, number: int) -> Array:
    """Return ``number`` of the places 0 … count - 1, evenly spread, int[number]."""
    return np.linspace(0, count - 1, number).round().astype(int)


def _read_all(built: BuiltModel) -> tuple[dict[str, Column], Array, bool, int]:
    """Call samples(); return (inputs by name, labels, stacked, step) of all samples, as SampleSet has them."""
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
        description = "" if returned is None else f"\nit returned {describe_value(returned)}"
        what = "samples() raised" if returned is None else "what samples() returned cannot be used"
        found, hint = f"{words(error)}{description}", missing_file_hint(error)
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
    """Tell whether samples of different sizes have the model's whole shape; each goes into a call of its own.

    Raises:
        ModelError: A sample does not fit.
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
    """Find out how one input's samples go into calls: (stacked, samples in a set).

    Args:
        item: The input.
        column: Its samples, array[N, …].
        model: What the file declares.
        sizes: The sizes of the dimensions of the inputs before; gains those of this one.
        count: How many labels there are.
        where: The file, for messages.

    Raises:
        ModelError: The samples do not fit the input's shape.
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
    """Tell whether sizes are what a shape allows and agree with the inputs before; if so, add them to ``sizes``."""
    bound = dict(sizes)
    if len(shape) != len(found):
        return False
    for size, actual in zip(shape, found, strict=True):
        allowed = model.dims[size] if isinstance(size, str) else (size,)
        if actual not in allowed or (isinstance(size, str) and bound.setdefault(size, actual) != actual):
            return False
    sizes.update(bound)
    return True


def _step(first: int | str, model: Model, sizes: Mapping[str, int], count: int) -> int:
    """Decide how many samples go into a call whose first axis counts them: the measured size, or what there is."""
    if not isinstance(first, str):
        return first
    allowed = model.dims[first]
    most = min(model.measured_sizes[first], count)
    return sizes.get(first, allowed[max(bisect_right(allowed, most) - 1, 0)])


def _written(shape: Sequence[int | str], model: Model) -> str:
    """Format a shape, with the sizes that each named dimension may have."""
    named = {name: describe_dimension(allowed) for name, allowed in model.dims.items()}
    return f"[{', '.join(named[size] if isinstance(size, str) else str(size) for size in shape)}]"


def _cut(columns: Mapping[str, Column], count: int, step: int, stacked: bool) -> Iterator[Arrays]:
    """Cut the inputs into sets; see SampleSet."""
    if any(isinstance(column, list) for column in columns.values()):
        for index in range(count):
            each = {name: column[index] for name, column in columns.items()}
            yield each if stacked else {name: array[np.newaxis] for name, array in each.items()}
        return
    for start in range(0, count, step):
        first = min(start, count - step)
        at: Any = first if stacked else slice(first, first + step)
        yield {name: np.asarray(np.asarray(column)[at]) for name, column in columns.items()}


def searched_samples(built: BuiltModel) -> list[Arrays]:
    """Read the samples that the search for mismatches mutates: a question (see BuiltModel).

    Raises:
        ModelError: As read_samples.
    """
    if SEARCHED not in built.kept:
        samples = read_samples(built, SAMPLES)
        built.kept[SEARCHED] = samples_of(samples.sets, built.model) if samples else []
    sets: list[Arrays] = built.kept[SEARCHED]
    return sets


def sample_notes(built: BuiltModel) -> list[str]:
    """Return notes on the samples, to be shown whatever is measured: a question (see BuiltModel).

    Raises:
        ModelError: As read_samples.
    """
    read_samples(built)
    notes: list[str] = built.kept.get(REMARKS, [])
    return notes
