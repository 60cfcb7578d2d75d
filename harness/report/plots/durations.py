"""What was timed of a cell, from its raw samples: the content that its latency is judged on, process by process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from ...evidence.samples import read_raw_failures, read_samples
from ...evidence.schema import CheckEntry
from ...model.model import Array
from ..report import ReportCell

# Quantiles that are limited, by their metrics; the slowest is none.
QUANTILES = {"latency_p50_ms": 0.5, "latency_p90_ms": 0.9, "latency_p99_ms": 0.99, "latency_p999_ms": 0.999}
SLOWEST = "latency_max_ms"
# The one whose content is drawn comes first.
METRICS = ("latency_p99_ms", "latency_p50_ms", "latency_p90_ms", "latency_p999_ms", SLOWEST)
# The contents, in the order in which each process has them in the file; see docs/evidence.md.
CONTENTS = {"uniform": "inputs spread over the declared range", "samples": "the model file's samples"}
SERVICE_EMULATED = "Its service was emulated on this machine: these times are no cloud's."
# In place of a duration: a call that failed. In the third column of a sensor's clock: the release was dropped.
NEVER = -1


@dataclass(frozen=True, kw_only=True)
class Durations:
    """A cell's durations, or why there are none.

    Attributes:
        number: the cell's place in its section.
        cell: the cell.
        check: the check whose samples they are.
        processes: milliseconds, float64[n] for each process, in the order in which they were taken; infinite where a
            release of a sensor's clock was dropped, or a call to another computer failed.
        failed: how many calls to another computer failed, of both contents.
        content: the name of what was timed; "" where there was but one.
        remarks: what a reader should know, in sentences.
        problem: why there are none, in a sentence; "" if there are some.
    """

    number: int
    cell: ReportCell
    check: CheckEntry
    processes: tuple[Array, ...] = ()
    failed: int = 0
    content: str = ""
    remarks: tuple[str, ...] = ()
    problem: str = ""

    @cached_property
    def values(self) -> Array:
        """All durations in milliseconds, float64[n], as they came."""
        return np.concatenate([*self.processes, np.empty(0)])

    @cached_property
    def ordered(self) -> Array:
        """All durations in milliseconds, float64[n], the fastest first."""
        return np.sort(self.values)

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(map(len, self.processes))

    @property
    def lost(self) -> str:
        """What became of those that are infinite, in a word or three."""
        if not self.failed:
            return "dropped"
        return "failed" if self.cell.entry.clock is None else "failed or dropped"


def read_durations(cells: Sequence[ReportCell]) -> list[Durations]:
    """Read the durations of each cell that says to have some."""
    read = []
    for number, cell in enumerate(cells):
        checks = [check for metric in METRICS if (check := cell.check(metric)) is not None]
        check = next((check for check in checks if check.raw is not None), None)
        if check is not None:
            read.append(_durations(number, cell, check))
        elif any(check.value is not None for check in checks):
            problem = "The evidence names no file of its raw samples."
            read.append(Durations(number=number, cell=cell, check=checks[0], problem=problem))
    return read


def _durations(number: int, cell: ReportCell, check: CheckEntry) -> Durations:
    read = read_samples(cell.source.folder, check)
    if read.values is None:
        return Durations(number=number, cell=cell, check=check, problem=read.problem)
    if not len(read.values):
        return Durations(number=number, cell=cell, check=check, problem="The file of its raw samples has none.")
    failures = read_raw_failures(cell.source.folder, check) if check.raw_failures is not None else None
    if failures is not None and (failures.values is None or failures.values.shape != read.values.shape[:1]):
        problem = failures.problem or "The file of its calls that failed is not of its raw samples."
        return Durations(number=number, cell=cell, check=check, problem=problem)
    has_failed = None if failures is None or failures.values is None else failures.values != 0
    values = _milliseconds(read.values, has_failed)
    if (values < 0).any():
        problem = "Its raw samples cannot be durations: some are below zero."
        return Durations(number=number, cell=cell, check=check, problem=problem)
    failed = 0 if has_failed is None else int(has_failed.sum())
    processes, content, remark = _judged(check, values)
    emulated = SERVICE_EMULATED if cell.entry.service_emulated else ""
    remarks = tuple(filter(None, (read.remark, remark, _growing_remark(check, processes), emulated)))
    parts: dict[str, Any] = {"processes": processes, "failed": failed, "content": content, "remarks": remarks}
    return Durations(number=number, cell=cell, check=check, **parts)


def _growing_remark(check: CheckEntry, processes: Sequence[Array]) -> str:
    """Say where the check counts as infinite what was finite: responses from a queue that grows without end."""
    quantile = QUANTILES.get(check.metric)
    if quantile is None or check.value != "inf":
        return ""
    late = sum(int(np.isinf(values).sum()) for values in processes) / sum(map(len, processes))
    if late > 1 - quantile or check.raw_failures is not None:
        return ""
    return "Its queue grows without end, and no response counts as in time: drawn is how long those took that came."


def _milliseconds(raw: Array, has_failed: Array | None) -> Array:
    """Return durations, or responses: from when an input was due to the end of its inference; infinite without one."""
    if has_failed is not None:
        answered = np.where(has_failed if raw.ndim == 1 else has_failed[:, None], 0, raw)
        return np.where(has_failed, np.inf, _milliseconds(answered, None))
    if raw.ndim == 1:
        return raw.astype(np.float64) / 1e6
    ends = raw[:, 2].astype(np.float64)
    responses: Array = np.where(raw[:, 2] == NEVER, np.inf, ends - raw[:, 0].astype(np.float64)) / 1e6
    return responses


def _judged(check: CheckEntry, values: Array) -> tuple[tuple[Array, ...], str, str]:
    """Cut values into processes, and keep the content that is judged; return its name and a remark, too."""
    more: Mapping[str, Any] = check.model_extra or {}
    content, each = more.get("content"), more.get("by_content")
    if isinstance(each, dict) and len(each) > 1:
        counts = [_counts(each.get(name)) for name in CONTENTS]
        if set(each) == set(CONTENTS) and content in CONTENTS and _add_up(counts, len(values)):
            lengths = [count for process in zip(*counts, strict=True) for count in process]
            wanted = list(CONTENTS).index(content)
            return _cut(values, lengths)[wanted :: len(CONTENTS)], content, ""
        remark = "What was timed on samples and what on other inputs cannot be told apart in the file: all is drawn."
        return (values,), "", remark
    if check.processes and sum(check.processes) == len(values):
        return _cut(values, check.processes), "", ""
    remark = "The evidence does not say which process has which samples." if check.processes else ""
    return (values,), "", remark


def _counts(described: Any) -> list[int]:
    counts = described.get("processes") if isinstance(described, dict) else None
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        return []
    return counts


def _add_up(counts: Sequence[Sequence[int]], total: int) -> bool:
    return len({len(each) for each in counts}) == 1 and bool(counts[0]) and sum(map(sum, counts)) == total


def _cut(values: Array, lengths: Sequence[int]) -> tuple[Array, ...]:
    return tuple(np.split(values, list(accumulate(lengths))[:-1]))
