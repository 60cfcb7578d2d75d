"""What a run ends with, below pytest's own results: the tables, the time, where the evidence is, and the verdict."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..checks.check import Check, Verdict
from ..evidence.cell_record import CellRecord
from ..evidence.folder import FILE
from ..evidence.schema import HarnessTime
from ..evidence.writer import Evidence
from ..host.shipped import DEVICES
from ..host.shown_path import shown_path
from .terminal import STYLES

# Architectures, as a buyer of boards calls them.
MACHINES = {"x86_64": "x86-64", "aarch64": "arm64"}


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
    if remark := remark_on_services(records):  # last, beside the verdict
        yield remark


def remark_on_local(records: Sequence[CellRecord], shipped: Path) -> str:
    """Remind of what the figures of a run on this machine alone are not; "" without figures or with another device.

    Args:
        records: all cells of the run.
        shipped: the folder of hilgate's own devices.
    """
    local = (shipped / "local.toml").resolve()
    if any(record.cell.device.path.resolve() != local for record in records) or not any(
        map(_is_sized, _checks(records))
    ):
        return ""
    machine = MACHINES.get(platform.machine(), platform.machine())
    other = "--device qemu-pi4 for arm64's answers and memory, " if machine != MACHINES["aarch64"] else ""
    return f"times of this {machine} machine; {other}hilgate add for your board"


def remark_on_services(records: Iterable[CellRecord]) -> str:
    """Say what a verdict on an emulated service is of, and what not; "" where there is none."""
    emulated = dict.fromkeys(record.cell.backend.name for record in records if record.cell.service_emulated)
    if not emulated:
        return ""
    what = "what is judged is answers, memory and sizes at most; nothing of it speaks of a real service"
    return f"emulated services ({', '.join(emulated)}): {what}"


def limits_not_judged(records: Iterable[CellRecord]) -> str:
    """List the limits that were set and could not be judged on their device; "" without any."""
    limits = [
        f"{check.finding.metric.name} on {record.cell.device.name}"
        for record in records
        for check in record.checks
        if check.limit is not None and check.verdict is Verdict.NOT_APPLICABLE
    ]
    return ", ".join(dict.fromkeys(limits))


def _checks(records: Iterable[CellRecord]) -> Iterator[Check]:
    return (check for record in records for check in record.checks)


def _is_sized(check: Check) -> bool:
    """Tell whether a check depends on the inputs' sizes and was made: time, memory, instructions."""
    metric = check.finding.metric
    sized = metric.wall_clock or metric.name in ("memory_peak_mib", "instructions_per_inference")
    return sized and check.verdict is not Verdict.NOT_APPLICABLE


def _time_line(spent: HarnessTime) -> str:
    device_s, harness_s, export_s = spent.device_s or 0.0, spent.harness_s or 0.0, spent.export_s or 0.0
    share = f"{harness_s / device_s:.2f} ×" if device_s > 1 else "from pytest's start"
    exports = f", {export_s:.1f} s of it exports" if export_s else ""
    return f"loading and inferring on devices {device_s:.1f} s; the harness added {harness_s:.1f} s ({share}{exports})"


def color_of(verdict: Verdict) -> str:
    """Name the color of a verdict's line, as pytest's terminal writer does."""
    return STYLES[verdict].split()[-1].replace("dim", "light")
