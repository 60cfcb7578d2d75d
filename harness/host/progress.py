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

# Every line but the first is indented, so that none looks like one of hilgate's own, such as "verdict:".
INDENT = "  "


def folded(console: Console, line: Text) -> list[Text]:
    """Break a line at the console's width; indent its continuation."""
    first, *others = line.wrap(console, max(console.width - len(INDENT), 1)) or [line]
    return [first, *(Text(INDENT).append_text(other) for other in others)]


class ProgressBars:
    """Progress bars on a terminal; nothing is shown where there is none.

    Args:
        console: the terminal.
    """

    def __init__(self, console: Console | None) -> None:
        self._console = console

    @classmethod
    def open(cls) -> ProgressBars:
        """Open stderr's terminal, by a descriptor of its own: so bars are shown also while pytest captures output."""
        if sys.__stderr__ is None or not sys.__stderr__.isatty():
            return cls(None)
        return cls(Console(file=os.fdopen(os.dup(sys.__stderr__.fileno()), "w", encoding="utf-8")))

    @contextmanager
    def task(self, description: str) -> Iterator[Update]:
        """Show a bar for one piece of work; yield a function of (done, total, remark) that updates it."""
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
        """Close the terminal's descriptor."""
        if self._console is not None:
            self._console.file.close()
            self._console = None
