"""Which sizes of its dimensions a module accepts, found by trying them (issue 16).

All is run on the host, by the module itself. What is named was tried, and is no proof: of a stride or a threshold the
sizes beside it, and the ends of the range.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .inputs import Arrays, set_bytes
from .model import Model

# Sizes of larger inputs are left to parity: what forward makes of them may have no room on this host.
LARGEST_BYTES = 1 << 26
# What smaller inputs take says nothing of their size.
SMALL_BYTES = 1 << 18
# Sizes of a dimension that are tried one after the other for the next that passes.
NEAR = 130
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


def nearby_sizes(model: Model, sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
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


def accepted_of(trial: Trial, name: str, base: Mapping[str, int]) -> Passing | None:
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
