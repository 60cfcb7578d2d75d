"""Comparing an output of 1 M and of 10 M float32 with its reference ÷ one numpy.isclose pass over the same numbers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np

from harness.agent.frames import Array
from harness.parity.rule.comparison import Expected, compare_output

from .support.interleave import Block, interleave, median_of, one_cpu, timed
from .support.row import Aim, Options, Row, ratio_row

IS_QUICK = True
LIMIT_S = 1800

SIZE = 1_000_000
LARGE = 10_000_000
ROUNDS = 41
LARGE_ROUNDS = 9
AIM = Aim(3.0)
SPECIAL_AIM = Aim(1.5)
# NaN, as most have them, and infinities, as masked scores are; the whole tensor of them, too.
SPECIAL = (
    (np.nan, 0.001),
    (np.nan, 0.01),
    (np.nan, 0.1),
    (np.nan, 0.5),
    (np.nan, 1.0),
    (-np.inf, 0.01),
    (-np.inf, 0.5),
)
LITTLE = Aim(1.0)
ISCLOSE = "numpy.isclose(answer, eager)"


def run(options: Options) -> Iterator[Row]:
    """Time the comparison, plain and with special values, and what is done once for each input."""
    random = np.random.default_rng(1)
    exact = random.standard_normal((1000, SIZE // 1000))
    with one_cpu():
        yield from _plain(exact)
        for value, share in SPECIAL:
            yield _special(np.where(random.random(exact.shape) < share, value, exact), f"{share:.1%} of them {value}")
        yield from _large(random.standard_normal((1000, LARGE // 1000)))


def _plain(exact: Array) -> Iterator[Row]:
    eager, answer = _eager_and_answer(exact)
    expected = Expected("output", eager, exact)
    own, passes, prepared = interleave(
        ROUNDS,
        timed(lambda: compare_output(expected, answer), 1),
        timed(lambda: np.isclose(answer, eager), 1),
        timed(lambda: Expected("output", eager, exact), 1),
    )
    yield ratio_row("1 M float32", own, passes, ISCLOSE, AIM, _details(own, passes))
    what = "1 M float32: the reference's own error, once an input"
    yield ratio_row(what, prepared, passes, ISCLOSE, None, _details(prepared, passes))


def _large(exact: Array) -> Iterator[Row]:
    eager, answer = _eager_and_answer(exact)
    expected = Expected("output", eager, exact)
    own, passes = interleave(
        LARGE_ROUNDS,
        timed(lambda: compare_output(expected, answer), 1),
        timed(lambda: np.isclose(answer, eager), 1),
    )
    yield ratio_row("10 M float32", own, passes, ISCLOSE, AIM, _details(own, passes))
    mine, theirs = _peak_mib(lambda: compare_output(expected, answer)), _peak_mib(lambda: np.isclose(answer, eager))
    against = f"{ISCLOSE}: {theirs:.0f} MiB"
    yield Row("10 M float32: memory beside the arrays", mine, "MiB", against, LITTLE, {"isclose_mib": theirs})


def _peak_mib(action: Callable[[], object]) -> float:
    """Return numpy's arrays included: it tells tracemalloc of them."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def _special(exact: Array, of_them: str) -> Row:
    eager, answer = _eager_and_answer(exact)
    expected = Expected("output", eager, exact)
    own, passes = interleave(
        ROUNDS,
        timed(lambda: compare_output(expected, answer), 1),
        timed(lambda: np.isclose(answer, eager, equal_nan=True), 1),
    )
    against = "numpy.isclose(answer, eager, equal_nan=True)"
    what = f"1 M float32, {of_them}"
    return ratio_row(what, own, passes, against, SPECIAL_AIM, _details(own, passes))


def _eager_and_answer(exact: Array) -> tuple[Array, Array]:
    eager = exact.astype(np.float32)
    return eager, eager * np.float32(1 + 1e-7)


def _details(own: list[Block], passes: list[Block]) -> dict[str, float]:
    return {"own_ms": median_of(own) / 1e6, "isclose_ms": median_of(passes) / 1e6, "rounds": ROUNDS}
