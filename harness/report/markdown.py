"""The report as Markdown: blocks of lines, of which ``formats.markdown`` shows all and ``formats.github`` what fits.

Texts are somebody else's: nothing in them is markup, a link, a mention or a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..printable import LINE, printable
from .figures import DASH, bound_text, count_text, limit_text, unit_beside, value_text
from .reasons import doubt_about, not_built, reasons_of, sizes_of
from .report import Report, ReportCell, Section, shown_metrics

# What Markdown's parsers take for markup inside a line: written as HTML has it, which all of them show as it is.
MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "\\": "&#92;", "$": "&#36;"}
MARKUP |= {sign: f"\\{sign}" for sign in "*_[]~"}
# What GitHub and GitLab make links of in what is shown (mentions, issues, addresses): a space of no width breaks them.
GAP = "&#8203;"
LINKED = re.compile(r"([@#!%](?=[\w/-])|:(?=//)|\b(?:www|mailto|xmpp)(?=[.:]))", re.IGNORECASE)
LEADING = re.compile(r"\A(\s*)([-+=#]|\d+(?=[.)](?:\s|\Z)))")
# The most characters of a reason, and of its lines.
REASON = 2_000
REASON_LINES = 12


@dataclass(frozen=True, kw_only=True)
class Block:
    """Lines that belong together.

    Attributes:
        rank: how soon a reader needs them: 0 the decision and its table, 1 what explains it, 2 the rest.
    """

    lines: tuple[str, ...]
    rank: int


def escape(text: str, limit: int = LINE) -> str:
    """Make a text of others one line of plain text in Markdown, in a table's cell, too."""
    line = "".join(MARKUP.get(sign, sign) for sign in _unlinked(printable(text, limit)))
    line = LEADING.sub(lambda found: f"{found[1]}{_entity(found[2])}", line)
    return line.replace("\0", GAP)


def _unlinked(line: str) -> str:
    """Break what would become a link; the place of each gap is marked by a character that no printable text has."""
    return LINKED.sub("\\1\0", line)


def _entity(signs: str) -> str:
    return f"&#{ord(signs[0])};{signs[1:]}"


def blocks_of(report: Report) -> list[Block]:
    """Lay the whole report out, section by section, the decision first."""
    blocks = [block for section in report.sections for block in _section(section)]
    remarks = [f"- {escape(remark)}" for remark in report.remarks]
    return [*blocks, *_listed("About the files", remarks, rank=1)]


def _section(section: Section) -> Iterator[Block]:
    decision = section.decision
    taken = "none" if decision.taken is None else escape(decision.taken)
    heading = f"## {escape(section.title)}: deploy {taken}"
    yield Block(lines=(heading, "", escape(decision.sentence), ""), rank=0)
    yield Block(lines=tuple(_table(section)), rank=0)
    out = [f"- {escape(one.backend)} ({one.verdict}): {escape(one.reason)}" for one in decision.out]
    yield from _listed("Why not the others", out, rank=1)
    yield from _listed("What would change it", [f"- {escape(change.text)}" for change in decision.changes], rank=1)
    yield from _listed("Reasons", list(_reasons(section)), rank=2)
    notes = [escape(note) for note in (*decision.notes, *section.notes, sizes_of(section)) if note]
    yield from _listed("Notes", [f"- {note}" for note in notes], rank=1)


def _listed(title: str, lines: Sequence[str], *, rank: int) -> Iterator[Block]:
    if lines:
        yield Block(lines=(f"### {title}", "", *lines, ""), rank=rank)


def _table(section: Section) -> Iterator[str]:
    """Yield a table with a row per backend and a column per metric."""
    metrics = shown_metrics(section.cells)
    headings = [_heading(section.cells, name) for name in metrics]
    yield _row(["backend", "verdict", *headings])
    yield _row(["---"] * (2 + len(headings)))
    for cell in section.cells:
        shown = [_shown(cell, name) for name in metrics]
        taken = " (taken)" if cell.name == section.decision.taken else ""
        yield _row([f"{escape(cell.name, 200)}{taken}", f"**{cell.entry.verdict}**{escape(doubt_about(cell))}", *shown])
    yield ""


def _heading(cells: Sequence[ReportCell], metric: str) -> str:
    unit = unit_beside(metric, (cell.check(metric) for cell in cells))
    return escape(metric, 200) + (f" ({escape(unit, 80)})" if unit else "")


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(cell: ReportCell, metric: str) -> str:
    if (check := cell.shown_check(metric)) is None:
        return DASH
    value, bound, limit, count = value_text(check), bound_text(check), limit_text(check), count_text(check)
    doubt = escape(doubt_about(cell, metric))
    parts = [value, f"({bound})" if bound else "", f"of {limit}" if limit else "", f"{check.verdict}{doubt}"]
    parts += [f"({escape(count, 80)})" if count else "", f"({escape(check.compared, 200)})" if check.compared else ""]
    return " ".join(filter(None, parts))


def _reasons(section: Section) -> Iterator[str]:
    for reason in reasons_of(section.cells):
        lines = [escape(line, REASON) for line in reason.text.split("\n")[: REASON_LINES + 1]]
        if len(lines) > REASON_LINES:
            lines[-1] = "…"
        backends = escape(", ".join(reason.backends))
        verdict = "" if reason.what == "note" else f", {reason.verdict}"
        yield f"- {escape(reason.what)} ({backends}){verdict}: {'<br>'.join(lines)}"
    for why, names in not_built(section.cells).items():
        yield f"- {escape(', '.join(names))}: not built here: {escape(why)}"
