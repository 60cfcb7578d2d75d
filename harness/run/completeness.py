"""Which checks a run owes: what no test checked must not let a gate open."""

from __future__ import annotations

from collections.abc import Iterable

from ..cell import Cell
from ..checks.check import NOTHING, judge
from ..checks.finding import Finding
from ..checks.limits import Metric
from ..evidence.cell_record import CellRecord
from ..evidence.writer import Evidence
from ..measure import known_metrics
from ..parity import PARITY


def record_missing_checks(cells: Iterable[Cell], evidence: Evidence, *, narrowed: bool, stopped: bool) -> None:
    """Complete the evidence of cells that were requested but not fully tested: a skipped test must not open a gate.

    A cell in which no test came to anything is an error; where the run was stopped before it came to that cell, it
    is INCONCLUSIVE. So is a limit on a metric that no test checked. Cells whose device cannot be used, backends that
    may be left out and cannot be built, and those that a rule forbids, have their reason already.

    Args:
        cells: those that were asked for.
        evidence: the run's, about to be ended.
        narrowed: whether only some tests were asked for: limits that none of these checks are left out then.
        stopped: whether the run was stopped before its end.
    """
    metrics = {metric.limit_key: metric for metric in (*known_metrics().values(), PARITY)}
    for cell in cells:
        record = evidence[cell]
        if not record.has_outcome and stopped:
            evidence.add_interruption(cell, "the run was stopped before anything of this cell was checked")
        elif not record.has_outcome:
            evidence.add_error(
                cell,
                "nothing was measured: no test of this cell ran, or none applied to it. "
                "The suite is tests/hil in a clone, `pytest --pyargs harness.suite -m hil …` elsewhere",
            )
        has_reason = record.errors or record.unavailable or record.not_built or cell.is_left_out
        if not narrowed and not has_reason:
            for metric in _unchecked(cell, record, metrics):
                evidence.add_check(cell, judge(Finding(metric, no_bound_reason=_missing(record)), cell.limits))


def _unchecked(cell: Cell, record: CellRecord, metrics: dict[str, Metric]) -> Iterable[Metric]:
    """List the metrics that have a limit and no check, each once."""
    checked = {check.finding.metric.name for check in record.checks}
    limited = [metrics[limit.key] for limit in cell.limits if limit.key in metrics]
    return {metric.name: metric for metric in limited if metric.name not in checked}.values()


def _missing(record: CellRecord) -> str:
    open_end = record.interruptions[0].partition("\n")[0] if record.interruptions else ""
    return f"{NOTHING}: {open_end}" if open_end else "a limit is set, and no test of this metric ran"
