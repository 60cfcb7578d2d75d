"""What the terminal shows of a run of benchmarks, alone or beside an earlier one."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.printable import printable

from .changes import Change, Line, compare_results, differing_facts
from .result import Result
from .row import Row

STYLES = {"kept": "green", "missed": "bold red", "": "dim"}
CHANGE_STYLES = {Change.BETTER: "green", Change.WORSE: "bold red", Change.MORE: "bold", Change.LESS: "bold"}
PLAIN_WIDTH = 150  # where the output is no terminal


def open_console() -> Console:
    """Return the console that all is shown on."""
    console = Console()
    console.width = console.width if console.is_terminal else PLAIN_WIDTH
    return console


def show_result(console: Console, result: Result) -> None:
    """Show the rows of a run."""
    table = _table(
        "benchmarks", ("what", "left"), ("value", "right"), ("against", "left"), ("aim", "right"), ("", "left")
    )
    for outcome in result.outcomes:
        table.add_section()
        table.add_row(Text(f"{outcome.name}, {outcome.took_s:.0f} s", "bold"))
        for row in outcome.rows:
            words = (f"  {row.what}", _figure(row), row.against, str(row.aim or ""))
            table.add_row(*map(_plain, words), Text(row.verdict, STYLES[row.verdict]))
    console.print(table)


def show_changes(console: Console, old: Result, new: Result) -> None:
    """Show the rows of two runs side by side, and what changed by more than the noise of both."""
    lines = compare_results(old, new)
    for fact in differing_facts(old, new):
        console.print(Text(f"not the same: {printable(fact)}", STYLES["missed"]))
    if not lines:
        console.print("no benchmark is in both runs: nothing to compare")
        return
    columns = [(name, "right") for name in ("before", "now", "change", "noise")]
    table = _table(f"beside the run of {printable(old.started)}", ("what", "left"), *columns, ("", "left"))
    benchmark = ""
    for line in lines:
        if line.benchmark != benchmark:
            benchmark = line.benchmark
            table.add_section()
            table.add_row(Text(printable(benchmark), "bold"))
        table.add_row(*_cells(line), Text(line.change.value, CHANGE_STYLES.get(line.change, "dim")))
    console.print(table)
    changed = [line for line in lines if line.change.is_beyond_noise]
    for line in changed:
        cells = [str(cell).strip() for cell in _cells(line)]
        told = f"{line.change.value}: {printable(line.benchmark)}: {cells[0]}: {cells[1]} → {cells[2]} ({cells[3]})"
        console.print(Text(told, CHANGE_STYLES[line.change]))
    console.print(f"{len(lines)} lines compared; changed by more than the noise: {len(changed)}")


def _cells(line: Line) -> Sequence[Text]:
    percent, noise = line.percent, line.noise_percent
    figures = (_figure(row) if row else "" for row in (line.old, line.new))
    shown = "" if percent is None else f"{percent:+.1f} %", "" if noise is None else f"± {noise:.1f} %"
    return [_plain(words) for words in (f"  {line.row.what}", *figures, *shown)]


def conclude(console: Console, result: Result, place: str) -> None:
    """Name the aims that were missed, and what could not be run."""
    missed = [f"{outcome.name}: {row.what}" for outcome in result.outcomes for row in outcome.missed]
    for words in missed:
        console.print(Text(f"missed: {printable(words)}", STYLES["missed"]))
    for outcome in result.failed:
        words = f"could not be run to its end: {outcome.name}: {outcome.failure}"
        console.print(Text(printable(words), STYLES["missed"]))
    counts = f"benchmarks: {len(result.outcomes)}; failed: {len(result.failed)}; aims missed: {len(missed)}"
    console.print(_plain(f"{counts}; result: {place}"))


def _figure(row: Row) -> str:
    return f"{row.value:.4g} {row.unit}".rstrip()


def _plain(words: str) -> Text:
    return Text(printable(words))  # no markup: names have brackets


def _table(title: str, *columns: tuple[str, str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column, justify in columns:
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    return table
