"""What is timed: inputs spread over the declared range, each inference its own, and beside them the file's samples.

A bound on a quantile says something about as many inputs as were timed, not about as many inferences (issue 15, cases
59 and 61).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..feed import RING_BYTES, bytes_of, ring_size, spread
from ..inputs import Arrays, at_sizes, describe_sizes
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


def sizes_note(samples: Mapping[str, int], measured: Mapping[str, int]) -> str:
    """What is said of samples that have other sizes than those that were asked for."""
    return (
        f"the model file's samples were timed at their own sizes, {describe_sizes(samples)}: what was timed"
        f"{at_sizes(measured)} is noise, spread over the declared range, and says nothing of inputs on which the model "
        "works longer there"
    )


def written_note(name: str) -> str:
    """What is said of an input that the model overwrites."""
    return (
        f"the model writes into its input {name!r}: each timed inference had the values that were asked for, written "
        "anew before it, outside of what is timed. Whoever runs it has to do the same, or give it a copy"
    )


@dataclass(frozen=True)
class Content:
    """The inputs of the closed loop: spread ones of the measured sizes, and samples of their own.

    Attributes:
        fills: of the spread ones, for each input of the model; see harness.agent.expand.
        samples: the model file's, cut into sets.
        step: how many samples a set has.
        measure: sizes of the spread ones.
        sizes: those of the samples.
    """

    fills: Sequence[Mapping[str, Any]]
    samples: Sequence[Arrays] = ()
    step: int = 1
    measure: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    def spread_timed(self) -> Timed:
        """What is timed of the spread ones, empty yet."""
        return Timed(UNIFORM, sizes=self.measure)

    def samples_timed(self) -> Timed:
        """What is timed of the samples, empty yet."""
        return Timed(SAMPLES, len(self.samples), step=self.step, sizes=self.sizes)

    @property
    def set_bytes(self) -> int:
        """What one of the samples' sets takes."""
        return bytes_of(self.samples[0]) if self.samples else 0

    def identity(self) -> dict[str, Any]:
        """Which samples these are, in a form that can be compared; empty where there are none."""
        if not self.samples:
            return {}
        digest = hashlib.sha256()
        for arrays in self.samples:
            for name, array in arrays.items():
                digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
                digest.update(np.ascontiguousarray(array).data)
        return {"given": len(self.samples), "samples_sha256": digest.hexdigest()}

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


def content_of(model: Model, samples: Sequence[Arrays] = (), step: int = 1) -> Content:
    """What of a model is timed.

    Args:
        samples: the model file's, cut into sets.
        step: how many samples a set has.
    """
    fills = [
        Fill("uniform", seed=(1 + index) * KEYS_APART).described(item, model.measure)
        for index, item in enumerate(model.inputs)
    ]
    ordered = [{item.name: np.ascontiguousarray(arrays[item.name]) for item in model.inputs} for arrays in samples]
    return Content(fills, ordered, step, model.measure, _sizes(model, ordered[0]) if ordered else {})


def _sizes(model: Model, arrays: Arrays) -> dict[str, int]:
    """The sizes of the model's dimensions that a set of inputs has."""
    found = {
        name: size
        for item in model.inputs
        for name, size in zip(item.shape, arrays[item.name].shape, strict=True)
        if isinstance(name, str)
    }
    return {name: found[name] for name in model.dims if name in found}


def _random(number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox([SEED, number]))


def noise_notes(contents: Sequence[Timed]) -> list[str]:
    """What is said of noise: that there is nothing else, or nothing else of the sizes that were asked for."""
    uniform, *samples = contents
    if not samples:
        return [NOISE]
    return [sizes_note(one.sizes, uniform.sizes) for one in samples if one.sizes != uniform.sizes]


@dataclass
class Timed:
    """What was timed of one content, in each process.

    Attributes:
        name: UNIFORM or SAMPLES.
        given: how many sets of samples there are; 0 where inputs are made, as many as are wanted.
        blocks: durations in nanoseconds, int64[n] of each process; or counted instructions.
        numbers: which input each of them was, int64[n].
        wanted: how many inferences are aimed at.
        pace_s: what one takes, with the making of its input.
        spent_s: what all of them took.
        unit: so many of them are one in what is judged: nanoseconds in a millisecond.
        next_block: the number of the next block of inputs that are made; the first is for warming up.
        step: how many samples a set has.
        sizes: of the model's dimensions.
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
    step: int = 1
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def given_words(self) -> str:
        """The file's samples, for messages: a call may have several of them."""
        if self.step == 1:
            return f"the model file's {self.given} samples"
        return f"the {self.given} calls of {self.step} of the model file's samples each"

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
        if len(starts) == len(values):  # 20 000 of one each would take half a second
            return np.asarray(values[order])
        return np.array([np.median(one) for one in np.split(values[order], starts[1:])])
