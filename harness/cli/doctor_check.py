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
    """What was looked at, how it is, and what to do where it is not right."""

    name: str
    mark: str
    found: str
    hint: str = ""


def failed(name: str, error: HilgateError) -> Check:
    """A check that ended in an error of ours, which says what to do."""
    details = [f"{label}: {text}" for label, text in (("wanted", error.wanted), ("found", error.found)) if text]
    return Check(name, FAILED, "\n".join([error.what, *details]), error.hint)


def skipped(names: Sequence[str], because: str) -> Iterator[Check]:
    """Checks that cannot be made without another one."""
    for name in names:
        yield Check(name, SKIPPED, f"skipped: {because} failed")


def shown(check: Check) -> list[str]:
    """Its lines: one, and those of what to do."""
    first, *rest = printable_lines(check.found.strip()).split("\n")
    indent = " " * (NAME_WIDTH + 5)
    hints = printable_lines(f"next: {check.hint.strip()}").split("\n") if check.hint else []
    return [f"  {check.mark} {check.name:<{NAME_WIDTH}} {first}".rstrip(), *(indent + line for line in (*rest, *hints))]
