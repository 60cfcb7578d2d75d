"""What is timed: inputs spread over the declared range, each inference its own, and beside them the file's samples.

A bound on a quantile says something about as many inputs as were timed, not about as many inferences (issue 15, cases
59 and 61).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..agent.expand import expand
from ..model.inputs import Arrays, at_sizes, describe_sizes, sizes_of
from ..model.model import Array, Model
from ..model.ragged import described_sizes
from ..parity.trials.fills import Fill
from .feed import RING_BYTES, bytes_of, fill_bytes, ring_size, spread

Prepare = Callable[[Sequence[Arrays]], list[Arrays]]

UNIFORM = "uniform"
SAMPLES = "samples"
# Keys of two inputs of a model lie so far apart that their blocks never share one.
KEYS_APART = 1 << 40
SEED = 15
# Of inputs that the host makes, one block's numbers lie so far from the next one's.
BLOCK = 1 << 20
# By so many of them it is seen whether prepare makes what it did.
COMPARED = 3

NOISE = (
    "the model file has no samples: what was timed is noise, spread over the declared range, and says nothing of "
    "inputs on which the model works longer"
)


def sizes_note(samples: Mapping[str, int | str], measured: Mapping[str, int | str]) -> str:
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
        sizes: those of the samples; the ends of those that differ, as in "40…120".
        names: of the inputs, in the order of the fills.
        prepare: makes drawn sets valid, where the model file has a function for it: the host makes spread ones then.
    """

    fills: Sequence[Mapping[str, Any]]
    samples: Sequence[Arrays] = ()
    step: int = 1
    measure: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int | str] = field(default_factory=dict)
    names: Sequence[str] = ()
    prepare: Prepare | None = None

    def spread_timed(self) -> Timed:
        """What is timed of the spread ones, empty yet."""
        return Timed(UNIFORM, sizes=self.measure)

    def samples_timed(self) -> Timed:
        """What is timed of the samples, empty yet."""
        return Timed(SAMPLES, len(self.samples), step=self.step, sizes=self.sizes)

    @property
    def set_bytes(self) -> int:
        """What one of the samples' sets takes; the largest, where they differ."""
        return max(map(bytes_of, self.samples), default=0)

    def identity(self) -> dict[str, Any]:
        """Which samples these are, and what prepare makes, in a form that can be compared; empty without any."""
        found: dict[str, Any] = {}
        if self.samples:
            found = {"given": len(self.samples), "samples_sha256": _sets_sha256(self.samples)}
        if self.prepare is not None:
            found["prepared_sha256"] = _sets_sha256(self.made(0, COMPARED))
        return found

    def made(self, block: int, count: int) -> list[Arrays]:
        """Spread inputs that the host makes, for it alone can prepare them; each block has others.

        Raises:
            ModelError: the model file's prepare cannot be used.
        """
        assert self.prepare is not None, "else the device makes them"
        drawn = []
        for number in range(block * BLOCK, block * BLOCK + count):
            fills = [{**fill, "key": fill["key"] + number} for fill in self.fills]
            drawn.append({name: expand(fill, ()) for name, fill in zip(self.names, fills, strict=True)})
        return self.prepare(drawn)

    @property
    def made_at_a_time(self) -> int:
        """How many of these the device keeps at a time."""
        return max(RING_BYTES // max(fill_bytes(self.fills), 1), 1)

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


def _sets_sha256(sets: Sequence[Arrays]) -> str:
    digest = hashlib.sha256()
    for arrays in sets:
        for name, array in arrays.items():
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def content_of(model: Model, samples: Sequence[Arrays] = (), step: int = 1, prepare: Prepare | None = None) -> Content:
    """What of a model is timed.

    Args:
        samples: the model file's, cut into sets.
        step: how many samples a set has.
        prepare: makes drawn sets as the model file's prepare has them; not used where it has none.
    """
    fills = [
        Fill("uniform", seed=(1 + index) * KEYS_APART).described(item, model.measure)
        for index, item in enumerate(model.inputs)
    ]
    ordered = [{item.name: np.ascontiguousarray(arrays[item.name]) for item in model.inputs} for arrays in samples]
    return Content(
        fills,
        ordered,
        step,
        model.measure,
        described_sizes([_sizes(model, arrays) for arrays in ordered]),
        [item.name for item in model.inputs],
        prepare if model.prepare is not None else None,
    )


def _sizes(model: Model, arrays: Arrays) -> dict[str, int]:
    """The sizes of the model's dimensions that a set of inputs has."""
    found = sizes_of(model.inputs, arrays)
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
    sizes: Mapping[str, int | str] = field(default_factory=dict)

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
