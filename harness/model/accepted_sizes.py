"""A search for the sizes of its dimensions that a module accepts (issue 16).

The module itself is run on the host, at one set of sizes after the other. The result rests on samples and is no proof:
for a stride or a threshold, the sizes beside it and the ends of the range were tried.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .inputs import Arrays, set_bytes
from .model import Model

# Larger inputs are not tried here but left to parity: forward may need many times their memory.
LARGEST_BYTES = 1 << 26
# Below this size an inference takes its fixed cost, so that its time says nothing about larger inputs.
SMALL_BYTES = 1 << 18
# How many neighbouring sizes are tried, one after the other, to find the next accepted one.
NEAR = 130
STRIDES = (2, 4, 8, 16, 32, 64, 128)
# Found in errors about this host's memory, which say nothing about the sizes.
NO_ROOM = ("not enough memory", "llocate memory", "MemoryError")

# Runs the module on inputs, and returns its error; "" if it accepts them.
Run = Callable[[Arrays], str]


@dataclass(kw_only=True)
class SizeTrial:
    """Tries a module at different sizes until the time is up, and remembers the results.

    Args:
        model: What the file declares.
        run: Runs the module on inputs.
        make: Makes inputs of given sizes from a seed.
        limit_s: How long to try, in seconds.
        seeds: How many inputs to try at each size before it counts as rejected: it may be the values that are.
        known: The results so far, by sizes.
        last_error: The module's last error.
    """

    model: Model
    run: Run
    make: Callable[[Mapping[str, int], int], Arrays]
    limit_s: float
    seeds: int = 1
    end: float = field(init=False)
    known: dict[tuple[int, ...], bool] = field(default_factory=dict)
    last_error: str = ""
    _pace_s: float = 0.0  # the longest time so far, per byte of inputs

    def __post_init__(self) -> None:
        self.end = time.monotonic() + self.limit_s

    def takes(self, sizes: Mapping[str, int]) -> bool | None:
        """Tell whether the module accepts inputs of these sizes; None if there is no time or memory to try."""
        key = tuple(sizes.values())
        if key in self.known:
            return self.known[key]
        size, start = set_bytes(self.model, sizes), time.monotonic()
        if size > LARGEST_BYTES or start + self._pace_s * max(size, SMALL_BYTES) > self.end:
            return None
        for seed in range(self.seeds):
            if not (error := self.run(self.make(sizes, seed))):
                break
        if any(sign in error for sign in NO_ROOM):
            return None
        self._pace_s = max(self._pace_s, (time.monotonic() - start) / max(size, SMALL_BYTES))
        self.last_error = error or self.last_error
        self.known[key] = not error
        return not error


@dataclass(frozen=True)
class AcceptedSizes:
    """The sizes of one dimension that a module accepts, the other dimensions being fixed.

    Attributes:
        name: The dimension.
        sizes: The accepted sizes, ascending; a range if the dimension is declared as one.
        count: How many sizes are declared.
    """

    name: str
    sizes: Sequence[int]
    count: int

    @property
    def declared(self) -> str:
        """The entry of ``dims`` that declares these sizes."""
        if not isinstance(self.sizes, range):
            return f'"{self.name}": {list(self.sizes)}'
        step = f", {self.sizes.step}" if self.sizes.step > 1 and len(self.sizes) > 1 else ""
        return f'"{self.name}": ({self.sizes[0]}, {self.sizes[-1]}{step})'

    def words(self, declared: Sequence[int]) -> str:
        """Describe the accepted sizes for a message; "" if all declared sizes are accepted."""
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
    """Generate sizes that the module may accept: with one dimension changed, then with all changed together."""
    for name, allowed in model.dims.items():
        for size in _around(allowed, sizes[name]):
            yield {**sizes, name: size}
    for stride in STRIDES:
        yield {name: _multiple(allowed, sizes[name], stride) for name, allowed in model.dims.items()}
    for part in (0.0, 0.5, 1.0):
        yield {name: allowed[int(part * (len(allowed) - 1))] for name, allowed in model.dims.items()}


def _around(allowed: Sequence[int], size: int) -> list[int]:
    multiples = [_multiple(allowed, size, stride) for stride in STRIDES]
    return list(dict.fromkeys([*multiples, allowed[0], allowed[-1], allowed[len(allowed) // 2]]))


def _multiple(allowed: Sequence[int], size: int, stride: int) -> int:
    """Return the nearest declared multiple of a stride; the size itself if there is none."""
    up = -(-size // stride) * stride
    return next((near for near in (up, up - stride) if near in allowed and near > 0), size)


def accepted_of(trial: SizeTrial, name: str, base: Mapping[str, int]) -> AcceptedSizes | None:
    """Find the accepted sizes of one dimension, starting at accepted sizes; return None if the time is up.

    Of a range it assumes that the accepted sizes are every n-th between two ends; of a list it tries all.

    Args:
        trial: Tries the module.
        name: The dimension.
        base: Sizes of all dimensions that the module accepts.
    """
    allowed = trial.model.dims[name]
    here = bisect_left(allowed, base[name])

    def takes(place: int) -> bool:
        is_taken = trial.takes({**base, name: allowed[place]})
        if is_taken is None:
            raise TimeoutError
        return is_taken

    try:
        if not isinstance(allowed, range):
            return AcceptedSizes(name, [size for place, size in enumerate(allowed) if takes(place)], len(allowed))
        gap = _gap(takes, here, len(allowed))
        down, up = range(here, -1, -gap), range(here, len(allowed), gap)
        return AcceptedSizes(name, allowed[_last(takes, down) : _last(takes, up) + 1 : gap], len(allowed))
    except TimeoutError:
        return None


def _gap(takes: Callable[[int], bool], here: int, count: int) -> int:
    """Measure the distance from an accepted place to the next accepted one; ``count`` if none is near."""
    for distance in range(1, min(NEAR, count)):
        if any(0 <= place < count and takes(place) for place in (here + distance, here - distance)):
            return distance
    return count


def _last(takes: Callable[[int], bool], places: Sequence[int]) -> int:
    """Bisect: return the last accepted one of places of which the first is accepted."""
    if takes(places[-1]):
        return places[-1]
    low, high = 0, len(places) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if takes(places[middle]) else (low, middle)
    return places[low]
