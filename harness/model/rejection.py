"""A check that a module accepts the inputs that its file declares; its error names what the module accepts instead.

It runs when the module is built, before anything is measured. If the module rejects an input, others are tried for a
while, so that the message can say what to declare (issue 16, docs/inputs.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ..errors import ModelError
from .accepted_sizes import NO_ROOM, Run, SizeTrial, accepted_of, nearby_sizes
from .inputs import (
    Arrays,
    as_dtype,
    at_sizes,
    describe,
    describe_sizes,
    describe_span,
    sizes_of,
    traced_sizes,
    uniform_set,
)
from .model import Model

# How long the check may take, and how long the search for accepted inputs, in seconds.
CHECK_S = 3.0
SEARCH_S = 10.0
# How many inputs of a size are tried in the search before it counts as rejected.
SEEDS = 3
# With more dimensions than this, one large beside small others is not tried: it would take too long.
MANY = 4


def check_declared(model: Model, run: Run, prepare: Callable[[Arrays], Arrays], where: str) -> None:
    """Refuse a module that rejects sizes or values at the ends of their declared ranges.

    Args:
        model: What the file declares.
        run: Runs the module on inputs; returns its error, "" if it accepts them.
        prepare: Makes drawn inputs valid.
        where: The file, for messages.

    Raises:
        ModelError: It rejects some; the message says what it accepts.
    """

    def make(sizes: Mapping[str, int], seed: int) -> Arrays:
        return prepare(uniform_set(model, sizes, seed))

    trial = SizeTrial(model=model, run=run, make=make, limit_s=CHECK_S)
    for sizes in _sizes_to_check(model):
        if trial.takes(sizes) is False:
            raise rejected(model, run, prepare, make(sizes, 0), trial.last_error, where)
    for end in (0, 1):  # of the range of values
        if time.monotonic() > trial.end:
            return
        arrays = prepare(_at_end(model, traced_sizes(model), end))
        if (error := run(arrays)) and not any(sign in error for sign in NO_ROOM):
            raise rejected(model, run, prepare, arrays, error, where)


def _sizes_to_check(model: Model) -> Iterator[dict[str, int]]:
    """Generate the export example's sizes, the smallest, their neighbours, one large beside small ones, the largest."""
    traced = traced_sizes(model)
    yield traced
    if model.dims:
        yield {name: allowed[0] for name, allowed in model.dims.items()}
        yield {name: allowed[:2][-1] for name, allowed in model.dims.items()}
        for large in model.dims if 1 < len(model.dims) <= MANY else ():
            yield {name: allowed[-1 if name == large else 0] for name, allowed in model.dims.items()}
        yield {name: allowed[-1] for name, allowed in model.dims.items()}


def _at_end(model: Model, sizes: Mapping[str, int], end: int) -> Arrays:
    """Fill inputs with the smallest (end 0) or the largest (end 1) value of their ranges."""
    items = {item.name: item.at(sizes) for item in model.inputs}
    return {name: as_dtype(np.full(item.sizes(sizes), item.range[end]), item) for name, item in items.items()}


def rejected(
    model: Model, run: Run, prepare: Callable[[Arrays], Arrays], arrays: Arrays, error: str, where: str
) -> ModelError:
    """Make the error about a module that rejects declared inputs: search for what it accepts, and name it.

    Args:
        model: What the file declares.
        run: Runs the module on inputs; returns its error, "" if it accepts them.
        prepare: Makes drawn inputs valid.
        arrays: The rejected inputs.
        error: The module's error.
        where: The file, for the message.
    """
    sizes = sizes_of(model.inputs, arrays)
    trial = SizeTrial(
        model=model,
        run=run,
        make=lambda other, seed: prepare(uniform_set(model, other, seed)),
        limit_s=SEARCH_S,
        seeds=SEEDS,
    )
    accepted, hint = _describe_accepted(model, trial, prepare, arrays, sizes)
    return ModelError(
        "the model rejects inputs that its file declares",
        wanted=describe(arrays) + at_sizes(sizes),
        found="\n".join(filter(None, [error, accepted])),
        where=where,
        hint=hint or "correct shape, dtype, dims, the range or the order of `inputs`: they go to forward by position",
    )


def _describe_accepted(
    model: Model, trial: SizeTrial, prepare: Callable[[Arrays], Arrays], arrays: Arrays, sizes: Mapping[str, int]
) -> tuple[str, str]:
    """Describe (what the module accepts, what to do about it); "" for each if nothing accepted was found."""
    if trial.takes(sizes):
        return _describe_values(model, trial, prepare, arrays, sizes)
    base = next((other for other in nearby_sizes(model, sizes) if trial.takes(other)), None)
    if base is None:
        tried = len(trial.known)
        return (f"it rejects all {tried} sizes that were tried" if tried > 1 else ""), ""
    accepted = [each for name in model.dims if (each := accepted_of(trial, name, base)) is not None]
    limited = [(each, words) for each in accepted if (words := each.words(model.dims[each.name]))]
    effort = f"({len(trial.known)} sizes tried, from {describe_sizes(base)})"
    if not limited:
        hint = "mend forward, or leave out of dims what it rejects: (smallest, largest, step), or a list of all sizes"
        return f"it passes{at_sizes(base)} {effort}", hint
    hint = f"declare what passes, dims={{{', '.join(each.declared for each, _ in limited)}}}, or mend forward"
    return f"{'; '.join(words for _, words in limited)} {effort}", hint


def _describe_values(
    model: Model, trial: SizeTrial, prepare: Callable[[Arrays], Arrays], arrays: Arrays, sizes: Mapping[str, int]
) -> tuple[str, str]:
    """Describe which inputs' values are rejected, at sizes that the module accepts with other values."""
    spreads = [uniform_set(model, sizes, seed) for seed in range(SEEDS)]
    rejected_names = [
        name for name in arrays if any(not trial.run(prepare({**arrays, name: spread[name]})) for spread in spreads)
    ]
    hint = (
        'narrow that range (min_value, max_value; max_value="t" is the size of dimension t), or give a function that '
        "makes such inputs valid: Model(prepare=…)"
    )
    if not rejected_names:
        return "it passes at these sizes with values that are spread over their ranges", hint
    ends = {name: describe_span(arrays[name].min(), arrays[name].max()) for name in rejected_names if arrays[name].size}
    names = " or ".join(f"{name} (here {ends.get(name, 'empty')})" for name in rejected_names)
    return f"it passes at these sizes with the values of {names} spread over the range", hint
