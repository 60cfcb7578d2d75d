"""Which tests are a HIL run's, and in which order they run."""

from __future__ import annotations

from itertools import combinations

import pytest
from _pytest.mark.expression import Expression

from ..cell import Cell

MARKER = "hil(order=0): runs on a device (pytest -m hil --device NAME); in each cell lower orders run first"


def asks_for_hil(expression: str) -> bool:
    """Tell whether a ``-m`` expression selects tests for being marked hil.

    "hil" and "hil and x" do, "not hil" does not.
    """
    try:
        compiled = Expression.compile(expression)
    except SyntaxError:
        return False  # pytest will say so itself
    others: set[str] = set()

    def evaluate(true: set[str]) -> bool:
        def is_true(name: str, /, **_: object) -> bool:
            others.add(name)
            return name in true

        return compiled.evaluate(is_true)

    for _ in range(2):  # the first time finds the names
        choices = [set(chosen) for size in range(len(others) + 1) for chosen in combinations(sorted(others), size)]
        if any(evaluate(chosen | {"hil"}) and not evaluate(chosen - {"hil"}) for chosen in choices):
            return True
    return False


def cell_of(item: pytest.Item) -> Cell | None:
    """Return the cell that a test is run for; None where it asks for none."""
    callspec = getattr(item, "callspec", None)
    cell = callspec.params.get("cell") if callspec else None
    return cell if isinstance(cell, Cell) else None


def sort_tests(items: list[pytest.Item]) -> None:
    """Sort tests by cell, in the order in which the cells were collected, and in each by their ``hil`` mark's order.

    Raises:
        pytest.UsageError: an order is not a number.
    """
    cells = [cell.id if (cell := cell_of(item)) else "" for item in items]
    if not any(cells):
        return
    rank = {name: index for index, name in enumerate(dict.fromkeys(cells))}
    places = {id(item): (rank[name], _order(item)) for item, name in zip(items, cells, strict=True)}
    items.sort(key=lambda item: places[id(item)])


def _order(item: pytest.Item) -> float:
    mark = item.get_closest_marker("hil")
    order = mark.kwargs.get("order", 0) if mark is not None else 0
    if not isinstance(order, (int, float)):
        raise pytest.UsageError(f"{item.nodeid}: pytest.mark.hil wants a number as order; found {order!r}")
    return order
