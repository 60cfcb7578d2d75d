"""The decision in a sentence that somebody understands who was not there."""

from __future__ import annotations

from collections.abc import Sequence

from ..evidence.decision_entry import ChangeEntry, HeadroomEntry
from ..evidence.schema import CellEntry
from .figures import better_of
from .numbers import show, show_apart, with_unit

_MOST_FACTS = 3
_MOST_OUT = 5
EMULATED = "not measured on a board"
SERVICE_EMULATED = "its service was emulated: how fast, how dear and how reliable the cloud's is was not measured"
ONLY_EMULATED = "only emulated services were called, and nothing of this speaks of a real one"
NO_PARITY = "Whether its answers are right was not tested."


def deploy(taken: CellEntry, headroom: Sequence[HeadroomEntry], prefer: Sequence[str], ties: Sequence[str]) -> str:
    """Say what to deploy, how close it is to its limits, and what is as good."""
    facts = _facts(taken, headroom, prefer)
    sentence = f"Deploy {taken.backend}: {', '.join(facts)}."
    if ties:
        are = "is tied with it" if len(ties) == 1 else "are tied with it"
        sentence += f" {listed(ties)} {are}: nothing tells them apart, so the first by name is taken."
    return sentence


def deploy_none(order: Sequence[str], changes: Sequence[ChangeEntry], cells: Sequence[CellEntry]) -> str:
    """Say that nothing may be deployed, why, and what comes nearest."""
    if not cells:
        return "Deploy none: there is no cell."
    if order:
        why = f"no backend had a limit to keep, so none is recommended; by what was measured {order[0]} comes first"
    elif all(cell.service_emulated for cell in cells):
        why = ONLY_EMULATED
    else:
        why = "every backend is out" if len(cells) > 1 else "the only backend is out"
    nearest = f" Nearest: {changes[0].text}." if changes else ""
    return f"Deploy none: {why}.{nearest}"


def compared(order: Sequence[str], cells: int) -> str:
    """Say that what is taken was compared with nothing; "" where it was. Why not the others stands in ``out``."""
    if cells == 1:
        return "It was the only backend: there was nothing to compare it with."
    return "Nothing else was left to compare it with." if len(order) == 1 else ""


def fact(cell: CellEntry, metric: str, limit: bool = True) -> str:
    """Word one figure of a cell, such as "p99 8.1 ms of 10"."""
    check = next(each for each in cell.checks if each.metric == metric)
    name = _short(metric, check.unit)
    if not limit or check.limit is None or check.bound is None:
        return f"{name} {with_unit(show(check.bound if check.bound is not None else check.value), check.unit)}"
    bound, of = show_apart(check.bound, check.limit)
    is_higher = better_of(check) == "higher"
    # A bound is no estimate: the table beside the sentence has that.
    sign = "" if check.confidence is None else "≥ " if is_higher else "≤ "
    figure = f"{name} {sign}{with_unit(bound, check.unit)}"
    return f"{figure} (at least {of})" if is_higher else f"{figure} of {of}"


def _facts(cell: CellEntry, headroom: Sequence[HeadroomEntry], prefer: Sequence[str]) -> list[str]:
    """Choose what is worth saying: limits on preferred metrics, other limits, parity last."""
    limited = [entry.metric for entry in headroom]
    preferred = [metric for metric in prefer if metric in limited]
    rest = [metric for metric in limited if metric not in preferred and metric not in ("parity", "accuracy")]
    rest += [metric for metric in limited if metric not in preferred and metric == "accuracy"]
    chosen = [*preferred, *rest][:_MOST_FACTS] or [metric for metric in limited if metric == "parity"]
    return [fact(cell, metric) for metric in chosen] or ["it kept its limits"]


def _short(metric: str, unit: str) -> str:
    """Name a metric without its unit, as people say it."""
    suffix = f"_{unit.lower()}"
    name = metric.removesuffix(suffix) if unit else metric
    return name.removeprefix("latency_").replace("_", " ")


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does; of many only the first are named."""
    if len(names) > _MOST_OUT:
        names = [*names[: _MOST_OUT - 1], f"{len(names) - _MOST_OUT + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
