"""Two or more sides measured in turn, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Block = Sequence[float]


def interleave(rounds: int, *sides: Callable[[], Block]) -> list[list[Block]]:
    """Measure the sides in turn, and return each one's blocks of durations, round by round.

    Every second round goes backwards (A B, B A, …): a machine that slowly becomes faster or slower favours none.
    One round before them is thrown away.
    """
    blocks: list[list[Block]] = [[] for _ in sides]
    for round_ in range(-1, rounds):
        order = list(enumerate(sides))
        for index, side in reversed(order) if round_ % 2 else order:
            block = side()
            if round_ >= 0:
                blocks[index].append(block)
    return blocks


def ratios(blocks: Sequence[Block], others: Sequence[Block]) -> list[float]:
    """Divide one side's median by the other's, round by round: neighbours in time are compared."""
    pairs = zip(blocks, others, strict=True)
    return [statistics.median(block) / statistics.median(other) for block, other in pairs]


def median_ratio(blocks: Sequence[Block], others: Sequence[Block]) -> float:
    """Return the median of all rounds' ratios."""
    return statistics.median(ratios(blocks, others))


def medians(blocks: Sequence[Block], unit_ns: float) -> list[float]:
    """Return each round's median, in units of so many nanoseconds."""
    return [statistics.median(block) / unit_ns for block in blocks]


def median_of(blocks: Sequence[Block]) -> float:
    """Return the median of all durations of one side."""
    return statistics.median(duration for block in blocks for duration in block)


def timed(action: Callable[[], object], count: int) -> Callable[[], Block]:
    """Return a side for `interleave` that times ``count`` calls, in nanoseconds."""

    def block() -> Block:
        durations = []
        for _ in range(count):
            start = time.perf_counter_ns()
            action()
            durations.append(time.perf_counter_ns() - start)
        return durations

    return block


@contextmanager
def one_cpu() -> Iterator[None]:
    """Pin this process, and those that it starts within, to one CPU.

    For sides that are processes of their own and never work at the same time: another CPU may have a busier neighbour
    (two hyperthreads share a core: 1.4 times slower was seen), and which side sat where would decide the ratio.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
