"""The ring: the inputs of a loop, a few at a time, made anew between blocks of inferences and never inside a timed one.

No prepared input is run twice. Each is a fresh copy of the original values, and before another inference takes the same
values they are copied again: so what a model writes into its input (``image /= 255``) never comes back as an input, not
even where it writes into some inputs only. After each block the copies are compared with the originals, so that the
inputs that the model wrote into can be named.

Where the inputs come from:

- Spread: from fills (see expand), one for each input of the model. A block of n sets is made as one array of the shape
  [n, …] with the key K + J, where J is the block's number, counted from "first" on: no two inferences share values.
- InTurn: sets that were sent, or kept before, in a given order.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .expand import expand
from .failure import CallFailed
from .frames import Array

# For each input of the model: the array of each set.
Columns = Sequence[Sequence[Array]]

# Making inputs leaves the caches cold, so each block begins with an inference that is not timed; unless inferences take
# so long that this would double the time, while filling the caches (some milliseconds) is negligible. The host's
# SHORT_S (harness.measure.closed_loop) and the runners' short_ns are the same.
SHORT_NS = 250_000_000
KEYS = 1 << 64
# Below this size comparing copies of the bytes is faster than comparing the arrays.
SMALL = 1 << 16


class InputError(Exception):
    """An input that was asked for could not be made; the model has not run."""


class Spread:
    """Inputs made from fills, each block with a key of its own."""

    def __init__(self, fills: Sequence[Mapping[str, Any]], first: int, kept: Columns) -> None:
        """Prepare to make blocks; the arguments are those of the operation measure, see Operations."""
        self.fills, self.number, self.kept = fills, first, kept

    def columns(self, count: int) -> Columns:
        """Make the next block of count sets.

        Raises:
            InputError: an input cannot be made.
        """
        number, self.number = self.number, self.number + 1
        try:
            return [self._array(index, count, number) for index in range(len(self.fills))]
        except Exception as error:
            raise InputError(f"{type(error).__name__}: {error}") from error

    def _array(self, index: int, count: int, number: int) -> Sequence[Array]:
        fill = self.fills[index]
        several = {**fill, "shape": [count, *fill["shape"]], "key": (fill["key"] + number) % KEYS}
        made = expand(several, self.kept[index] if self.kept else ())
        return [made[at : at + 1].reshape(made.shape[1:]) for at in range(count)]


class InTurn:
    """Sets that exist already, in an order that starts over at its end."""

    def __init__(self, arrays: Columns, order: Sequence[int]) -> None:
        """Take the sets in turn; the arrays are only read.

        Args:
            arrays: for each input of the model, the array of each set.
            order: the sets' numbers, in the order in which they are taken.

        Raises:
            ValueError: the order is empty, or names a set that does not exist.
        """
        there = len(arrays[0]) if arrays else 0
        if not order or not all(type(index) is int and 0 <= index < there for index in order):
            raise ValueError(f"wanted the numbers of sets that were kept, 0 … {there - 1}; found others, or none")
        self.arrays, self.order, self.next = arrays, order, 0

    def columns(self, count: int) -> Columns:
        """Return the next block of count sets."""
        chosen = [self.order[(self.next + index) % len(self.order)] for index in range(count)]
        self.next = (self.next + count) % len(self.order)
        return [[column[index] for index in chosen] for column in self.arrays]


class Ring:
    """The prepared inputs of a loop.

    Attributes:
        making_ns: how long it took to make inputs, and to compare them afterwards.
        untimed: how many inferences were run to warm the caches; untimed_ns: how long they took.
        began_ns: when the first inputs were asked for, by the clock.
    """

    def __init__(
        self, engine: Any, names: Sequence[str], source: Spread | InTurn, size: int, *, untimed: bool = True
    ) -> None:
        """Begin with nothing prepared.

        Args:
            engine: the backend's, with a model loaded.
            names: those of the model's inputs.
            source: where the inputs come from.
            size: how many sets are prepared at a time.
            untimed: whether a block begins with an inference that is not timed.
        """
        if type(size) is not int or size < 1:
            raise ValueError(f"wanted a ring of at least one set; found {size!r}")
        self.engine, self.names, self.source, self.size = engine, list(names), source, size
        self._run_untimed = getattr(engine, "run_untimed", engine.run)  # of a fallback: a switch is to be timed
        self.written: set[str] = set()
        self.making_ns, self.untimed, self.untimed_ns = 0, 0, 0
        self.began_ns = 0
        self._warms = untimed
        self._slots: list[Any] = []
        self._made: list[tuple[list[Array], list[Array]]] = []  # what was asked for, and its copies, for each slot

    def renew(self, wanted: int) -> list[Any]:
        """Return prepared inputs for the next inferences, at most as many as wanted, each to be run once."""
        start = time.perf_counter_ns()
        self.began_ns = self.began_ns or start
        self._compare()
        self._slots, self._made = [], []  # free the old ones first: there may be no room for both
        count = min(wanted, self.size)
        columns = self.source.columns(count)
        for index in range(count):
            asked = [column[index] for column in columns]
            self._made.append((asked, []))
            self._slots.append(self._prepared(index))
        self.making_ns += time.perf_counter_ns() - start
        if self._warms:
            self._warm()
        return self._slots

    @property
    def held_bytes(self) -> int:
        """How many bytes the inputs of this block take: the copies; and the originals, where they were made for it."""
        copies = sum(array.nbytes for _, arrays in self._made for array in arrays)
        return 2 * copies if isinstance(self.source, Spread) else copies

    def close(self) -> set[str]:
        """Free what is prepared; return the names of the inputs that the model wrote into, the last block included."""
        self._compare()
        self._slots, self._made = [], []
        return self.written

    def _prepared(self, index: int) -> Any:
        asked, _ = self._made[index]
        copies = [np.array(array) for array in asked]
        self._made[index] = asked, copies
        return self.engine.prepare(dict(zip(self.names, copies)))

    def _warm(self) -> None:
        start = time.perf_counter_ns()
        with contextlib.suppress(CallFailed):  # it is no sample, whether it is answered or not
            self._run_untimed(self._slots[-1])
        stop = time.perf_counter_ns()
        self.untimed += 1
        self.untimed_ns += stop - start
        self._warms = stop - start < SHORT_NS
        self.written |= written(self.names, *self._made[-1])
        self._slots[-1] = self._prepared(len(self._slots) - 1)
        self.making_ns += time.perf_counter_ns() - stop

    def _compare(self) -> None:
        for asked, copies in self._made:
            self.written |= written(self.names, asked, copies)


def written(names: Sequence[str], asked: Sequence[Array], copies: Sequence[Array]) -> set[str]:
    """Return the names of the inputs whose copies no longer have the bytes of the originals."""
    return {name for name, before, after in zip(names, asked, copies) if not _same(before, after)}


def _same(before: Array, after: Array) -> bool:
    """Compare two contiguous arrays of one type and size by their bytes, so that a NaN is equal to itself."""
    if before.nbytes <= SMALL:
        return before.tobytes() == after.tobytes()
    words = np.uint64 if before.nbytes % 8 == 0 else np.uint8
    return np.array_equal(before.reshape(-1).view(words), after.reshape(-1).view(words))
