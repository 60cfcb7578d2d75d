"""The table at the end of a run: a table per model and device, a row per metric, a column per backend.

The lines below it are mostly somebody else's text. They are made printable and, also where the terminal's width breaks
them, indented, so that none begins as hilgate's own lines do.
"""

from __future__ import annotations

import io
import math
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from ..checks.check import Check, Verdict
from ..checks.limits import Metric
from ..evidence.cell_record import CellRecord
from ..host.progress import INDENT, folded
from ..model.inputs import describe_measured, describe_sizes
from ..printable import printable, printable_lines

STYLES = {
    Verdict.PASS: "green",
    Verdict.MEASURED: "cyan",
    Verdict.FAIL: "bold red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.INELIGIBLE: "magenta",
    Verdict.NOT_APPLICABLE: "dim",
}


# Exporters explain their refusals at length.
NOTE_WIDTH = 240
# The width of a column where many share a narrow terminal: the longest verdict fits in one piece.
NARROW = len(Verdict.INCONCLUSIVE)
# The width of a metric's name there: the longest of those that have a figure in most runs.
NAME = len("deadline_miss_rate")
# Architectures, as a buyer of boards calls them.
MACHINES = {"x86_64": "x86-64", "aarch64": "arm64"}
# How many of a profile's operators are shown, the most costly ones.
OPERATORS = 10


def render(records: Sequence[CellRecord], *, width: int, color: bool) -> str:
    """Render all tables, and below each the reasons of whatever is not a PASS.

    A device on which nothing could be measured has the reason alone, and no table (issue 18).
    """
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=color, color_system="standard" if color else None)
    for _, group in groupby(records, key=lambda record: record.cell.key[:2]):
        everything = list(group)
        cells = [record for record in everything if record.not_built is None or record.checks] or everything
        device = cells[0].cell.device
        emulated = ", emulated" if device.emulated else ""
        title = printable(f"{cells[0].cell.file.name} on {device.name}: {device.description}{emulated}")
        _print(console, Text(title, "bold"))
        if (sizes := describe_measured(cells[0].cell.file.model)) and any(map(_is_sized, _checks(cells))):
            _print(console, Text(f"timed, and memory taken, at {sizes}{_sample_sizes(cells)}"))
        if _metrics(cells) or not all(record.unavailable for record in cells):
            _print(console, _fitting(cells, console))
        for line in (*_reasons(cells), *_not_built(everything), *_operators(cells)):
            _print(console, line)
        console.print()
    return output.getvalue()


def _print(console: Console, what: RenderableType) -> None:
    """Print a table or a text, without any character that a terminal would obey, wherever it came from."""
    if isinstance(what, Text):
        what = Text("\n").join(line for each in what.split("\n", allow_blank=True) for line in folded(console, each))
    segments = console.render(what)
    console.print(
        Segments([Segment(printable_lines(text, len(text) * 10), style) for text, style, _ in segments]), end=""
    )


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


def limits_not_judged(records: Iterable[CellRecord]) -> str:
    """List the limits that were set and could not be judged on their device; "" without any."""
    limits = [
        f"{check.finding.metric.name} on {record.cell.device.name}"
        for record in records
        for check in record.checks
        if check.limit is not None and check.verdict is Verdict.NOT_APPLICABLE
    ]
    return ", ".join(dict.fromkeys(limits))


def _fitting(cells: Sequence[CellRecord], console: Console) -> Table:
    """Return the first layout that fits without a broken word: a column per backend, or else a line per backend."""
    for table in (_table(cells), _table(cells, _packed, padding=0)):
        if table.__rich_measure__(console, console.options.update(max_width=1000)).maximum <= console.width:
            return table
    return _listed(cells)


def _table(
    cells: Sequence[CellRecord], laid_out: Callable[[Text], Text] = lambda text: text, padding: int = 1
) -> Table:
    table = Table(pad_edge=False, padding=(0, padding))
    for heading in ("metric", *(record.cell.backend.name for record in cells), "limit"):
        # Folded where even the last layout is too wide: names and verdicts that are cut off cannot be told apart.
        table.add_column(laid_out(Text(heading)), overflow="fold")
    for name in _metrics(cells):
        checks = [_find(record, name) for record in cells]
        table.add_row(laid_out(Text(name)), *(laid_out(_shown(check)) for check in checks), _limits(checks))
    table.add_section()
    table.add_row("verdict", *(Text(record.verdict, STYLES[record.verdict]) for record in cells), "")
    return table


def _listed(cells: Sequence[CellRecord]) -> Table:
    """Lay the table out as a line per metric and backend, for many backends on a narrow terminal."""
    table = Table(pad_edge=False)
    for heading in ("metric", "backend", "", "limit"):
        table.add_column(heading, overflow="fold")
    for name in _metrics(cells):
        for index, record in enumerate(cells):
            check = _find(record, name)
            table.add_row(
                "" if index else _packed(Text(name)), record.cell.backend.name, _shown(check), _limits([check])
            )
        table.add_section()
    for index, record in enumerate(cells):
        verdict = Text(record.verdict, STYLES[record.verdict])
        table.add_row("" if index else "verdict", record.cell.backend.name, verdict, "")
    return table


def _packed(text: Text) -> Text:
    """Break a cell into lines of about NARROW: at blanks, and behind a name's hyphen; a sign stays with its number.

    A metric's name is broken behind its underscores where it is longer than NAME.
    """
    lines = [Text()]
    is_name = "_" in text.plain and text.plain.islower() and " " not in text.plain
    places, width = (r"_", NAME) if is_name else (r"(?<![≤≥]) |-", NARROW)
    for piece in text.divide([found.end() for found in re.finditer(places, text.plain)]):
        if lines[-1] and len(lines[-1].plain + piece.plain.rstrip()) > width:
            lines.append(Text())
        lines[-1].append_text(piece)
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def _metrics(cells: Sequence[CellRecord]) -> list[str]:
    """Name the metrics that say something of a cell: why others cannot be asked here is said below the table."""
    return list(
        dict.fromkeys(
            check.finding.metric.name
            for check in _checks(cells)
            if check.verdict is not Verdict.NOT_APPLICABLE or check.finding.value is not None
        )
    )


def _checks(cells: Iterable[CellRecord]) -> Iterator[Check]:
    return (check for record in cells for check in record.checks)


def _is_sized(check: Check) -> bool:
    """Tell whether a check depends on the inputs' sizes and was made: time, memory, instructions."""
    metric = check.finding.metric
    sized = metric.wall_clock or metric.name in ("memory_peak_mib", "instructions_per_inference")
    return sized and check.verdict is not Verdict.NOT_APPLICABLE


def _sample_sizes(cells: Sequence[CellRecord]) -> str:
    """Name the sizes at which the model file's samples were run; "" where they are those that were asked for."""
    contents = [check.finding.details.get("by_content", {}).get("samples", {}) for check in _checks(cells)]
    measure = cells[0].cell.file.model.described_sizes
    found = [describe_sizes(one["sizes"]) for one in contents if one.get("sizes", measure) != measure]
    return f"; the model file's samples at {found[0]}" if found else ""


def _find(record: CellRecord, name: str) -> Check | None:
    return next((check for check in record.checks if check.finding.metric.name == name), None)


def _shown(check: Check | None) -> Text:
    if check is None or (check.verdict is Verdict.NOT_APPLICABLE and check.finding.unasked):
        return Text("–", "dim")
    finding = check.finding
    value = "" if finding.value is None else finding.metric.shown(finding.value, 3)
    if check.verdict is Verdict.FAIL and finding.bound_low is not None:  # this one broke the limit
        value += f" ({'≥' if finding.metric.bound == 'max' else '≤'} {finding.metric.shown(finding.bound_low, 3)})"
    elif finding.confidence is not None and finding.bound is not None:
        value += f" ({_sign(finding.metric)} {finding.metric.shown(finding.bound, 3)})"
    tried = f" ({finding.samples} {finding.metric.counts})" if finding.metric.counts and finding.samples else ""
    beside = f" ({finding.compared})" if finding.compared and value else ""
    if check.verdict is Verdict.MEASURED and value:  # a figure without a limit: its verdict would say no more
        return Text.assemble((value, STYLES[Verdict.MEASURED]), tried, beside)
    return Text.assemble(value, " " if value else "", (str(check.verdict), STYLES[check.verdict]), tried, beside)


def _sign(metric: Metric) -> str:
    return "≤" if metric.bound == "max" else "≥"


def _limits(checks: Iterable[Check | None]) -> str:
    shown = []
    for check in checks:
        if check is not None and check.limit is not None and math.isfinite(check.limit.value):
            shown.append(f"{_sign(check.finding.metric)} {check.finding.metric.shown(check.limit.value)}")
    return " / ".join(dict.fromkeys(shown))


def _reasons(cells: Iterable[CellRecord]) -> Iterable[Text]:
    """Yield each reason once, with the backends that it holds for; those of a FAIL first."""
    found: dict[tuple[str, Verdict, str], list[str]] = {}
    for record in cells:
        backend = record.cell.backend.name
        for name in sorted(record.pending):
            found.setdefault(("unfinished", Verdict.INCONCLUSIVE, name.rpartition("::")[2]), []).append(backend)
        for error in record.errors:
            found.setdefault(("error", Verdict.FAIL, error), []).append(backend)
        for reason in record.interruptions:
            found.setdefault(("open", Verdict.INCONCLUSIVE, reason), []).append(backend)
        if record.unavailable:  # all of it is in pytest's own error, and in the evidence
            first = printable(record.unavailable.partition("\n")[0])
            found.setdefault(("device", Verdict.INCONCLUSIVE, first), []).append(backend)
        for (verdict, reason), metrics in _by_reason(record).items():
            found.setdefault((", ".join(metrics), verdict, reason), []).append(backend)
        for note in record.notes:
            found.setdefault(("note", Verdict.MEASURED, _shortened(note)), []).append(backend)
    # What failed comes first: of the rest there may be much.
    for (what, verdict, reason), backends in sorted(found.items(), key=lambda item: item[0][1] is not Verdict.FAIL):
        said = printable_lines(f" ({', '.join(backends)}): {reason}", indent=INDENT)
        yield Text.assemble((printable(what), STYLES[verdict]), said)


def _not_built(records: Iterable[CellRecord]) -> Iterator[Text]:
    """Yield a line for each reason why this host cannot build backends, with those that were left out for it."""
    found: dict[str, list[str]] = {}
    for record in records:
        if (error := record.not_built) is not None:
            seen = f" ({error.found.splitlines()[0]})" if error.found else ""
            reason = "; ".join(filter(None, [f"{error.what}{seen}", error.hint]))
            found.setdefault(printable_lines(reason, indent=INDENT), []).append(record.cell.backend.name)
    for reason, backends in found.items():
        yield Text.assemble((", ".join(backends), STYLES[Verdict.NOT_APPLICABLE]), f": not built here: {reason}")


def _operators(cells: Iterable[CellRecord]) -> Iterable[Text]:
    """Yield which operators the instructions went to, where that was asked for (--profile)."""
    for record in cells:
        for check in record.checks:
            operators: Sequence[Mapping[str, Any]] = check.finding.details.get("operators", ())
            if operators:
                yield Text(f"instructions by operator ({record.cell.backend.name}, by its own profiler):", "bold")
            for one in operators[:OPERATORS]:
                place = f"module {one['module']}" if one["module"] else one["name"]
                yield Text(printable(f"  {one['share']:6.1%}  {one['operator']:<28} {place}".rstrip()))
            if left := operators[OPERATORS:]:
                yield Text(f"  {sum(one['share'] for one in left):6.1%}  {len(left)} more, see evidence.json")


def _by_reason(record: CellRecord) -> dict[tuple[Verdict, str], list[str]]:
    """Group a cell's metrics by verdict and reason."""
    found: dict[tuple[Verdict, str], list[str]] = {}
    for check in record.checks:
        if check.reason and not check.finding.unasked:
            found.setdefault((check.verdict, check.reason), []).append(check.finding.metric.name)
    return found


def _shortened(note: str) -> str:
    """Shorten a note to one line; the evidence has all of it."""
    line = printable(" ".join(note.split()))
    return line if len(line) <= NOTE_WIDTH else line[:NOTE_WIDTH] + " … (more in evidence.json)"
