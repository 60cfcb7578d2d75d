"""The table on a terminal: a table per model and device, a row per metric, a column per backend.

Rows and columns are the other way round than in the other formats: 80 columns hold four backends, and not ten metrics.
The lines below it are mostly somebody else's text. They are made printable and, also where the terminal's width breaks
them, indented, so that none begins as hilgate's own lines do.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Console, RenderableType
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from ..checks.check import Verdict
from ..evidence.schema import CheckEntry
from ..host.progress import INDENT, folded
from ..printable import printable, printable_lines
from .figures import DASH, bound_text, count_text, limit_text, value_text
from .reasons import doubt_about, not_built, operators_of, reasons_of, sizes_of
from .report import Report, ReportCell, Section, shown_metrics

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
# How many of a profile's operators are shown, the most costly ones; and how many ways to change the decision.
OPERATORS = 10
CHANGES = 5
# And how many backends that are not taken.
OTHERS = 8


def render(report: Report, *, width: int, color: bool, decision_first: bool = True) -> str:
    """Render all sections: of each the decision, its table, and the reasons of whatever is not a PASS.

    Args:
        report: what is shown.
        width: the terminal's, in columns.
        color: whether verdicts are coloured.
        decision_first: whether the decision is each section's first line, or stands below its table, as in a run.
    """
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=color, color_system="standard" if color else None)
    for section in report.sections:
        if decision_first:
            _print(console, _sentence(section))
            console.print()
        render_section(section, console)
        first = [] if decision_first else [_sentence(section)]
        for line in (*first, *_others(section), *_changes(section), *_notes(section)):
            _print(console, line)
        console.print()
    for remark in report.remarks:
        _print(console, Text(f"remark: {printable(remark)}"))
    return output.getvalue()


def render_section(section: Section, console: Console) -> None:
    """Print a section's table and the reasons below it.

    A device on which nothing could be measured has the reason alone, and no table (issue 18).
    """
    everything = section.cells
    cells = [cell for cell in everything if cell.entry.not_built is None or cell.entry.checks] or everything
    _print(console, Text(_title(section), "bold"))
    if sizes := sizes_of(section):
        _print(console, Text(printable(sizes)))
    if shown_metrics(cells) or not all(_is_unusable(cell) for cell in cells):
        _print(console, _fitting(cells, console))
    for line in (*_reasons(cells), *_not_built(everything), *_operators(cells)):
        _print(console, line)


def _title(section: Section) -> str:
    if not section.description:
        return printable(section.title)
    first = section.cells[0].entry
    emulated = ", emulated" if first.emulated else ""
    return printable(f"{first.model} on {first.device}: {section.description}{emulated}")


def _sentence(section: Section) -> Text:
    style = STYLES[Verdict.PASS if section.decision.taken is not None else Verdict.INCONCLUSIVE]
    first = section.cells[0].entry
    sentence = printable(section.decision.sentence)
    return Text.assemble((printable(f"{first.model} on {first.device}"), "bold"), ": ", (sentence, style))


def _others(section: Section) -> Iterator[Text]:
    """Yield why none of the others is taken; of a reason the first line, for it may be a device's own words."""
    out = section.decision.out
    for one in out[:OTHERS]:
        reason = _shortened(one.reason.partition("\n")[0])
        yield Text.assemble((f"not {printable(one.backend)}", STYLES[one.verdict]), f": {reason}")
    if left := out[OTHERS:]:
        yield Text(f"not {len(left)} more: hilgate report --format html has all")


def _changes(section: Section) -> Iterator[Text]:
    """Yield what would change the decision, the nearest first."""
    changes = section.decision.changes
    for change in changes[:CHANGES]:
        yield Text(f"would change it: {printable(change.text)}")
    if left := changes[CHANGES:]:
        yield Text(f"would change it: {len(left)} more: hilgate report --format html has all")


def _notes(section: Section) -> Iterator[Text]:
    for note in (*section.decision.notes, *section.notes):
        yield Text(f"decision: {printable(note)}")


def _is_unusable(cell: ReportCell) -> bool:
    return any(reason.what == "device" for reason in reasons_of([cell]))


def _print(console: Console, what: RenderableType) -> None:
    """Print a table or a text, without any character that a terminal would obey, wherever it came from."""
    if isinstance(what, Text):
        what = Text("\n").join(line for each in what.split("\n", allow_blank=True) for line in folded(console, each))
    segments = console.render(what)
    console.print(
        Segments([Segment(printable_lines(text, len(text) * 10), style) for text, style, _ in segments]), end=""
    )


def _fitting(cells: Sequence[ReportCell], console: Console) -> Table:
    """Return the first layout that fits without a broken word: a column per backend, or else a line per backend."""
    for table in (_table(cells), _table(cells, _packed, padding=0)):
        if table.__rich_measure__(console, console.options.update(max_width=1000)).maximum <= console.width:
            return table
    return _listed(cells)


def _table(
    cells: Sequence[ReportCell], laid_out: Callable[[Text], Text] = lambda text: text, padding: int = 1
) -> Table:
    table = Table(pad_edge=False, padding=(0, padding))
    for heading in ("metric", *(printable(cell.name) for cell in cells), "limit"):
        # Folded where even the last layout is too wide: names and verdicts that are cut off cannot be told apart.
        table.add_column(laid_out(Text(heading)), overflow="fold")
    for name in shown_metrics(cells):
        shown = [laid_out(_shown(cell, name)) for cell in cells]
        table.add_row(laid_out(Text(printable(name))), *shown, Text(_limits(cells, name)))
    table.add_section()
    table.add_row("verdict", *(_verdict(cell) for cell in cells), "")
    return table


def _listed(cells: Sequence[ReportCell]) -> Table:
    """Lay the table out as a line per metric and backend, for many backends on a narrow terminal."""
    table = Table(pad_edge=False)
    for heading in ("metric", "backend", "", "limit"):
        table.add_column(heading, overflow="fold")
    for name in shown_metrics(cells):
        for index, cell in enumerate(cells):
            metric = Text() if index else _packed(Text(printable(name)))
            table.add_row(metric, Text(printable(cell.name)), _shown(cell, name), Text(_limits([cell], name)))
        table.add_section()
    for index, cell in enumerate(cells):
        table.add_row("" if index else "verdict", Text(printable(cell.name)), _verdict(cell), "")
    return table


def _verdict(cell: ReportCell) -> Text:
    return Text.assemble((cell.entry.verdict, STYLES[cell.entry.verdict]), doubt_about(cell))


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


def _shown(cell: ReportCell, metric: str) -> Text:
    if (check := cell.shown_check(metric)) is None:
        return Text(DASH, "dim")
    value, bound = value_text(check), bound_text(check)
    value += f" ({bound})" if bound else ""
    tried = f" ({printable(count)})" if (count := count_text(check)) else ""
    beside = f" ({printable(check.compared)})" if check.compared and value else ""
    doubt = doubt_about(cell, metric)
    if check.verdict is Verdict.MEASURED and value:  # a figure without a limit: its verdict would say no more
        return Text.assemble((value, STYLES[Verdict.MEASURED]), doubt, tried, beside)
    verdict = (str(check.verdict), STYLES[check.verdict])
    return Text.assemble(value, " " if value else "", verdict, doubt, tried, beside)


def _limits(cells: Iterable[ReportCell], metric: str) -> str:
    checks: list[CheckEntry] = [check for cell in cells if (check := cell.check(metric)) is not None]
    return " / ".join(dict.fromkeys(filter(None, map(limit_text, checks))))


def _reasons(cells: Iterable[ReportCell]) -> Iterator[Text]:
    for reason in reasons_of(cells):
        text = _shortened(reason.text) if reason.what == "note" else reason.text
        backends = printable(", ".join(reason.backends))
        said = printable_lines(f" ({backends}): {text}", indent=INDENT)
        yield Text.assemble((printable(reason.what), STYLES[reason.verdict]), said)


def _not_built(cells: Iterable[ReportCell]) -> Iterator[Text]:
    """Yield a line for each reason why this host cannot build backends, with those that were left out for it."""
    for reason, backends in not_built(cells).items():
        said = printable_lines(f": not built here: {reason}", indent=INDENT)
        yield Text.assemble((printable(", ".join(backends)), STYLES[Verdict.NOT_APPLICABLE]), said)


def _operators(cells: Iterable[ReportCell]) -> Iterator[Text]:
    """Yield which operators the instructions went to, where that was asked for (--profile)."""
    for cell in cells:
        for check in cell.entry.checks:
            operators = operators_of(check)
            if operators:
                yield Text(f"instructions by operator ({printable(cell.name)}, by its own profiler):", "bold")
            for one in operators[:OPERATORS]:
                yield Text(printable(f"  {one.share:6.1%}  {one.name:<28} {one.place}".rstrip()))
            if left := operators[OPERATORS:]:
                yield Text(f"  {sum(one.share for one in left):6.1%}  {len(left)} more, see evidence.json")


def _shortened(note: str) -> str:
    """Shorten a note to one line; the evidence has all of it."""
    line = printable(" ".join(note.split()))
    return line if len(line) <= NOTE_WIDTH else line[:NOTE_WIDTH] + " … (more in evidence.json)"
