"""What stands below a table, in every format: why a cell is no PASS, what was not built, sizes, and operators.

Texts are as the evidence has them: each format makes them harmless in its own way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..checks.check import NOTHING, Verdict
from ..decision import CELL
from ..evidence.schema import CellEntry, CheckEntry
from ..model.inputs import describe_sizes
from .report import ReportCell, Section

# What begins the reason of a device that cannot be used (harness.evidence.writer).
UNUSABLE = (f"{NOTHING}: ", "the rest was not measured: ")
# Metrics that depend on the inputs' sizes, by the beginnings of their names: time, memory, instructions, energy.
SIZED = (
    "latency_",
    "deadline_miss_rate",
    "availability",
    "load_time_",
    "first_start_",
    "first_part_",
    "start_jitter_",
    "switch_",
    "memory_peak_",
    "instructions_",
    "energy_",
)
# How a table marks a verdict that does not follow from its numbers; the reason below it says so in words.
DOUBT = "*"
DOES_NOT_FOLLOW = "does not follow from its numbers"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why something is as it is, once, with the backends that it holds for.

    Attributes:
        what: metrics, or "error", "open", "device", "unfinished", "rule", "note".
        text: in words; may have several lines.
    """

    what: str
    verdict: Verdict
    backends: tuple[str, ...]
    text: str


def doubt_about(cell: ReportCell, metric: str = CELL) -> str:
    """Return the mark of a verdict that does not follow from its numbers; by default of the cell's own; or ""."""
    return DOUBT if metric in cell.contradictions else ""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """What an operator costs of a backend's instructions, as a share of all."""

    share: float
    name: str
    place: str


def reasons_of(cells: Iterable[ReportCell]) -> list[Reason]:
    """List each reason once, with the backends that it holds for; what failed comes first: of the rest may be much."""
    found: dict[tuple[str, Verdict, str], list[str]] = {}
    for cell in cells:
        for key in _all_of(cell):
            found.setdefault(key, []).append(cell.name)
    listed = [
        Reason(what=what, verdict=verdict, backends=tuple(dict.fromkeys(backends)), text=text)
        for (what, verdict, text), backends in found.items()
    ]
    return sorted(listed, key=lambda reason: reason.verdict is not Verdict.FAIL)


def _all_of(cell: ReportCell) -> Iterator[tuple[str, Verdict, str]]:
    entry = cell.entry
    for name in entry.unfinished:
        yield "unfinished", Verdict.INCONCLUSIVE, name.rpartition("::")[2]
    yield from _troubles(entry)
    if entry.forbidden:
        yield "rule", Verdict.INELIGIBLE, entry.forbidden
    by_reason: dict[tuple[Verdict, str], list[str]] = {}
    for check in entry.checks:
        if check.reason and check.asked:
            by_reason.setdefault((check.verdict, check.reason), []).append(check.metric)
    for (verdict, reason), metrics in by_reason.items():
        yield ", ".join(metrics), verdict, reason
    for metric, why in cell.contradictions.items():
        yield metric, Verdict.FAIL, f"{DOES_NOT_FOLLOW}: {why}"
    for note in entry.notes:
        yield "note", Verdict.MEASURED, note


def _troubles(entry: CellEntry) -> Iterator[tuple[str, Verdict, str]]:
    """Take a cell's error apart: what went wrong, what stays open, and why its device cannot be used."""
    lines = (entry.error or "").split("\n")
    place = next((number for number, line in enumerate(lines) if line.startswith(UNUSABLE)), len(lines))
    rest, unusable = "\n".join(lines[:place]), "\n".join(lines[place:])
    interruptions = entry.interruptions or ([rest] if rest and entry.verdict is not Verdict.FAIL else [])
    for text in _apart(rest.removesuffix("\n".join(interruptions))):
        yield "error", Verdict.FAIL, text
    for text in interruptions:
        yield "open", Verdict.INCONCLUSIVE, text
    if unusable:  # all of it is in pytest's own error, and in the evidence
        yield "device", Verdict.INCONCLUSIVE, unusable.partition("\n")[0]


def _apart(text: str) -> list[str]:
    """Separate errors: each begins a line, and indents those that follow."""
    texts: list[str] = []
    for line in text.strip("\n").split("\n") if text.strip() else []:
        if texts and (line.startswith(" ") or not line):
            texts[-1] += f"\n{line}"
        else:
            texts.append(line)
    return texts


def not_built(cells: Iterable[ReportCell]) -> dict[str, list[str]]:
    """Return why this host cannot build backends: of each reason the backends that were left out for it."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        if cell.entry.not_built is not None:
            found.setdefault(_in_a_line(cell.entry.not_built), []).append(cell.name)
    return found


def _in_a_line(error: str) -> str:
    """Shorten an error of ours (see harness.errors): what went wrong, what was found, what to do next."""
    what, _, details = error.partition("\n")
    parts = {"found": "", "next": ""}
    for line in details.split("\n"):
        label, _, text = line.strip().partition(":")
        if line.startswith("  ") and not line.startswith("   ") and label in parts:
            parts[label] = text.strip()
    seen = f" ({parts['found']})" if parts["found"] else ""
    return "; ".join(filter(None, [f"{what}{seen}", parts["next"]]))


def sizes_of(section: Section) -> str:
    """Say at which sizes time and memory were measured; "" where nothing depends on them."""
    cells = section.cells
    measure = cells[0].entry.measure
    checks = [check for cell in cells for check in cell.entry.checks]
    if not measure or not any(map(_is_sized, checks)):
        return ""
    if any(cell.entry.measure != measure for cell in cells):
        return "timed, and memory taken, at sizes that differ from backend to backend"
    drawn = ", drawn" if any(isinstance(size, str) for size in measure.values()) else ""
    return f"timed, and memory taken, at {describe_sizes(measure)}{drawn}{_sample_sizes(checks, measure)}"


def _is_sized(check: CheckEntry) -> bool:
    return check.metric.startswith(SIZED) and check.verdict is not Verdict.NOT_APPLICABLE


def _sample_sizes(checks: Iterable[CheckEntry], measure: Mapping[str, Any]) -> str:
    """Name the sizes at which the model file's samples were run; "" where they are those that were asked for."""
    for check in checks:
        by_content = (check.model_extra or {}).get("by_content")
        samples = by_content.get("samples") if isinstance(by_content, dict) else None
        sizes = samples.get("sizes", measure) if isinstance(samples, dict) else measure
        if isinstance(sizes, dict) and sizes != measure:
            return f"; the model file's samples at {describe_sizes(sizes)}"
    return ""


def operators_of(check: CheckEntry) -> Sequence[Operator]:
    """Return which operators the instructions went to; empty where nobody asked, or the file has something else."""
    listed = (check.model_extra or {}).get("operators")
    found = []
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, dict) and isinstance(share := one.get("share"), (int, float)) and abs(share) <= 1:
            place = f"module {one['module']}" if one.get("module") else str(one.get("name", ""))
            found.append(Operator(share=share, name=str(one.get("operator", "")), place=place))
    return found
