"""What is timed: inputs spread over the declared range, each inference its own, and beside them the file's samples.

A bound on a quantile says something about as many inputs as were timed, not about as many inferences (issue 15, cases
59 and 61).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..feed import RING_BYTES, bytes_of, ring_size, spread
from ..inputs import Arrays
from ..model import Array, Model
from ..parity.fills import Fill

UNIFORM = "uniform"
SAMPLES = "samples"
# Keys of two inputs of a model lie so far apart that their blocks never share one.
KEYS_APART = 1 << 40
SEED = 15

NOISE = (
    "the model file has no samples: what was timed is noise, spread over the declared range, and says nothing of "
    "inputs on which the model works longer"
)


def written_note(name: str) -> str:
    """What is said of an input that the model overwrites."""
    return (
        f"the model writes into its input {name!r}: each timed inference had the values that were asked for, written "
        "anew before it, outside of what is timed. Whoever runs it has to do the same, or give it a copy"
    )


@dataclass(frozen=True)
class Content:
    """The inputs of the closed loop, at the measured sizes.

    Attributes:
        fills: of the spread ones, for each input of the model; see harness.agent.expand.
        samples: the model file's, cut into sets.
    """

    fills: Sequence[Mapping[str, Any]]
    samples: Sequence[Arrays] = ()

    @property
    def set_bytes(self) -> int:
        """What one of the samples' sets takes."""
        return bytes_of(self.samples[0]) if self.samples else 0

    def blocks_of(self, count: int) -> int:
        """How many blocks of the ring so many spread inputs take, at most."""
        return -(-count // int(spread(self.fills, 0).header["ring"]))

    def ring_share(self) -> float:
        """How many inferences a block adds that are not timed, to each that is."""
        return 1 / int(spread(self.fills, 0).header["ring"])

    def sequence(self, start: int, count: int) -> Array:
        """The samples' numbers in random order, each as often as any other, from a place in it on: int64[count]."""
        given = len(self.samples)
        rounds = range(start // given, -(-(start + count) // given))
        numbers = np.concatenate([_random(at).permutation(given) for at in rounds])
        first = start - rounds.start * given
        return numbers[first : first + count].astype(np.int64)

    def portions(self, numbers: Array) -> Iterator[tuple[list[int], list[int]]]:
        """So many samples as the device keeps at a time, and the order in which those are run, by their place there.

        Each is sent once, however often it is run.
        """
        most = max(RING_BYTES // max(self.set_bytes, 1), 1)
        times = Counter(numbers.tolist())
        distinct = list(times)
        random = _random(int(numbers[0]))
        for start in range(0, len(distinct), most):
            chosen = distinct[start : start + most]
            order = np.repeat(np.arange(len(chosen)), [times[number] for number in chosen])
            yield chosen, random.permutation(order).tolist()

    def sample_ring_share(self) -> float:
        """As ring_share, of the samples."""
        return 1 / ring_size(self.set_bytes)


def content_of(model: Model, samples: Sequence[Arrays] = ()) -> Content:
    """What of a model is timed.

    Args:
        samples: sets of the measured sizes.
    """
    fills = [
        Fill("uniform", seed=(1 + index) * KEYS_APART).described(item, model.measure)
        for index, item in enumerate(model.inputs)
    ]
    ordered = [{item.name: np.ascontiguousarray(arrays[item.name]) for item in model.inputs} for arrays in samples]
    return Content(fills, ordered)


def _random(number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox([SEED, number]))


@dataclass
class Timed:
    """What was timed of one content, in each process.

    Attributes:
        name: UNIFORM or SAMPLES.
        given: how many samples there are; 0 where inputs are made, as many as are wanted.
        blocks: durations in nanoseconds, int64[n] of each process; or counted instructions.
        numbers: which input each of them was, int64[n].
        wanted: how many inferences are aimed at.
        pace_s: what one takes, with the making of its input.
        spent_s: what all of them took.
        unit: so many of them are one in what is judged: nanoseconds in a millisecond.
        next_block: the number of the next block of inputs that are made; the first is for warming up.
    """

    name: str
    given: int = 0
    blocks: list[Array] = field(default_factory=list)
    numbers: list[Array] = field(default_factory=list)
    wanted: int = 0
    pace_s: float = 0.0
    spent_s: float = 0.0
    unit: float = 1e6
    next_block: int = 1

    @property
    def count(self) -> int:
        """How many inferences were timed."""
        return sum(map(len, self.blocks))

    @property
    def values(self) -> Array:
        """All of them, float64[n], in milliseconds."""
        return np.concatenate([*self.blocks, np.empty(0, np.int64)]) / self.unit

    @property
    def inputs(self) -> int:
        """How many different inputs these were."""
        return len(np.unique(np.concatenate([*self.numbers, np.empty(0, np.int64)])))

    @property
    def is_whole(self) -> bool:
        """Whether all of the file's samples were timed."""
        return 0 < self.given == self.inputs

    def medians(self) -> Array:
        """Of each different input, its own median: float64[inputs]."""
        values, numbers = self.values, np.concatenate([*self.numbers, np.empty(0, np.int64)])
        order = np.argsort(numbers, kind="stable")
        starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
        return np.array([np.median(one) for one in np.split(values[order], starts[1:])])
