"""Comparing an output of 1 M float32 with its reference ÷ one numpy.isclose pass over the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.parity.comparison import Expected, compare_output

from .support.interleave import interleave, median_of, median_ratio, timed
from .support.row import RATIO, Aim, Options, Row

SIZE = 1_000_000
ROUNDS = 41
AIM = Aim(3.0)
ISCLOSE = "numpy.isclose(answer, eager)"


def run(options: Options) -> Iterator[Row]:
    """The comparison; the costliest special values; and what is done once for an input."""
    random = np.random.default_rng(1)
    exact = random.standard_normal((1000, SIZE // 1000))
    eager = exact.astype(np.float32)
    answer = eager * np.float32(1 + 1e-7)
    expected = Expected("output", eager, exact)
    # Half of them: the costliest share, for every part of the tensor has both kinds.
    special = np.where(random.random(exact.shape) < 0.5, np.nan, exact)
    with_nan = Expected("output", special.astype(np.float32), special)
    answer_nan = with_nan.eager * np.float32(1 + 1e-7)
    own, passes, prepared, own_nan, passes_nan = interleave(
        ROUNDS,
        timed(lambda: compare_output(expected, answer), 1),
        timed(lambda: np.isclose(answer, eager), 1),
        timed(lambda: Expected("output", eager, exact), 1),
        timed(lambda: compare_output(with_nan, answer_nan), 1),
        timed(lambda: np.isclose(answer_nan, with_nan.eager, equal_nan=True), 1),
    )
    details = {"compare_ms": median_of(own) / 1e6, "isclose_ms": median_of(passes) / 1e6, "rounds": ROUNDS}
    yield Row("1 M float32", median_ratio(own, passes), RATIO, ISCLOSE, AIM, details)
    nan_details = {"compare_ms": median_of(own_nan) / 1e6, "isclose_ms": median_of(passes_nan) / 1e6}
    ratio = median_ratio(own_nan, passes_nan)
    yield Row(
        "1 M float32, half of them NaN", ratio, RATIO, ISCLOSE.replace(")", ", equal_nan=True)"), AIM, nan_details
    )
    once = {"prepare_ms": median_of(prepared) / 1e6}
    yield Row("the reference's own error, once an input", median_ratio(prepared, passes), RATIO, ISCLOSE, None, once)
