"""What of the declared inputs a module takes. It is looked at when the module is built, before anything is measured;
where it rejects some, others are tried for a while, and the message names what passes (issue 16).

All is run on the host, by the module itself. What is named was tried, and is no proof: of a stride or a threshold the
sizes beside it, and the ends of the range.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import ModelError
from .inputs import (
    Arrays,
    as_dtype,
    at_sizes,
    describe,
    describe_sizes,
    describe_span,
    set_bytes,
    sizes_of,
    traced_sizes,
    uniform_set,
)
from .model import Model

# For how long it is looked whether all is taken; and what passes, where something is not.
LOOK_S = 3.0
TELL_S = 10.0
# Sizes of larger inputs are left to parity: what forward makes of them may have no room on this host.
LARGEST_BYTES = 1 << 26
# What smaller inputs take says nothing of their size.
SMALL_BYTES = 1 << 18
# Of each size so many inputs, before it is called rejected.
SEEDS = 3
# Sizes of a dimension that are tried one after the other for the next that passes.
NEAR = 130
# Of more dimensions it is not tried that one is large where the others are small.
MANY = 4
STRIDES = (2, 4, 8, 16, 32, 64, 128)
# In what a runtime says when this host has no room: that says nothing of the sizes.
NO_ROOM = ("not enough memory", "llocate memory", "MemoryError")

# Runs the module, and returns why it rejects the inputs; "" where it takes them.
Run = Callable[[Arrays], str]


@dataclass
class Trial:
    """A module tried at sizes, until the time is up.

    Args:
        make: inputs of these sizes, by a seed.
        seeds: how many inputs are tried of each size: values may be what is rejected.
    """

    model: Model
    run: Run
    make: Callable[[Mapping[str, int], int], Arrays]
    limit_s: float
    seeds: int = 1
    end: float = field(init=False)
    known: dict[tuple[int, ...], bool] = field(default_factory=dict)
    said: str = ""
    _pace_s: float = 0.0  # of a byte of inputs

    def __post_init__(self) -> None:
        self.end = time.monotonic() + self.limit_s

    def takes(self, sizes: Mapping[str, int]) -> bool | None:
        """Whether it takes inputs of these sizes; None where there is no time, or no room, to try."""
        key = tuple(sizes.values())
        if key in self.known:
            return self.known[key]
        size, start = set_bytes(self.model, sizes), time.monotonic()
        if size > LARGEST_BYTES or start + self._pace_s * max(size, SMALL_BYTES) > self.end:
            return None
        for seed in range(self.seeds):
            if not (said := self.run(self.make(sizes, seed))):
                break
        if any(sign in said for sign in NO_ROOM):
            return None
        self._pace_s = max(self._pace_s, (time.monotonic() - start) / max(size, SMALL_BYTES))
        self.said = said or self.said
        self.known[key] = not said
        return not said


@dataclass(frozen=True)
class Passing:
    """Which sizes of one dimension pass, the others being as they are.

    Attributes:
        sizes: those that pass, ascending: of a range, a range.
        count: how many are declared.
    """

    name: str
    sizes: Sequence[int]
    count: int

    @property
    def declared(self) -> str:
        """As a model file has it."""
        if not isinstance(self.sizes, range):
            return f'"{self.name}": {list(self.sizes)}'
        step = f", {self.sizes.step}" if self.sizes.step > 1 and len(self.sizes) > 1 else ""
        return f'"{self.name}": ({self.sizes[0]}, {self.sizes[-1]}{step})'

    def words(self, declared: Sequence[int]) -> str:
        """For a message; "" where all passes that is declared."""
        sizes, name = self.sizes, self.name
        if len(sizes) == self.count:
            return ""
        if not isinstance(sizes, range) or len(sizes) == 1:
            return f"passes with {name} = {', '.join(map(str, sizes))}"
        first, last, step = sizes[0], sizes[-1], sizes.step
        below, above = first - step >= declared[0], last + step <= declared[-1]
        if isinstance(declared, range) and step == declared.step:
            ends = [f"{first} <= " if below and above else "", name, f" <= {last}" if above else f" >= {first}"]
            return f"passes with {''.join(ends)}"
        ends = [f" from {first} on" if below else "", f" up to {last}" if above else ""]
        if first % step:
            return f"every {step}th {name} passes, from {first} on{ends[1]}"
        return f"every multiple of {step} passes as {name}{''.join(ends)}"


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
    base = next((other for other in _others(model, sizes) if trial.takes(other)), None)
    if base is None:
        tried = len(trial.known)
        return (f"it rejects all {tried} sizes that were tried" if tried > 1 else ""), ""
    found = [one for name in model.dims if (one := _passing(trial, name, base)) is not None]
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


def _others(model: Model, sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Sizes among which one may pass: one dimension changed, then all of them together."""
    for name, allowed in model.dims.items():
        for size in _around(allowed, sizes[name]):
            yield {**sizes, name: size}
    for stride in STRIDES:
        yield {name: _multiple(allowed, sizes[name], stride) for name, allowed in model.dims.items()}
    for part in (0.0, 0.5, 1.0):
        yield {name: allowed[int(part * (len(allowed) - 1))] for name, allowed in model.dims.items()}


def _around(allowed: Sequence[int], size: int) -> list[int]:
    tried = [_multiple(allowed, size, stride) for stride in STRIDES]
    return list(dict.fromkeys([*tried, allowed[0], allowed[-1], allowed[len(allowed) // 2]]))


def _multiple(allowed: Sequence[int], size: int, stride: int) -> int:
    """The nearest multiple that is declared; the size itself where there is none."""
    up = -(-size // stride) * stride
    return next((near for near in (up, up - stride) if near in allowed and near > 0), size)


def _passing(trial: Trial, name: str, base: Mapping[str, int]) -> Passing | None:
    """What passes of one dimension, from sizes that pass; None where the time was up."""
    allowed = trial.model.dims[name]
    here = bisect_left(allowed, base[name])

    def takes(place: int) -> bool:
        taken = trial.takes({**base, name: allowed[place]})
        if taken is None:
            raise TimeoutError
        return taken

    try:
        if not isinstance(allowed, range):
            return Passing(name, [size for place, size in enumerate(allowed) if takes(place)], len(allowed))
        gap = _gap(takes, here, len(allowed))
        down, up = range(here, -1, -gap), range(here, len(allowed), gap)
        return Passing(name, allowed[_last(takes, down) : _last(takes, up) + 1 : gap], len(allowed))
    except TimeoutError:
        return None


def _gap(takes: Callable[[int], bool], here: int, count: int) -> int:
    """How far the next place that passes is from one that does, in either direction; all the way where none is near."""
    for distance in range(1, min(NEAR, count)):
        if any(0 <= place < count and takes(place) for place in (here + distance, here - distance)):
            return distance
    return count


def _last(takes: Callable[[int], bool], places: Sequence[int]) -> int:
    """Bisect for the last place that passes, of some of which the first does."""
    if takes(places[-1]):
        return places[-1]
    low, high = 0, len(places) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if takes(places[middle]) else (low, middle)
    return places[low]
