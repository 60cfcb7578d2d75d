"""What is timed: inputs spread over the declared range, another for each inference, and the model file's samples.

A bound on a quantile holds for as many inputs as were timed, not for as many inferences (issue 15, cases 59 and 61).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ..agent.expand import expand
from ..agent.pacing import NEVER
from ..checks.blocks import Blocks
from ..model.inputs import Arrays, at_sizes, describe_sizes, sizes_of
from ..model.model import Array, Model
from ..model.ragged import described_sizes
from .drawn import DrawnSizes, drawn_of, uniform_fills
from .failed_calls import count_kinds
from .feed import RING_BYTES, bytes_of, fill_bytes, ring_size, spread

Prepare = Callable[[Sequence[Arrays]], list[Arrays]]

UNIFORM = "uniform"
SAMPLES = "samples"
# What a device may note of each inference beside its duration: lists of Timed, and keys of a measuring call's account.
NOTED = ("first_parts", "sides")
SEED = 15
# The inputs that the host makes for warming up are numbered from 0 on, those that are timed from here on.
BLOCK = 1 << 20
# As many prepared sets are hashed to see whether the model file's prepare still makes the same.
COMPARED = 3

NOISE = (
    "the model file has no samples: what was timed is noise, spread over the declared range, and says nothing of "
    "inputs on which the model works longer"
)


def sizes_note(samples: Mapping[str, int | str], measured: Mapping[str, int | str]) -> str:
    """Word the note that samples were timed at other sizes than those that were asked for."""
    return (
        f"the model file's samples were timed at their own sizes, {describe_sizes(samples)}: what was timed"
        f"{at_sizes(measured)} is noise, spread over the declared range, and says nothing of inputs on which the model "
        "works longer there"
    )


def written_note(name: str) -> str:
    """Word the note that the model overwrites an input."""
    return (
        f"the model writes into its input {name!r}: each timed inference had the values that were asked for, written "
        "anew before it, outside of what is timed. Whoever runs it has to do the same, or give it a copy"
    )


@dataclass(frozen=True, kw_only=True)
class Content:
    """The inputs of the closed loop: inputs that are spread over the declared range, and the model file's samples.

    Attributes:
        fills: what makes the spread inputs, for each input of the model; see harness.agent.expand.
        samples: the model file's, cut into sets.
        step: how many samples a set has.
        measure: sizes of the spread inputs.
        sizes: sizes of the samples; the ends of those that differ, as in "40…120".
        names: the inputs' names, in the order of the fills.
        prepare: makes drawn sets valid, where the model file has a function for it: then the host makes the spread
            inputs.
        drawn: the sizes of each of them, where they differ: then the host makes them, too, and ``fills`` are of the
            largest sizes.
    """

    fills: Sequence[Mapping[str, Any]]
    samples: Sequence[Arrays] = ()
    step: int = 1
    measure: Mapping[str, int | str] = field(default_factory=dict)
    sizes: Mapping[str, int | str] = field(default_factory=dict)
    names: Sequence[str] = ()
    prepare: Prepare | None = None
    drawn: DrawnSizes | None = None

    @property
    def is_made(self) -> bool:
        """Whether the host makes the spread inputs, which alone can prepare them, and draws their sizes."""
        return self.prepare is not None or self.drawn is not None

    def at_largest(self) -> Content:
        """Return the same at the largest sizes, where they are drawn; of a model at fixed sizes, this."""
        if self.drawn is None:
            return self
        return replace(self, drawn=None, measure={name: sizes[-1] for name, sizes in self.drawn.dims.items()})

    def spread_timed(self) -> Timed:
        """Make the account of the spread inputs, empty yet."""
        return Timed(name=UNIFORM, sizes=self.measure, drawn=self.drawn)

    def samples_timed(self) -> Timed:
        """Make the account of the samples, empty yet."""
        return Timed(name=SAMPLES, given=len(self.samples), step=self.step, sizes=self.sizes)

    @property
    def set_bytes(self) -> int:
        """How many bytes a set of samples takes; the largest, where they differ."""
        return max(map(bytes_of, self.samples), default=0)

    def identity(self) -> dict[str, Any]:
        """Identify the samples, and what prepare makes, by their hashes; empty where there are neither."""
        hashes: dict[str, Any] = {}
        if self.samples:
            hashes = {"given": len(self.samples), "samples_sha256": _sets_sha256(self.samples)}
        if self.prepare is not None:
            hashes["prepared_sha256"] = _sets_sha256(self.made(0, COMPARED))
        return hashes

    def made(self, first: int, count: int) -> list[Arrays]:
        """Make spread inputs on the host: the same for all backends.

        Args:
            first: the number of the first; those that are timed begin with BLOCK.
            count: how many sets.

        Raises:
            ModelError: the model file's prepare cannot be used.
        """
        made = []
        for number in range(first, first + count):
            fills = self.fills if self.drawn is None else self.drawn.fills(number)
            own = [{**fill, "key": fill["key"] + number} for fill in fills]
            made.append({name: expand(fill, ()) for name, fill in zip(self.names, own, strict=True)})
        return made if self.prepare is None else self.prepare(made)

    @property
    def made_at_a_time(self) -> int:
        """How many sets that the host makes the device keeps at a time."""
        return max(RING_BYTES // max(fill_bytes(self.fills), 1), 1)

    def blocks_of(self, count: int) -> int:
        """Return how many blocks of the ring ``count`` spread inputs take at most."""
        return -(-count // int(spread(self.fills, 0).header["ring"]))

    def ring_share(self) -> float:
        """Return how many inferences that are not timed a block adds to each one that is."""
        return 1 / int(spread(self.fills, 0).header["ring"])

    def sequence(self, start: int, count: int) -> Array:
        """Return a part of the endless random order in which samples are run, each as often as any other.

        Args:
            start: where in the order it begins.
            count: how long it is.

        Returns:
            Samples' numbers, int64[count].
        """
        given = len(self.samples)
        rounds = range(start // given, -(-(start + count) // given))
        numbers = np.concatenate([_random(at).permutation(given) for at in rounds])
        first = start - rounds.start * given
        return numbers[first : first + count].astype(np.int64)

    def portions(self, numbers: Array) -> Iterator[tuple[list[int], list[int]]]:
        """Split an order of samples into portions that the device can keep; each sample is sent once.

        Args:
            numbers: the samples' numbers in the order in which they are run, int64[n].

        Yields:
            The numbers of the samples that are kept, and the order in which they are run, by their place among these.
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
        """Return how many inferences of samples that are not timed a block adds to each one that is."""
        return 1 / ring_size(self.set_bytes)


def _sets_sha256(sets: Sequence[Arrays]) -> str:
    digest = hashlib.sha256()
    for arrays in sets:
        for name, array in arrays.items():
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def content_of(model: Model, samples: Sequence[Arrays] = (), step: int = 1, prepare: Prepare | None = None) -> Content:
    """Decide what of a model is timed.

    Args:
        model: the model.
        samples: the model file's, cut into sets.
        step: how many samples a set has.
        prepare: applies the model file's prepare to drawn sets; not used where it has none.
    """
    ordered = [{item.name: np.ascontiguousarray(arrays[item.name]) for item in model.inputs} for arrays in samples]
    return Content(
        fills=uniform_fills(model.inputs, model.measured_sizes),
        samples=ordered,
        step=step,
        measure=model.described_sizes,
        sizes=described_sizes([_sizes(model, arrays) for arrays in ordered]),
        names=[item.name for item in model.inputs],
        prepare=prepare if model.prepare is not None else None,
        drawn=drawn_of(model),
    )


def _sizes(model: Model, arrays: Arrays) -> dict[str, int]:
    """Return the sizes of the model's dimensions in a set of inputs."""
    sizes = sizes_of(model.inputs, arrays)
    return {name: sizes[name] for name in model.dims if name in sizes}


def _random(number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox([SEED, number]))


def noise_notes(contents: Sequence[Timed]) -> list[str]:
    """Word the notes that only noise was timed, or only noise at the sizes that were asked for."""
    uniform, *samples = contents
    if not samples:
        return [NOISE]
    return [sizes_note(timed.sizes, uniform.sizes) for timed in samples if timed.sizes != uniform.sizes]


class Request(NamedTuple):
    """One request to the device to time calls to another computer, by the device's clock.

    Attributes:
        calls: how many calls it made that count; on a sensor's clock how many releases met their fate.
        failed: how many of them failed.
        elapsed_ns: how long it took, in nanoseconds.
        failed_ns: how long the failed calls took, in nanoseconds.
    """

    calls: int
    failed: int
    elapsed_ns: int
    failed_ns: int


@dataclass(kw_only=True)
class Timed:
    """The account of what was timed, in each process, of spread inputs or of samples.

    Attributes:
        name: UNIFORM or SAMPLES.
        given: how many sets of samples there are; 0 where inputs are made, as many as are needed.
        processes: durations in nanoseconds, or counted instructions; int64[n] for each process. Where calls to another
            computer failed, float64[n], infinite for these.
        numbers: which input each of them had; int64[n] for each process.
        wanted: how many inferences are aimed at.
        pace_s: what one takes, with the making of its input, in seconds.
        spent_s: what all of them took, in seconds.
        unit: by what durations are divided to be judged: the nanoseconds in a millisecond.
        next_block: the number of the next block of inputs that are made; the first is for warming up. Of inputs that
            the host makes it is that of the first one, and stays.
        step: how many samples a set has.
        sizes: sizes of the model's dimensions.
        drawn: the sizes of each input, by its number, where they differ.
        block_sizes: how many inferences a block of time has, for each process; decided before the first is timed.
        releases: on a sensor's clock, what became of each release: when it was due, started and ended, in nanoseconds;
            int64[n, 3] for each process. ``processes`` are then response times, infinite where one was dropped, and
            ``numbers`` has for a dropped one the input that kept the model busy.
        is_growing: whether releases queue, and come faster than they are served: then a response takes longer than any
            limit, if one only waits, and counts as infinite.
        codes: how calls failed, uint8[n] for each process, 0 for one that was answered (harness.agent.failure); empty
            where there are none.
        requests: of a backend that calls another computer, what the device was asked for in each process.
        sides: of a cell with a fallback, which side answered, int64[n] for each process (harness.deploy.sides). Of any
            other these are empty.
        first_parts: of a streaming endpoint, when the first part of each answer came, in nanoseconds from the call's
            start on; int64[n] for each process, NEVER for a call that failed, and a release that was dropped. Of any
            other these are empty.
    """

    name: str
    given: int = 0
    processes: list[Array] = field(default_factory=list)
    numbers: list[Array] = field(default_factory=list)
    wanted: int = 0
    pace_s: float = 0.0
    spent_s: float = 0.0
    unit: float = 1e6
    next_block: int = 1
    step: int = 1
    sizes: Mapping[str, int | str] = field(default_factory=dict)
    drawn: DrawnSizes | None = None
    block_sizes: list[int] = field(default_factory=list)
    releases: list[Array] = field(default_factory=list)
    is_growing: bool = False
    codes: list[Array] = field(default_factory=list)
    requests: list[list[Request]] = field(default_factory=list)
    first_parts: list[Array] = field(default_factory=list)
    sides: list[Array] = field(default_factory=list)

    def add_noted(self, account: Mapping[str, Any], is_timed: Array) -> None:
        """Add to the present process what the device noted of each inference of one measuring call, where it did.

        Args:
            account: of the call.
            is_timed: which of its inferences, or releases, are counted, bool[n].
        """
        for name in NOTED:
            if name in account:
                parts = getattr(self, name)
                parts[-1] = np.concatenate([parts[-1], account[name][is_timed]])

    @property
    def all_codes(self) -> Array:
        """How each call failed, uint8[n], over all processes; 0 for those that were answered, and were not made."""
        return np.concatenate([*self.codes, np.empty(0, np.uint8)]) if self.codes else np.zeros(self.count, np.uint8)

    @property
    def failed(self) -> dict[str, int]:
        """How many calls failed, by how they did; empty if none did."""
        return count_kinds(self.all_codes)

    @property
    def calls(self) -> int:
        """How many inferences were begun: releases that were dropped were not."""
        return sum(map(len, self.ran))

    @property
    def blocks(self) -> Blocks:
        """The durations in milliseconds, cut into blocks of time; one inference each where no size was decided."""
        sizes = [*self.block_sizes, *[1] * (len(self.processes) - len(self.block_sizes))]
        return Blocks(tuple(durations / self.unit for durations in self._judged), tuple(sizes))

    @property
    def _judged(self) -> list[Array]:
        """What is judged of each process, in nanoseconds."""
        return [np.full(len(each), np.inf) for each in self.processes] if self.is_growing else self.processes

    @property
    def given_words(self) -> str:
        """The model file's samples in words: a call may have several of them."""
        if self.step == 1:
            return f"the model file's {self.given} samples"
        return f"the {self.given} calls of {self.step} of the model file's samples each"

    @property
    def drawn_sizes(self) -> dict[str, dict[str, int]]:
        """Of each dimension: how many different sizes came, the smallest and the largest; empty if none is drawn."""
        numbers = np.concatenate([*self.numbers, np.empty(0, np.int64)])
        return {} if self.drawn is None else self.drawn.seen(numbers.tolist())

    @property
    def count(self) -> int:
        """How many inferences were timed."""
        return sum(map(len, self.processes))

    @property
    def ran(self) -> list[Array]:
        """How long each inference took that was run, in nanoseconds: int64[n] for each process.

        In a closed loop it is infinite for a call that failed, as in ``processes``; on a sensor's clock it is how long
        that kept the model busy.
        """
        if not self.releases:
            return self.processes
        return [each[each[:, 2] != NEVER] @ [0, -1, 1] for each in self.releases]

    @property
    def answered(self) -> list[Array]:
        """How long each inference took that came to its end, in nanoseconds: int64[n] for each process."""
        if not self.releases:
            return [each[np.isfinite(each)].astype(np.int64) for each in self.processes]
        codes = self.codes or [np.zeros(len(each), np.uint8) for each in self.releases]
        return [
            each[(each[:, 2] != NEVER) & (code == 0)] @ [0, -1, 1]
            for each, code in zip(self.releases, codes, strict=True)
        ]

    @property
    def values(self) -> Array:
        """All durations in milliseconds, float64[n]; or counted instructions."""
        return np.concatenate([*self._judged, np.empty(0, np.int64)]) / self.unit

    @property
    def inputs(self) -> int:
        """How many different inputs were timed."""
        return len(np.unique(np.concatenate([*self.numbers, np.empty(0, np.int64)])))

    @property
    def is_whole(self) -> bool:
        """Whether all of the file's samples were timed."""
        return 0 < self.given == self.inputs

    def medians(self) -> Array:
        """Compute the median of each different input: float64[inputs]."""
        values, numbers = self.values, np.concatenate([*self.numbers, np.empty(0, np.int64)])
        order = np.lexsort((values, numbers))
        values, numbers = values[order], numbers[order]
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        counts = np.diff(starts, append=len(values))
        # The middle value, or the mean of the two: np.median of each input takes a second for 20 000 of them.
        return np.asarray((values[starts + (counts - 1) // 2] + values[starts + counts // 2]) / 2)
