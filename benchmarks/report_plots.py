"""The report's plots: what making them takes, against matplotlib's SVGs with the same lines, points and texts.

matplotlib comes from PyPI into the cache; where it cannot be had, nothing is compared, which is said in place of a
figure. It is handed corners that are chosen and placed already; ours are made from the raw samples on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.report.making import make_report, read_sources
from harness.report.plots import Plot, draw_section
from tests.support import evidences
from tests.support.evidence_kinds import every_kind, many_cells
from tests.support.svg import shapes, texts

from .support.foreign import provide
from .support.interleave import Block, interleave, median_of
from .support.row import RATIO, Aim, Options, Row, ratio_row

NEEDS = ("network",)

MATPLOTLIB = "matplotlib==3.11.2"
MATPLOTLIB_PLOTS = Path(__file__).with_name("support") / "matplotlib_plots.py"
AIM, FOUR_S, MANY_S, MANY_MB = Aim(1.0), Aim(1.0), Aim(5.0), Aim(400.0)
ROUNDS = 3

# CPU seconds from importing the plots to the last one, bytes of all, and the process's largest resident set in MB.
DRAW = """
import json, resource, sys, time
from pathlib import Path
from harness.report.making import make_report, read_sources
sections = make_report(read_sources([Path(sys.argv[1])])).sections
start = time.process_time()
from harness.report.plots import draw_section
plots = [plot for section in sections for plot in draw_section(section)]
taken = time.process_time() - start
mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
print(json.dumps([taken, sum(len(plot.svg or "") for plot in plots), mb]))
"""


def run(options: Options) -> Iterator[Row]:
    """Yield what the plots of four and of fifty cells take, and the latter against matplotlib's."""
    rounds = 2 if options.quick else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        many, four = Path(folder) / "many", Path(folder) / "four"
        evidences.write(many, *many_cells())
        run_of_four, samples = every_kind()
        evidences.write(four, {**run_of_four, "cells": run_of_four["cells"][:4]}, samples)
        yield from _many(many, rounds)
        few = [_child("-c", DRAW, str(four)) for _ in range(rounds)]
        yield Row("plots of four cells: CPU", min(taken[0] for taken in few), "s", "start included", FOUR_S)


def _many(folder: Path, rounds: int) -> Iterator[Row]:
    plots = [plot for section in make_report(read_sources([folder])).sections for plot in draw_section(section)]
    what = f"{len(plots)} plots of 50 cells, a million samples"
    packages = provide(MATPLOTLIB)
    ours = _side("-c", DRAW, str(folder))
    if packages is None:
        yield Row(f"matplotlib's SVGs: NOT COMPARED, for pip could not bring {MATPLOTLIB}", 0, "comparisons")
        blocks = interleave(rounds, ours)[0]
    else:
        given = folder / "plots.json"
        given.write_text(json.dumps([_described(plot) for plot in plots if plot.svg]), encoding="utf-8")
        theirs = _side(str(MATPLOTLIB_PLOTS), str(given), packages=packages)
        blocks, others = interleave(rounds, ours, theirs)
        details = {"ours": blocks, "matplotlib": others}
        firsts = [[[block[0]] for block in side] for side in (blocks, others)]
        against = f"matplotlib's, {median_of(firsts[1]):.2f} s; {what}"
        yield ratio_row("plots: CPU", firsts[0], firsts[1], against, AIM, details)
        yield Row("plots: bytes", blocks[0][1] / others[0][1], RATIO, f"matplotlib's, {others[0][1] / 1e6:.2f} MB")
    yield Row(f"{what}: CPU", min(block[0] for block in blocks), "s", "start included", MANY_S)
    yield Row(f"{what}: memory", max(block[2] for block in blocks), "MB", "", MANY_MB)


def _described(plot: Plot) -> dict[str, Any]:
    """Return what a plot's SVG draws, in pixels."""
    svg = plot.svg or ""
    lines = [{"points": shape.corners.tolist(), "color": _plain(shape.stroke)} for shape in shapes(svg)]
    return {"lines": lines, "texts": [[text.x, text.y, text.text] for text in texts(svg)]}


def _plain(color: str) -> str:
    found = re.search("#[0-9a-f]{6}", color)
    return "#000000" if found is None else found[0]


def _side(*arguments: str, packages: Path | None = None) -> Callable[[], Block]:
    return lambda: _child(*arguments, packages=packages)


def _child(*arguments: str, packages: Path | None = None) -> Block:
    """Run Python; it prints a list of numbers."""
    environment = {**os.environ, **({} if packages is None else {"PYTHONPATH": str(packages)})}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    numbers: Block = json.loads(done.stdout)
    return numbers
