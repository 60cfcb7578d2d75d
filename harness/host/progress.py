"""Progress of long work: bars on a terminal, silence elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from ..printable import printable, printable_lines

Update = Callable[[int, int, str], None]

# Of what is said, every line but the first: none begins as hilgate's own do, such as "verdict:".
INDENT = "  "


def folded(console: Console, line: Text) -> list[Text]:
    """Break a line at the console's width; what goes on is indented."""
    first, *others = line.wrap(console, max(console.width - len(INDENT), 1)) or [line]
    return [first, *(Text(INDENT).append_text(other) for other in others)]


class ProgressBars:
    """Bars on stderr's terminal, also while pytest captures output: on a descriptor of their own."""

    def __init__(self) -> None:
        self._console: Console | None = None
        if sys.__stderr__ is not None and sys.__stderr__.isatty():
            file = os.fdopen(os.dup(sys.__stderr__.fileno()), "w", encoding="utf-8")
            self._console = Console(file=file)

    @contextmanager
    def task(self, description: str) -> Iterator[Update]:
        """One piece of work; yields a function of (done, total, remark) to be called as it goes on."""
        if self._console is None:
            yield lambda done, total, remark: None
            return
        self._console.file.write("\n")  # pytest's own line goes on where the bar would begin
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[remark]}", markup=False),
        )
        with Progress(
            *columns, console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False
        ) as bars:
            task = bars.add_task(printable(description), total=None, remark="")
            yield lambda done, total, remark: bars.update(
                task, completed=done, total=total, remark=f"{done}/{total}  {printable(remark)}"
            )

    def say(self, line: str) -> bool:
        """Print a line above the bars; False where there is no terminal to print it on."""
        if self._console is None:
            return False
        for each in printable_lines(line, indent=INDENT).split("\n"):
            for part in folded(self._console, Text(each)):
                self._console.print(part, highlight=False)
        return True

    def close(self) -> None:
        """Let go of the terminal."""
        if self._console is not None:
            self._console.file.close()
            self._console = None
