"""Which runs are HIL runs, and in which order their tests run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.cell import Cell
from harness.run.selection import asks_for_hil, sort_tests


@pytest.mark.parametrize(
    ("expression", "asks"),
    [
        pytest.param("hil", True, id="hil"),
        pytest.param("hil and not slow", True, id="with another"),
        pytest.param("slow or hil", True, id="or another"),
        pytest.param("not hil", False, id="not hil"),
        pytest.param("not hil and not slow", False, id="the default of this project"),
        pytest.param("not (hil or slow)", False, id="not either"),
        pytest.param("slow", False, id="another"),
        pytest.param("", False, id="none"),
        pytest.param("hil and (", False, id="no expression"),
    ],
)
def test_an_expression_asks_for_hil_when_the_marker_selects(expression: str, asks: bool) -> None:
    assert asks_for_hil(expression) is asks


def item(name: str, backend: str, **mark: object) -> Any:
    """A test of a cell, with its ``hil`` mark."""
    cell = Cell(*(cast(Any, SimpleNamespace(name=each)) for each in ("net", "pi", backend)))
    found = pytest.mark.hil(**mark).mark
    return SimpleNamespace(
        nodeid=name,
        callspec=SimpleNamespace(params={"cell": cell}),
        get_closest_marker={"hil": found}.get,
    )


def test_in_each_cell_tests_run_by_the_order_that_their_mark_says() -> None:
    names = {"counts": {"order": 1}, "fast": {}, "answers": {"order": -1}, "fits": {}}
    items = [item(f"{name} {backend}", backend, **mark) for name, mark in names.items() for backend in "ab"]
    sort_tests(items)
    by_order = ["answers", "fast", "fits", "counts"]
    assert [each.nodeid for each in items] == [f"{name} {backend}" for backend in "ab" for name in by_order]


def test_an_order_that_is_no_number_is_named_with_its_test() -> None:
    with pytest.raises(pytest.UsageError, match=r"test_x.*found 'first'"):
        sort_tests([item("test_x", "a", order="first")])
