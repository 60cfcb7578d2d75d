"""hilgate's p50 and p99 ÷ those of MLPerf LoadGen's SingleStream, on the same model, block by block in turn.

Two LoadGens run beside the agent: what differs between these is noise, and is shown. `pip install mlcommons-loadgen`
brings it; hilgate does not need it, and without it nothing is compared, which is said in place of a figure.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np

from .support.deploy import Prepared, prepare
from .support.interleave import Block, interleave, one_cpu
from .support.row import RATIO, Aim, Options, Row
from .support.served import served_blocks

AIM = Aim(low=0.98, high=1.02)
EXAMPLE, BACKEND = "lstm", "onnxruntime"
PROGRAM = "benchmarks.support.loadgen_loop"
# Of one block: short enough to be neighbours in time. Its p99 is that of all blocks of a side together.
BLOCK_NS = 0.25e9
ROUNDS = 40
GROUPS = 5


def run(options: Options) -> Iterator[Row]:
    """Yield the ratios of both quantiles, and their noise; with --quick from two groups of processes."""
    if importlib.util.find_spec("mlperf_loadgen") is None:
        what = "LoadGen's SingleStream: NOT COMPARED, for it is not installed (pip install mlcommons-loadgen)"
        yield Row(what, 0, "comparisons")
        return
    prepared = prepare(EXAMPLE, BACKEND)
    groups = [_group(prepared) for _ in range(2 if options.quick else GROUPS)]
    for quantile in (0.5, 0.99):
        yield from _rows(groups, quantile)


Sides = tuple[Block, Block, Block]  # the agent's durations, one LoadGen's, and another's


def _rows(groups: Sequence[Sides], quantile: float) -> Iterator[Row]:
    each = [[float(np.quantile(side, quantile)) for side in group] for group in groups]
    ratios = [agent / statistics.mean(both) for agent, *both in each]
    noise = [one / other for _, one, other in each]
    name = f"{EXAMPLE} on {BACKEND}: p{quantile * 100:g}"
    details = {
        "groups_us": [[one / 1e3 for one in group] for group in each],
        "samples": [len(one) for one in groups[0]],
    }
    against = f"LoadGen's SingleStream; {len(each)} groups: {min(ratios):.3f} … {max(ratios):.3f}"
    yield Row(name, statistics.median(ratios), RATIO, against, AIM, details)
    against = f"LoadGen ÷ another LoadGen: {min(noise):.3f} … {max(noise):.3f}"
    yield Row(f"{name}: noise of that", statistics.median(noise), RATIO, against)


def _group(prepared: Prepared) -> Sides:
    """One agent and two LoadGens, alive together, working in turn."""
    sets = prepared.sets
    with one_cpu(), prepared.deployed() as deployment, _loadgen(prepared) as one, _loadgen(prepared) as other:
        warm = deployment.warm_up(sets, budget_s=30.0)
        count = max(round(BLOCK_NS / warm["median_ns"]), 1)

        def agent() -> Block:
            durations: Block = deployment.measure(sets, count, budget_s=300.0)[0].tolist()
            return durations

        agents, ones, others = interleave(ROUNDS, agent, lambda: one(count), lambda: other(count))
    return _together(agents), _together(ones), _together(others)


def _together(blocks: Sequence[Block]) -> Block:
    return [duration for block in blocks for duration in block]


def _loadgen(prepared: Prepared) -> AbstractContextManager[Callable[[int], Block]]:
    return served_blocks(prepared, ["-m", PROGRAM])
