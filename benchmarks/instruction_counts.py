"""Instructions per inference: how far counts of one state differ, with and without load on the host; what it costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np

from harness.deploy.content import content_of
from harness.device import load_device
from harness.instructions.counting import CountingGuest
from harness.measure import known_metrics

from .emulated_board import NAME
from .overhead import hil_run
from .support.deploy import BACKENDS, ROOT, Prepared, prepare_on
from .support.interleave import interleave
from .support.row import RATIO, Aim, Options, Row

NEEDS = ("emulator", "network")
LIMIT_S = 7200

RUNS = 4
LOOPS = 2
SPREAD_AIM, COST_AIM = Aim(0.1), Aim(15.0)  # percent, seconds
EVERYTHING_ELSE = ("-k", "not instructions")


def run(options: Options) -> Iterator[Row]:
    """Yield counts first, each by a guest of its own, restored anew; then whole runs with and without counting."""
    prepared = _prepared()
    runs = 2 if options.quick else RUNS
    idle = [_counts(prepared) for _ in range(runs)]
    with ExitStack() as stack:
        for _ in range(LOOPS):
            loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(loop.wait)
            stack.callback(loop.kill)
        busy = [_counts(prepared) for _ in range(runs)]
    for index, backend in enumerate(BACKENDS):
        for what, counts in (("idle host", idle), (f"host with {LOOPS} busy loops", busy), ("both", idle + busy)):
            own = [count[index] for count in counts]
            against = f"{len(own)} runs, each from the saved state; median {statistics.median(own):,.0f}"
            yield Row(f"digits, {backend}, {what}: spread", _spread_percent(own), "%", against, SPREAD_AIM)
    yield from _cost(1 if options.quick else 3)


def _spread_percent(values: Sequence[float]) -> float:
    return 100 * (max(values) - min(values)) / statistics.median(values)


def _prepared() -> list[Prepared]:
    from harness.board import open_board

    device = load_device(NAME, (ROOT / "devices",), known_metrics().values())
    with open_board(device) as board:
        return [prepare_on(board, "digits", backend) for backend in BACKENDS]


def _counts(prepared: Sequence[Prepared]) -> list[float]:
    guest = CountingGuest(prepared[0].cell.device, profile=False, time_limit_s=300.0)
    try:
        for one in prepared:
            guest.begin(one.cell, one.bundle, content_of(one.cell.file.model))
        return [float(np.median(guest.result(one.cell).contents[0].values)) for one in prepared]
    finally:
        guest.close()


def _cost(rounds: int) -> Iterator[Row]:
    """Time warm runs with counting and without, in turn."""
    filled = hil_run("digits", device=NAME)  # the cache, too
    with_it, without = interleave(
        rounds,
        lambda: [hil_run("digits", device=NAME).wall_s],
        lambda: [hil_run("digits", *EVERYTHING_ELSE, device=NAME).wall_s],
    )
    (more,) = [statistics.median(a[0] - b[0] for a, b in zip(with_it, without, strict=True))]
    whole = statistics.median(block[0] for block in with_it)
    against = f"the same run without: {whole - more:.1f} s"
    details = {"with_s": with_it, "without_s": without}
    yield Row(f"a warm run of digits, {filled.backends}: counting adds", more, "s", against, COST_AIM, details)
    yield Row("    its share of the run", more / whole, RATIO, f"the whole of {whole:.1f} s")
