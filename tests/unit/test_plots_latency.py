"""Latency by quantile: what is read off the picture with a ruler is what was measured."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from harness.model.model import Array
from harness.report.plots.data import SectionData
from harness.report.plots.kinds import latency_by_quantile
from harness.report.plots.plot import Plot
from tests.support.sections import timed_section
from tests.support.svg import Shape, distance, rulers, shapes, texts

MS = 10**6
RNG = np.random.default_rng(5)


def _steady(count: int) -> Array:
    return (RNG.lognormal(0.7, 0.05, count) * MS).astype(np.int64)


def _one_slow(count: int) -> Array:
    values = _steady(count)
    values[count // 3] = 90 * MS
    return values


def _bursts() -> Array:
    values = _steady(30_000)
    for begin in range(0, 30_000, 3_000):
        values[begin : begin + 12] *= 7
    return values


CASES = {
    "one slow one in a million": _one_slow(1_000_000),
    "bursts": _bursts(),
    "ties": RNG.choice(np.array([1, 2, 2, 3, 40]) * MS, 5_000),
    "constant": np.full(10_000, 3 * MS),
    "459": _steady(459),
    "bimodal": np.concatenate([_steady(6_000), _steady(4_000) * 9]),
    "1 sample": np.array([5 * MS]),
    "2 samples": np.array([5 * MS, 7 * MS]),
    "a zero beside a million": np.array([0, 1, 10**12]),
    "all zero": np.zeros(50, np.int64),
    "11 days each": np.array([10**15, 10**15 + 3, 10**15]),
}


def draw(folder: Path, values: Array, limit: float | None = None) -> Plot:
    plot = latency_by_quantile.plot(SectionData(timed_section(folder, {"onnxruntime": values}, limit, bound=None)))
    assert plot is not None
    return plot


def series(plot: Plot, number: int = 0) -> Shape:
    """Return the longest line of a backend."""
    assert plot.svg is not None
    own = [shape for shape in shapes(plot.svg) if shape.group == f"cell-{number}"]
    return max(own, key=lambda shape: (len(shape.corners), np.ptp(shape.corners[:, 0])))


@pytest.mark.parametrize("name", CASES)
def test_quantiles_and_the_hundred_slowest_are_where_they_belong(tmp_path: Path, name: str) -> None:
    values = np.sort(CASES[name]) / MS
    plot = draw(tmp_path, CASES[name])
    assert plot.svg is not None
    x, y = rulers(plot.svg)
    low = min(
        corner for shape in shapes(plot.svg) if "--grid" in shape.stroke for corner in [y.value(shape.corners[0, 1])]
    )
    corners = series(plot).corners
    count = len(values)
    wanted = [(count / (count - rank), values[rank]) for rank in range(max(count - 100, 0), count)]
    quantiles = [quantile for quantile in (0.5, 0.9, 0.99, 0.999) if 1 / (1 - quantile) <= count]
    wanted += [(1 / (1 - q), np.quantile(values, q, method="inverted_cdf")) for q in quantiles]
    far = [
        (one_in, value, miss)
        for one_in, value in wanted
        if (miss := distance(corners, x.pixel(one_in), y.pixel(value if value or not y.is_log else low))) > 0.5
    ]
    assert not far


@pytest.mark.parametrize("name", CASES)
def test_nothing_else_is_drawn(tmp_path: Path, name: str) -> None:
    values = np.sort(CASES[name]) / MS
    plot = draw(tmp_path, CASES[name])
    assert plot.svg is not None
    x, y = rulers(plot.svg)
    count = len(values)
    for at, height in series(plot).corners:
        ends = [math.ceil(count * (1 - 1 / max(x.value(at + off), 1))) for off in (-0.5, 0.5)]
        around = [values[min(max(rank, 1), count) - 1] for rank in (ends[0], ends[1] + 1)]
        pixels = [y.pixel(value) if value or not y.is_log else height for value in around]
        assert min(pixels) - 0.5 <= height <= max(pixels) + 0.5


def test_a_line_has_few_corners(tmp_path: Path) -> None:
    assert len(latency_by_quantile.ranks(1_000_000)) <= 250
    plot = draw(tmp_path, CASES["one slow one in a million"])
    assert plot.svg is not None
    assert len(plot.svg) < 12_000


def test_the_description_says_how_slow_the_slowest_is(tmp_path: Path) -> None:
    values = np.full(1000, 2 * MS)
    values[500] = 9_100_000
    said = draw(tmp_path, values, 10.0).description
    assert "onnxruntime's slowest of 1,000 takes 9.1 ms, 4.5 × its median" in said


def test_what_was_dropped_is_drawn_as_dropped_and_as_no_number(tmp_path: Path) -> None:
    due = np.arange(1000) * 10 * MS
    ends = np.where(np.arange(1000) % 50 == 7, -1, due + 3 * MS)
    plot = draw(tmp_path, np.stack([due, due, ends], axis=1).astype(np.int64))
    assert plot.svg is not None
    x, y = rulers(plot.svg)
    own = [shape.corners for shape in shapes(plot.svg) if shape.group == "cell-0"]
    finite = max(own, key=lambda corners: -corners[:, 0].min())
    assert finite[-1] == pytest.approx([x.pixel(1000 / 20), y.pixel(3.0)], abs=0.5)
    (above,) = [corners for corners in own if corners[:, 1].max() < y.pixel(y.value(30))]
    assert above[:, 0] == pytest.approx([x.pixel(1000 / 20), x.pixel(1000)], abs=0.5)
    assert "dropped" in [text.text for text in texts(plot.svg)]
    assert "onnxruntime dropped 20 of 1,000" in plot.description


def test_a_limit_is_a_ceiling_up_to_its_quantile(tmp_path: Path) -> None:
    plot = draw(tmp_path, CASES["bimodal"], 25.0)
    assert plot.svg is not None
    x, y = rulers(plot.svg)
    limits = [shape.corners for shape in shapes(plot.svg) if "--limit" in shape.stroke]
    ceiling = max(limits, key=lambda corners: np.ptp(corners[:, 0]))
    assert sorted(ceiling[:, 0]) == pytest.approx([x.pixel(1), x.pixel(100)], abs=0.5)
    assert ceiling[:, 1] == pytest.approx([y.pixel(25.0)] * 2, abs=0.5)


@pytest.mark.parametrize(("dropped", "is_said"), [(0, True), (100, False)])
def test_a_growing_queue_is_said_to_be_one(tmp_path: Path, dropped: int, is_said: bool) -> None:
    due = np.arange(1000) * MS
    ends = np.where(np.arange(1000) < dropped, -1, due * 2 + MS)
    raw = np.stack([due, due, ends], axis=1).astype(np.int64)
    section = timed_section(tmp_path, {"onnxruntime": raw}, value="inf", bound=None)
    plot = latency_by_quantile.plot(SectionData(section))
    assert plot is not None
    assert ("queue grows" in plot.problem) is is_said
