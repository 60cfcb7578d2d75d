"""Inputs that are tried first: counterexamples of earlier runs, and the worst inputs of this run's other cells."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

from ...model.dimension import declared_dims
from ...model.model import Model
from .recipe import Recipe
from .space import InputSpace

# How many counterexamples of a model outlast a run: the newest.
REMEMBERED = 16


class Memory(Protocol):
    """What outlasts a run: pytest's cache is one."""

    def get(self, key: str, default: Any) -> Any:
        """Return what was stored under a key."""

    def set(self, key: str, value: Any) -> None:
        """Store a value under a key."""


class Counterexamples:
    """The counterexamples of one model.

    Args:
        model: what they are of; None: nothing outlasts this run.
        name: the model's, which is part of the key in the memory.
        memory: what outlasts a run; None: nothing does.
        prepare: names the model file's prepare; see prepare_sha256.
    """

    def __init__(
        self, model: Model | None = None, name: str = "", memory: Memory | None = None, prepare: str = ""
    ) -> None:
        self._memory = memory if model is not None else None
        self._place = f"hilgate/counterexamples/{name}-{_declared(model, prepare)}" if model is not None else ""
        self._known: dict[str, Recipe] = {}
        self._met: dict[str, Recipe] = {}
        for key in self._remembered():
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):  # another version's
                self._known[key] = Recipe.read(key)
        self._earlier = set(self._known)

    def known(self, space: InputSpace) -> list[Recipe]:
        """List the counterexamples that are in a space, the newest first."""
        return [recipe for recipe in reversed(self._known.values()) if space.holds(recipe)]

    def remembered(self, space: InputSpace) -> list[Recipe]:
        """List those of ``known`` that are of earlier runs."""
        return [recipe for recipe in self.known(space) if recipe.key in self._earlier]

    def met(self, space: InputSpace) -> list[Recipe]:
        """List the inputs on which other cells of this run were furthest off, and within their tolerance."""
        return [recipe for recipe in self._met.values() if space.holds(recipe)]

    def add(self, recipe: Recipe, *, failed: bool) -> None:
        """Add an input on which a cell failed; or, of all that it tried, was furthest off."""
        if not failed:
            self._met[recipe.key] = recipe
            return
        self._known.pop(recipe.key, None)
        self._known[recipe.key] = recipe
        if self._memory is not None:
            with warnings.catch_warnings():  # a folder that cannot be written to is no reason to fail
                warnings.simplefilter("ignore")
                self._memory.set(self._place, [*self._known][-REMEMBERED:])

    def _remembered(self) -> Sequence[str]:
        result = self._memory.get(self._place, []) if self._memory is not None else []
        return [key for key in result if isinstance(key, str)] if isinstance(result, list) else []


def _declared(model: Model, prepare: str) -> str:
    """Hash what a recipe depends on: the declared inputs, and ``prepare``; other weights do not matter."""
    said = json.dumps([[asdict(item) for item in model.inputs], declared_dims(model.dims), *filter(None, [prepare])])
    return hashlib.sha256(said.encode()).hexdigest()[:12]
