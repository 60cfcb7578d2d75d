"""A check of `hilgate doctor`, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import HilgateError
from ..printable import printable_lines

OK, FAILED, WARNING, SKIPPED = "✓", "✗", "!", "–"
NAME_WIDTH = 24


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, how it is, and what to do where it is not right.

    Attributes:
        name: what was looked at.
        mark: OK, FAILED, WARNING or SKIPPED.
        found: how it is; may have several lines.
        hint: what to do next.
    """

    name: str
    mark: str
    found: str
    hint: str = ""


def failed(name: str, error: HilgateError) -> Check:
    """Make the check that ended in one of hilgate's own errors, which says what to do."""
    details = [f"{label}: {text}" for label, text in (("wanted", error.wanted), ("found", error.found)) if text]
    return Check(name, FAILED, "\n".join([error.what, *details]), error.hint)


def skipped(names: Sequence[str], because: str) -> Iterator[Check]:
    """Make checks that were skipped because the one that they depend on failed."""
    for name in names:
        yield Check(name, SKIPPED, f"skipped: {because} failed")


def shown(check: Check) -> list[str]:
    """Format a check as lines: one with its mark, then what else was found and what to do."""
    first, *rest = printable_lines(check.found.strip()).split("\n")
    indent = " " * (NAME_WIDTH + 5)
    hints = printable_lines(f"next: {check.hint.strip()}").split("\n") if check.hint else []
    return [f"  {check.mark} {check.name:<{NAME_WIDTH}} {first}".rstrip(), *(indent + line for line in (*rest, *hints))]
