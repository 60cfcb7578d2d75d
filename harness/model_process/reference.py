"""The reference of a model that is in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, cast

from ..build import BuiltModel
from ..inputs import Arrays
from ..measure.accuracy import searched_samples
from ..parity.comparison import Expected
from ..parity.inputs import InputSpace
from ..parity.reference import Reference
from .hosted import HostedModel

# What the reference is kept under.
REFERENCE = "reference"


def make_reference(built: BuiltModel) -> Reference:
    """Make a model's reference: where the module is, so that one question brings all that an input needs."""
    if isinstance(built, HostedModel):
        return cast("Reference", _HostedReference(built))
    return Reference(built, lambda: searched_samples(built))


class _HostedReference:
    """Has the methods and attributes of a Reference, which runs where the module is.

    What they take and give is plain data; see harness.model_process.wire.
    """

    def __init__(self, built: HostedModel) -> None:
        self.built = built

    @cached_property
    def space(self) -> InputSpace:
        """The inputs that there are: they are made here, too.

        Raises:
            ModelError: the model file's samples cannot be used.
        """
        return InputSpace(self.built.model, self.built.ask(searched_samples))

    def __call__(self, arrays: Arrays, key: str = "") -> list[Expected]:
        """What each output should be. Raises: as Reference's."""
        expected: list[Expected] = self.built.ask(call_reference, "__call__", arrays, key)
        return expected

    def __getattr__(self, name: str) -> Any:
        """A method, to be called there; or the value of an attribute there."""
        if callable(getattr(Reference, name, None)):
            method: Callable[..., Any] = partial(self.built.ask, call_reference, name)
            return method
        return self.built.ask(read_reference, name)


def call_reference(built: BuiltModel, name: str, /, *args: Any, **kwargs: Any) -> Any:
    """Call a method of the reference: a question."""
    return getattr(_reference(built), name)(*args, **kwargs)


def read_reference(built: BuiltModel, name: str) -> Any:
    """Read an attribute of the reference: a question."""
    return getattr(_reference(built), name)


def _reference(built: BuiltModel) -> Reference:
    if REFERENCE not in built.kept:
        built.kept[REFERENCE] = Reference(built, lambda: searched_samples(built))
    found: Reference = built.kept[REFERENCE]
    return found
