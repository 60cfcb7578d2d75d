"""What pytest prints of a test in a HIL run, and writes to junit.xml, made printable as all else is.

hilgate's own errors are printable when they are made. Others are not: a library's exception may quote a device, and the
model's process may print anything (issue 17, point 4).
"""

from __future__ import annotations

import pytest
from _pytest._code.code import ExceptionChainRepr, ExceptionRepr, ReprEntry, ReprEntryNative, ReprTraceback

from ..printable import TEXT, printable, printable_lines

INDENT = "  "
# The most characters of captured output that are shown: pytest itself sets no limit.
PRINTED = 20 * TEXT


def make_printable(report: pytest.TestReport) -> None:
    """Replace a report's texts by what may be shown on a terminal."""
    report.sections = [(name, _indented(content)) for name, content in report.sections]
    said = report.longrepr
    if isinstance(said, str):
        report.longrepr = printable_lines(said, PRINTED)
    elif isinstance(said, tuple):  # of a test that was skipped: a file, a line, the reason
        path, line, reason = said
        report.longrepr = (path, line, printable(reason))
    elif isinstance(said, ExceptionRepr):
        _make_printable(said)


class InternalErrors:
    """A plugin that makes printable what ends pytest itself: a defect of ours, which may quote a device."""

    @staticmethod
    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(excrepr: object) -> None:
        """Make an internal error printable before pytest prints it."""
        if isinstance(excrepr, ExceptionRepr):
            _make_printable(excrepr)


def _make_printable(said: ExceptionRepr) -> None:
    chain = said.chain if isinstance(said, ExceptionChainRepr) else [(said.reprtraceback, said.reprcrash, None)]
    for traceback, crash, _ in chain:
        _change(traceback)
        if crash is not None:
            crash.message = printable_lines(crash.message, indent=INDENT)


def _indented(content: str) -> str:
    """Indent each line of captured output: a model may print what looks like a verdict of ours."""
    return printable_lines(content if content.startswith(INDENT) else INDENT + content, PRINTED, indent=INDENT)


def _change(traceback: ReprTraceback) -> None:
    for entry in traceback.reprentries:
        # Joined: what one exception says is cut as a whole.
        if isinstance(entry, ReprEntryNative):  # its lines end with newlines of their own
            entry.lines = [printable_lines("".join(entry.lines), PRINTED, indent=INDENT)]
        elif isinstance(entry, ReprEntry):
            indent = INDENT if entry.style == "value" else ""  # in the others each line has pytest's own mark
            entry.lines = printable_lines("\n".join(entry.lines), PRINTED, indent=indent).split("\n")
            if entry.reprlocals is not None:
                entry.reprlocals.lines = [printable(line) for line in entry.reprlocals.lines]
