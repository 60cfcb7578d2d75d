"""Sections of a report made by hand, for tests of what draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.model.model import Array
from harness.report.making import make_report, read_sources
from harness.report.report import Section

from .evidences import make_cell, make_check, make_run, write


def make_section(
    folder: Path, cells: Sequence[Mapping[str, Any]], samples: Mapping[str, Array] | None = None
) -> Section:
    """Make the section of a report on cells of one model and device, read from files as any report is."""
    write(folder, make_run(cells), samples)
    (section,) = make_report(read_sources([folder])).sections
    return section


def timed_section(folder: Path, durations: Mapping[str, Array], limit: float | None = None, **keys: Any) -> Section:
    """Make a section of cells that were timed, in one process each.

    Args:
        folder: for the evidence.
        durations: the raw samples of each backend.
        limit: on p99, in milliseconds.
        keys: further ones of the check of p99, or other values.
    """
    cells, samples = [], {}
    for number, (backend, raw) in enumerate(durations.items()):
        name = f"samples/{number}.npy"
        samples[name] = raw
        counted = {"raw": name, "samples": len(raw), "processes": [len(raw)]}
        cells.append(make_cell(backend, [{**make_check("latency_p99_ms", 1.0, limit, **counted), **keys}]))
    return make_section(folder, cells, samples)
