"""Whether a module rejects inputs that its file declares, and what it accepts instead.

It is looked at when the module is built, before anything is measured; where it rejects some, others are tried for a
while, and the message names what passes (issue 16).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ..errors import ModelError
from .accepted_sizes import NO_ROOM, Run, Trial, accepted_of, nearby_sizes
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

# For how long it is looked whether all is taken; and what passes, where something is not.
LOOK_S = 3.0
TELL_S = 10.0
# Of each size so many inputs, before it is called rejected.
SEEDS = 3
# Of more dimensions it is not tried that one is large where the others are small.
MANY = 4


def check_declared(model: Model, run: Run, prepare: Callable[[Arrays], Arrays], where: str) -> None:
    """Refuse a module that rejects a size at an end of its range, or values at an end of theirs.

    Args:
        prepare: makes drawn inputs valid.

    Raises:
        ModelError: it does, with what passes.
    """

    def make(sizes: Mapping[str, int], seed: int) -> Arrays:
        return prepare(uniform_set(model, sizes, seed))

    trial = Trial(model, run, make, LOOK_S)
    for sizes in _looked_at(model):
        if trial.takes(sizes) is False:
            said = trial.said
            raise rejected(model, run, prepare, make(sizes, 0), said, where)
    for end in (0, 1):  # of the values
        if time.monotonic() > trial.end:
            return
        arrays = prepare(_at_end(model, traced_sizes(model), end))
        if (said := run(arrays)) and not any(sign in said for sign in NO_ROOM):
            raise rejected(model, run, prepare, arrays, said, where)


def _looked_at(model: Model) -> Iterator[dict[str, int]]:
    """The example's sizes, the smallest, their neighbours, one large beside small ones, the largest."""
    traced = traced_sizes(model)
    yield traced
    if model.dims:
        yield {name: allowed[0] for name, allowed in model.dims.items()}
        yield {name: allowed[:2][-1] for name, allowed in model.dims.items()}
        for one in model.dims if 1 < len(model.dims) <= MANY else ():
            yield {name: allowed[-1 if name == one else 0] for name, allowed in model.dims.items()}
        yield {name: allowed[-1] for name, allowed in model.dims.items()}


def _at_end(model: Model, sizes: Mapping[str, int], end: int) -> Arrays:
    items = {item.name: item.at(sizes) for item in model.inputs}
    return {name: as_dtype(np.full(item.sizes(sizes), item.range[end]), item) for name, item in items.items()}


def rejected(
    model: Model, run: Run, prepare: Callable[[Arrays], Arrays], arrays: Arrays, said: str, where: str
) -> ModelError:
    """Make the error of a module that rejects inputs which its file declares, with what it takes.

    Args:
        arrays: what it rejects.
        said: its own words.
    """
    sizes = sizes_of(model.inputs, arrays)
    trial = Trial(model, run, lambda other, seed: prepare(uniform_set(model, other, seed)), TELL_S, SEEDS)
    words, hint = _told(model, trial, prepare, arrays, sizes)
    return ModelError(
        "the model rejects inputs that its file declares",
        wanted=describe(arrays) + at_sizes(sizes),
        found="\n".join(filter(None, [said, words])),
        where=where,
        hint=hint or "correct shape, dtype, dims, the range or the order of `inputs`: they go to forward by position",
    )


def _told(
    model: Model, trial: Trial, prepare: Callable[[Arrays], Arrays], arrays: Arrays, sizes: Mapping[str, int]
) -> tuple[str, str]:
    """(what passes, what to do) in words; empty where nothing was found that passes."""
    if trial.takes(sizes):
        return _told_of_values(model, trial, prepare, arrays, sizes)
    base = next((other for other in nearby_sizes(model, sizes) if trial.takes(other)), None)
    if base is None:
        tried = len(trial.known)
        return (f"it rejects all {tried} sizes that were tried" if tried > 1 else ""), ""
    found = [one for name in model.dims if (one := accepted_of(trial, name, base)) is not None]
    telling = [(one, words) for one in found if (words := one.words(model.dims[one.name]))]
    effort = f"({len(trial.known)} sizes tried, from {describe_sizes(base)})"
    if not telling:
        hint = "mend forward, or leave out of dims what it rejects: (smallest, largest, step), or a list of all sizes"
        return f"it passes{at_sizes(base)} {effort}", hint
    hint = f"declare what passes, dims={{{', '.join(one.declared for one, _ in telling)}}}, or mend forward"
    return f"{'; '.join(words for _, words in telling)} {effort}", hint


def _told_of_values(
    model: Model, trial: Trial, prepare: Callable[[Arrays], Arrays], arrays: Arrays, sizes: Mapping[str, int]
) -> tuple[str, str]:
    """The sizes pass with other values: say of which input they are."""
    spreads = [uniform_set(model, sizes, seed) for seed in range(SEEDS)]
    guilty = [
        name for name in arrays if any(not trial.run(prepare({**arrays, name: spread[name]})) for spread in spreads)
    ]
    hint = (
        'narrow that range (min_value, max_value; max_value="t" is the size of dimension t), or give a function that '
        "makes such inputs valid: Model(prepare=…)"
    )
    if not guilty:
        return "it passes at these sizes with values that are spread over their ranges", hint
    ends = {name: describe_span(arrays[name].min(), arrays[name].max()) for name in guilty if arrays[name].size}
    said = " or ".join(f"{name} (here {ends.get(name, 'empty')})" for name in guilty)
    return f"it passes at these sizes with the values of {said} spread over the range", hint
