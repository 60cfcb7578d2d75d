"""The nesting of a model's outputs: tensors in tuples, lists and dicts, with one order and naming for all backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def flatten(structure: Any, name: str = "output") -> Iterator[tuple[str, Any]]:
    """Yield every leaf with its name, depth first; dicts in their own order.

    A lone tensor is ``output``; members of a tuple or list are ``output_0``, …; those of a dict ``output_KEY``.
    """
    if isinstance(structure, Mapping):
        for key, value in structure.items():
            yield from flatten(value, f"{name}_{key}")
    elif isinstance(structure, (tuple, list)):
        for index, value in enumerate(structure):
            yield from flatten(value, f"{name}_{index}")
    else:
        yield name, structure


def rebuild(structure: Any, leaves: Iterator[Any]) -> Any:
    """Build the same nesting from other leaves, in the order of flatten; named tuples become tuples, mappings dicts."""
    if isinstance(structure, Mapping):
        return {key: rebuild(value, leaves) for key, value in structure.items()}
    if isinstance(structure, (tuple, list)):
        members = [rebuild(value, leaves) for value in structure]
        return members if isinstance(structure, list) else tuple(members)
    return next(leaves)


def transform(function: Callable[[Any], Any], structure: Any) -> Any:
    """Build the same nesting with a function applied to every leaf."""
    return rebuild(structure, iter([function(leaf) for _, leaf in flatten(structure)]))
