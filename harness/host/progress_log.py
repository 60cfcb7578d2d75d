"""Progress lines: what hilgate is doing, logged by each module under its own name, shown by whoever runs it.

The plugin, a command and a benchmark each show the lines in their own way (``showing_progress``). Beside that they are
ordinary records of ``logging``, at level INFO or WARNING: pytest's ``caplog`` and ``--log-cli-level`` see them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from ..printable import printable_lines

# Above all of ours.
ROOT = __name__.partition(".")[0]


class ProgressLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger of lines that no terminal obeys, whichever handler prints them: a device's words may be in them."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        """Escape what a terminal would obey; called by ``logging`` for each line."""
        return printable_lines(str(msg)), kwargs


def progress_logger(name: str) -> ProgressLogger:
    """Return the logger of a module's progress lines.

    Args:
        name: the module's ``__name__``.
    """
    return ProgressLogger(logging.getLogger(name), {})


class ProgressHandler(logging.Handler):
    """Shows each line by a function, in the thread that made the handler.

    Lines of other threads wait until that thread logs a line, or calls ``show_waiting``: pytest's capturing, which must
    be interrupted to show one, belongs to it alone.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show
        self._thread = threading.get_ident()
        self._waiting: deque[str] = deque()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line, or have it wait."""
        self._waiting.append(record.getMessage())
        if threading.get_ident() == self._thread:
            self.show_waiting()

    def show_waiting(self) -> None:
        """Show the lines that wait, oldest first."""
        while self._waiting:
            self._show(self._waiting.popleft())


@contextmanager
def showing_progress(
    show: Callable[[str], None], is_left_out: Callable[[logging.LogRecord], bool] = lambda record: False
) -> Iterator[None]:
    """Have progress lines shown by a function, until the end of the block.

    Args:
        show: shows a line.
        is_left_out: tells whether a record is none of those that are shown.
    """
    logger, handler = logging.getLogger(ROOT), ProgressHandler(show)
    handler.addFilter(lambda record: not is_left_out(record))
    level = logger.level
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.show_waiting()


def show_waiting() -> None:
    """Show what other threads have logged; called by the main thread while it waits for one."""
    for handler in logging.getLogger(ROOT).handlers:
        if isinstance(handler, ProgressHandler):
            handler.show_waiting()
