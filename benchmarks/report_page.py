"""report.html of 50 cells and a million samples: against Plotly's page of the same points, and what making it takes.

Both pages are opened in turn in headless Chromium, which has to be there (chromium-headless-shell). Plotly comes from
PyPI into the cache; where it cannot be had, nothing is compared, which is said in place of a figure.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.report.making import make_report, read_sources
from harness.report.page import render_page
from harness.report.plots import Plot, draw_section
from harness.report.report import Report
from tests.support import evidences
from tests.support.browser import Browser, browsing
from tests.support.evidence_kinds import every_kind, many_cells

from .support.foreign import provide
from .support.interleave import Block, interleave, median_of
from .support.row import RATIO, Aim, Options, Row, ratio_row

NEEDS = ("browser", "network")

PLOTLY = "plotly==7.1.0"
PLOTLY_PAGE = Path(__file__).with_name("support") / "plotly_page.py"
BYTES, LOAD, NODES = Aim(0.3), Aim(0.1), Aim(12_000)
MAKING_S, MAKING_MB, FOUR_S, NOTHING = Aim(5.0), Aim(400.0), Aim(1.5), Aim(0.0)
ROUNDS = 5
# How often a page is made: the least of these is what it takes, the rest is the machine's other work.
TIMES = 3
CELLS = "50 cells, a million samples"

# Milliseconds from the request to the second frame behind the load: the first may show less than the whole page.
SECOND_FRAME = """
  addEventListener('load', () => requestAnimationFrame(() => requestAnimationFrame(() => {
    globalThis.secondFrame = performance.now();
  })));
"""
AWAIT_FRAME = """() => new Promise(resolve => {
  const look = () => globalThis.secondFrame ? resolve(globalThis.secondFrame) : setTimeout(look, 5);
  look();
})"""

MAKE = "from harness.cli import main; main()"
# What a run has imported by then is not counted: its plug-in, pytest, numpy.
MAKE_AT_THE_END = """
import sys, time
from pathlib import Path
import numpy, pytest, harness.plugin
from harness.report.making import make_report, read_sources
sources = read_sources([Path(sys.argv[1])])
start = time.process_time()
from harness.report.formats.html import render
page = render(make_report(sources))
print(time.process_time() - start)
"""
IMPORTED = """
import sys, pytest
assert pytest.main(["--collect-only", "-q", "-m", "hil", "tests/hil"]) == 0
late = ("jinja2", "vl_convert", "harness.report.page", "harness.report.plots")
print(sum(name == one or name.startswith(one + ".") for name in sys.modules for one in late))
"""


def run(options: Options) -> Iterator[Row]:
    """Yield the page against Plotly's, then what making it takes."""
    with tempfile.TemporaryDirectory() as folder:
        many, four = Path(folder) / "many", Path(folder) / "four"
        evidences.write(many, *many_cells())
        run_of_four, samples = every_kind()
        evidences.write(four, {**run_of_four, "cells": run_of_four["cells"][:4]}, samples)
        report = make_report(read_sources([many]))
        page = many / "report.html"
        page.write_text(render_page(report), encoding="utf-8")
        yield from _compared(page, report, 2 if options.quick else ROUNDS)
        yield from _making(many, four)


def _compared(page: Path, report: Report, rounds: int) -> Iterator[Row]:
    plots = [plot for section in report.sections for plot in draw_section(section) if plot.svg]
    with browsing() as browser:
        if (other := _plotly(plots, page.with_name("plotly.html"))) is None:
            yield Row(f"Plotly's page: NOT COMPARED, for pip could not bring {PLOTLY}", 0, "comparisons")
        else:
            size = other.stat().st_size
            against = f"Plotly's, {size / 1e6:.2f} MB; {len(plots)} plots of {CELLS}"
            yield Row("report.html: bytes", page.stat().st_size / size, RATIO, against, BYTES)
            ours, theirs = interleave(rounds, lambda: _load(browser, page), lambda: _load(browser, other))
            details = {"ours_ms": ours, "plotly_ms": theirs}
            against = f"Plotly's, {median_of(theirs):.0f} ms"
            yield ratio_row("report.html: load to second frame", ours, theirs, against, LOAD, details)
        with browser.open(page) as shown:
            nodes = float(shown.page.evaluate("() => document.querySelectorAll('*').length"))
    yield Row("report.html: elements", nodes, "", f"{page.stat().st_size / 1e6:.2f} MB, {CELLS}", NODES)


def _load(browser: Browser, page: Path) -> Block:
    with browser.open(page, script=SECOND_FRAME) as shown:
        return [float(shown.page.evaluate(AWAIT_FRAME))]


def _plotly(plots: list[Plot], path: Path) -> Path | None:
    """Have Plotly make a page of what the plots draw; None where there is no Plotly."""
    if (packages := provide(PLOTLY)) is None:
        return None
    lines = [{"title": plot.title, "lines": list(_lines(plot.svg or ""))} for plot in plots]
    given = path.with_suffix(".json")
    given.write_text(json.dumps(lines), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    subprocess.run([sys.executable, str(PLOTLY_PAGE), str(given), str(path)], check=True, env=environment)
    return path


def _lines(svg: str) -> Iterator[list[tuple[float, float]]]:
    """Yield the corners of each line that an SVG draws, and each of its points as a line of one."""
    for path in re.findall(r'<path [^>]*\bd="([^"]*)"', svg):
        if "A" in path:  # a circle
            yield [(0.0, 0.0)] * path.count("M")
            continue
        x = y = 0.0
        corners = []
        for command, ends in re.findall(r"([MLHV])([^MLHVZ]*)", path):
            numbers = [float(number) for number in re.split("[ ,]", ends.strip())]
            x = numbers[0] if command != "V" else x
            y = numbers[-1] if command != "H" else y
            corners.append((x, y))
        if corners:
            yield corners


def _making(many: Path, four: Path) -> Iterator[Row]:
    command = ["-c", MAKE, "report", str(many), "--format", "html", "--output", str(many / "made.html")]
    taken = [_child(command) for _ in range(TIMES)]
    cpu_s = min(one["cpu_s"] for one in taken)
    details = {"taken": taken}
    yield Row(f"hilgate report: {CELLS}: CPU", cpu_s, "s", "with the interpreter's start", MAKING_S, details)
    yield Row(f"hilgate report: {CELLS}: memory", max(one["mb"] for one in taken), "MB", "", MAKING_MB)
    four_s = min(float(_said(["-c", MAKE_AT_THE_END, str(four)])) for _ in range(TIMES))
    yield Row("at the end of a run of four cells: CPU", four_s, "s", "what the run has imported is not counted", FOUR_S)
    modules = float(_said(["-c", IMPORTED]).splitlines()[-1])
    yield Row("before the end of a run: modules of it", modules, "", "pytest --collect-only", NOTHING)


def _said(arguments: list[str]) -> str:
    done = subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def _child(arguments: list[str]) -> Mapping[str, Any]:
    """Run Python, and return what it alone took."""
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise subprocess.CalledProcessError(child.returncode, arguments)
    return {"cpu_s": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss * 1024 / 1e6}
