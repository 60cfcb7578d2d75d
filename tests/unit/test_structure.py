"""Nested outputs: their order, their names, and the way back."""

from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from harness.agent.structure import flatten, rebuild, transform

Pair = namedtuple("Pair", ["left", "right"])

NESTED = {"boxes": [1, (2, 3)], "extra": {"z": 4, "a": Pair(5, {"k": 6})}}


@pytest.mark.parametrize(
    ("structure", "leaves"),
    [
        pytest.param(1, [("output", 1)], id="lone"),
        pytest.param((1, 2), [("output_0", 1), ("output_1", 2)], id="tuple"),
        pytest.param([1], [("output_0", 1)], id="list"),
        pytest.param(Pair(1, 2), [("output_0", 1), ("output_1", 2)], id="namedtuple"),
        pytest.param({"b": 1, "a": 2}, [("output_b", 1), ("output_a", 2)], id="dict-in-its-own-order"),
        pytest.param(OrderedDict(b=1, a=2), [("output_b", 1), ("output_a", 2)], id="ordered-dict"),
        pytest.param(MappingProxyType({"a": 1}), [("output_a", 1)], id="mapping"),
        pytest.param({0: 1}, [("output_0", 1)], id="number-as-key"),
        pytest.param(
            NESTED,
            [
                ("output_boxes_0", 1),
                ("output_boxes_1_0", 2),
                ("output_boxes_1_1", 3),
                ("output_extra_z", 4),
                ("output_extra_a_0", 5),
                ("output_extra_a_1_k", 6),
            ],
            id="nested",
        ),
        pytest.param((), [], id="empty"),
        pytest.param({"a": [], "b": 1}, [("output_b", 1)], id="empty-inside"),
        pytest.param("text", [("output", "text")], id="text-is-a-leaf"),
        pytest.param(None, [("output", None)], id="none-is-a-leaf"),
    ],
)
def test_every_leaf_has_its_name_and_place(structure: Any, leaves: list[tuple[str, Any]]) -> None:
    assert list(flatten(structure)) == leaves


@pytest.mark.parametrize(
    ("structure", "rebuilt"),
    [
        pytest.param(1, 10, id="lone"),
        pytest.param((1, 2), (10, 20), id="tuple"),
        pytest.param([1, [2]], [10, [20]], id="list"),
        pytest.param(Pair(1, 2), (10, 20), id="namedtuple-becomes-a-tuple"),
        pytest.param({"b": 1, "a": 2}, {"b": 10, "a": 20}, id="dict"),
        pytest.param(MappingProxyType({"a": 1}), {"a": 10}, id="mapping-becomes-a-dict"),
        pytest.param({"a": (), "b": 1}, {"a": (), "b": 10}, id="empty-inside"),
        pytest.param(NESTED, {"boxes": [10, (20, 30)], "extra": {"z": 40, "a": (50, {"k": 60})}}, id="nested"),
    ],
)
def test_transform_keeps_the_nesting(structure: Any, rebuilt: Any) -> None:
    found = transform(lambda leaf: leaf * 10, structure)
    assert (type(found), found) == (type(rebuilt), rebuilt)


def test_rebuild_takes_the_leaves_in_the_order_of_flatten() -> None:
    names = iter([name for name, _ in flatten(NESTED)])
    assert rebuild(NESTED, names) == {
        "boxes": ["output_boxes_0", ("output_boxes_1_0", "output_boxes_1_1")],
        "extra": {"z": "output_extra_z", "a": ("output_extra_a_0", {"k": "output_extra_a_1_k"})},
    }


def test_a_rebuilt_dict_keeps_its_order() -> None:
    structure: Mapping[str, int] = {"z": 1, "a": 2, "m": 3}
    assert list(transform(str, structure)) == ["z", "a", "m"]


def test_transform_visits_each_leaf_once_and_in_order() -> None:
    seen: list[int] = []
    transform(seen.append, NESTED)
    assert seen == [1, 2, 3, 4, 5, 6]
