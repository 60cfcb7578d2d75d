"""What a run ends with, below pytest's own results: the tables, the time, where the evidence is, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..checks.check import Verdict
from ..evidence.folder import FILE
from ..evidence.schema import HarnessTime
from ..evidence.writer import Evidence
from ..host.shipped import DEVICES
from ..host.shown_path import shown_path
from .terminal import STYLES, limits_not_judged, remark_on_local


def summary_lines(evidence: Evidence, remarks: Sequence[str]) -> Iterator[str]:
    """Yield the lines between the tables and the verdict.

    Args:
        evidence: the run's, ended.
        remarks: what else the run has to say, such as a baseline that was written.
    """
    yield _time_line(evidence.harness)
    yield f"evidence: {evidence.unwritable or shown_path(evidence.folder / FILE)}"
    yield from remarks
    records = list(evidence.records.values())
    if remark := remark_on_local(records, DEVICES):
        yield remark
    if left := limits_not_judged(records):
        yield f"limits that were not judged: {left}"


def _time_line(spent: HarnessTime) -> str:
    device_s, harness_s, export_s = spent.device_s or 0.0, spent.harness_s or 0.0, spent.export_s or 0.0
    share = f"{harness_s / device_s:.2f} ×" if device_s > 1 else "from pytest's start"
    exports = f", {export_s:.1f} s of it exports" if export_s else ""
    return f"loading and inferring on devices {device_s:.1f} s; the harness added {harness_s:.1f} s ({share}{exports})"


def color_of(verdict: Verdict) -> str:
    """Name the color of a verdict's line, as pytest's terminal writer does."""
    return STYLES[verdict].split()[-1].replace("dim", "light")
