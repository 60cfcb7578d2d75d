"""Plots of calls to another computer: the finite durations are drawn, and it is said how many failed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.evidence.folder import ResultsFolder
from harness.model.model import Array
from harness.report.plots.data import SectionData
from harness.report.plots.durations import read_durations
from harness.report.plots.kinds import latency_by_quantile, latency_over_time
from tests.support.evidences import make_cell, make_check
from tests.support.sections import make_section, timed_section

MS = 10**6


def section(folder: Path, values: Array, codes: Array | None) -> SectionData:
    made = timed_section(folder, {"oip": values}, 20.0, bound=None)
    if codes is not None:
        results = ResultsFolder(folder)
        cell = made.cells[0]
        for place, check in enumerate(cell.entry.checks):
            if check.raw is not None:
                path = results._save("oip.failures", codes)
                update = {"raw_failures": path, "raw_failures_sha256": results.sums[path]}
                cell.entry.checks[place] = check.model_copy(update=update)
    return SectionData(made)


def test_failed_calls_are_told_and_the_others_drawn(tmp_path: Path) -> None:
    values = np.full(1000, 5 * MS) + np.arange(1000)
    codes = np.zeros(1000, np.int64)
    codes[[3, 4, 500]] = 3
    data = section(tmp_path, np.where(codes > 0, -1, values), codes)
    (read,) = read_durations(data.section.cells)
    assert read.problem == ""
    assert read.failed == 3
    assert int(np.isinf(read.values).sum()) == 3
    for kind in (latency_by_quantile, latency_over_time):
        plot = kind.plot(data)
        assert plot is not None
        assert plot.svg is not None
        assert "has no answer to 3 of 1,000" in plot.description
        assert "dropped" not in plot.description


def test_without_codes_a_duration_below_zero_is_none(tmp_path: Path) -> None:
    (read,) = read_durations(section(tmp_path, np.array([5, -1, 6]) * MS, None).section.cells)
    assert "below zero" in read.problem


def test_codes_of_another_length_are_told(tmp_path: Path) -> None:
    (read,) = read_durations(section(tmp_path, np.array([5, 7, 6]) * MS, np.array([0, 1])).section.cells)
    assert "not of its raw samples" in read.problem


def test_times_with_an_emulated_service_are_said_to_be_no_clouds(tmp_path: Path) -> None:
    checks = [make_check("latency_p99_ms", 1.0, raw="samples/0.npy", samples=3, processes=[3])]
    samples = {"samples/0.npy": np.array([5, 6, 7]) * MS}
    for folder, is_emulated in ((tmp_path / "real", False), (tmp_path / "emulated", True)):
        cells = [make_cell("oip", checks, service_emulated=is_emulated)]
        data = SectionData(make_section(folder, cells, samples))
        for kind in (latency_by_quantile, latency_over_time):
            plot = kind.plot(data)
            assert plot is not None
            assert ("oip: Its service was emulated" in plot.problem) == is_emulated
