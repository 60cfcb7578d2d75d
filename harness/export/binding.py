"""Which inputs and outputs of a file are which of the model's, where the file's have other names or another order.

It is applied on the host, where a deployment sends and receives: a device knows the file's own names and order only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Pair:
    """One input or output of a file, and the model's that it is.

    Attributes:
        file: its name in the file.
        model: its name in the model.
        place: of an input, the model's place of it; of an output, the file's.
    """

    file: str
    model: str
    place: int


@dataclass(frozen=True)
class Binding:
    """Inputs in the file's order, outputs in the model's.

    Attributes:
        width: how many inputs the model has; the file may read fewer.
    """

    inputs: tuple[Pair, ...]
    outputs: tuple[Pair, ...]
    width: int

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Binding:
        """Make it from its ``described``."""
        inputs, outputs = (tuple(Pair(**pair) for pair in said[name]) for name in ("inputs", "outputs"))
        return cls(inputs, outputs, said["width"])

    @property
    def described(self) -> dict[str, Any]:
        """It, in JSON's own types."""
        return asdict(self)

    def inputs_of(self, sets: Sequence[T]) -> list[T]:
        """Pick what the file reads, in its order, from sets of the model's inputs that lie one after the other."""
        starts = range(0, len(sets), self.width)
        return [sets[start + pair.place] for start in starts for pair in self.inputs]

    def outputs_of(self, found: Sequence[T]) -> list[T]:
        """Pick the model's outputs, in its order, from all of the file's."""
        return [found[pair.place] for pair in self.outputs]

    def fits(self, count: int) -> bool:
        """Whether so many outputs of a file have all that are the model's."""
        return all(pair.place < count for pair in self.outputs)

    def request(self, header: Mapping[str, Any], tensors: Sequence[T]) -> tuple[dict[str, Any], list[T]]:
        """Translate a request to a device; see harness.agent.operations."""
        made = dict(header)
        if "inputs" in header:
            made["inputs"] = [pair.file for pair in self.inputs]
        if fills := header.get("fills"):
            single = isinstance(fills[0], Mapping)  # of one set, which is made many times
            made["fills"] = self.inputs_of(fills) if single else [self.inputs_of(each) for each in fills]
        return made, self.inputs_of(tensors)

    def models_names(self, names: Sequence[str]) -> list[str]:
        """Translate the names of inputs that a device tells."""
        known = {pair.file: pair.model for pair in self.inputs}
        return [known.get(name, name) for name in names]
