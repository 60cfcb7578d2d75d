"""hilgate's p50 and p99 ÷ those of MLPerf LoadGen's SingleStream, on the same model, block by block in turn.

Two LoadGens run beside the agent: what differs between these is noise, and is shown. `pip install mlcommons-loadgen`
brings it; hilgate does not need it, and without it nothing is compared, which is said in place of a figure.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from .support.deploy import Prepared, prepare
from .support.interleave import Block, interleave, one_cpu
from .support.row import RATIO, Aim, Options, Row
from .support.served import served_blocks

AIM = Aim(low=0.98, high=1.02)
EXAMPLE, BACKEND = "lstm", "onnxruntime"
PROGRAM = "benchmarks.support.loadgen_loop"
QUANTILES = (0.5, 0.99)  # as in loadgen_loop.py, which can be imported only where LoadGen is installed
# Of one block: some hundred inferences, so that it has a p99.
BLOCK_NS = 1e9
ROUNDS = 12
GROUPS = 5


def run(options: Options) -> Iterator[Row]:
    """Yield the ratios of both quantiles, and their noise; with --quick from two groups of processes."""
    if importlib.util.find_spec("mlperf_loadgen") is None:
        what = "LoadGen's SingleStream: NOT COMPARED, for it is not installed (pip install mlcommons-loadgen)"
        yield Row(what, 0, "comparisons")
        return
    prepared = prepare(EXAMPLE, BACKEND)
    groups = [_group(prepared) for _ in range(2 if options.quick else GROUPS)]
    for index in range(len(QUANTILES)):
        yield from _rows(groups, index)


Sides = list[list[Block]]  # the agent's quantiles, one LoadGen's, and another's: block by block


def _rows(groups: Sequence[Sides], index: int) -> Iterator[Row]:
    each = [[[block[index] for block in side] for side in group] for group in groups]
    ratios = [statistics.median(a / statistics.mean(b) for a, *b in zip(*group, strict=True)) for group in each]
    noise = [statistics.median(one / other for _, one, other in zip(*group, strict=True)) for group in each]
    name = f"{EXAMPLE} on {BACKEND}: p{QUANTILES[index] * 100:g}"
    details = {"groups_us": [[statistics.median(side) / 1e3 for side in group] for group in each]}
    against = f"LoadGen's SingleStream; {len(each)} groups: {min(ratios):.3f} … {max(ratios):.3f}"
    yield Row(name, statistics.median(ratios), RATIO, against, AIM, details, ratios)
    against = f"LoadGen ÷ another LoadGen: {min(noise):.3f} … {max(noise):.3f}"
    yield Row(f"{name}: noise of that", statistics.median(noise), RATIO, against, rounds=noise)


def _group(prepared: Prepared) -> Sides:
    """One agent and two LoadGens, alive together, working in turn."""
    sets = prepared.sets
    with one_cpu(), prepared.deployed() as deployment, _loadgen(prepared) as one, _loadgen(prepared) as other:
        warm = deployment.warm_up(sets, budget_s=30.0)
        count = max(round(BLOCK_NS / warm["median_ns"]), 100)

        def agent() -> Block:
            durations = sorted(deployment.measure(sets, count, budget_s=300.0)[0].tolist())
            return [durations[int(count * quantile)] for quantile in QUANTILES]  # the rank that LoadGen takes

        return interleave(ROUNDS, agent, lambda: one(count), lambda: other(count))


def _loadgen(prepared: Prepared) -> AbstractContextManager[Callable[[int], Block]]:
    return served_blocks(prepared, ["-m", PROGRAM])
