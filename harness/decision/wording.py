"""What would change a decision, in a sentence. Every figure in it is meant as it is printed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

from ..checks.check import Verdict
from ..evidence.schema import CheckEntry
from .figures import as_number, better_of
from .location import module_of
from .numbers import show, with_unit


def mended(backend: str, then: str | None, checks: Sequence[CheckEntry]) -> str:
    """Say that checks would have to pass."""
    held = " and ".join(_held(check) for check in checks)
    return _would(backend, then, held)


def number(backend: str, then: str | None, check: CheckEntry, start: float, to: str) -> str:
    """Say where a figure would have to move.

    Args:
        backend: whose figure it is.
        then: what would be taken.
        check: of the metric.
        start: where the figure is now; infinite where there is no bound.
        to: where it would have to be, as it is to be printed.
    """
    figure = with_unit(f"{Decimal(to):,f}", check.unit)
    if not math.isfinite(start):
        most = "at most" if better_of(check) == "lower" else "at least"
        estimate = "" if check.value is None else f" (estimate {show(check.value)}, without a bound)"
        return _would(backend, then, f"its {check.metric} were shown to be {most} {figure}{estimate}")
    places = -int(Decimal(to).as_tuple().exponent)
    moves = "fell" if float(to) < start else "rose"
    return _would(backend, then, f"its {check.metric} {moves} from {start:,.{max(places, 0)}f} to {figure}")


def preference(metric: str, then: str) -> str:
    """Say which metric would have to come first."""
    return f"with {metric} first: {then}"


def _would(backend: str, then: str | None, what: str) -> str:
    """Say what would be taken; whose figure changes is "its", and named where that is another one."""
    if then == backend:
        return f"{backend} would be taken if {what}"
    of = what.replace("its ", f"{backend}'s ", 1) if what.startswith("its ") else f"{what} on {backend}"
    return f"{then or 'none'} would be taken if {of}"


def _held(check: CheckEntry) -> str:
    if check.metric == "parity":
        module = module_of(check)
        held = "parity held" if check.verdict is Verdict.FAIL else "parity were settled, and held"
        return f"{held} at module {module}" if module else held
    bound, limit = as_number(check.bound), as_number(check.limit)
    if check.verdict is Verdict.FAIL and limit is not None:
        return f"{check.metric} kept its limit of {with_unit(show(check.limit, 6), check.unit)}"
    if bound is not None and limit is not None:
        return f"{check.metric} were measured without doubt, and kept its limit of {show(check.limit, 6)}"
    return f"{check.metric} were settled" + ("" if limit is None else f", and kept its limit of {show(check.limit, 6)}")
