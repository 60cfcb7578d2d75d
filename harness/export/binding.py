"""The mapping between a given file's inputs and outputs and the model's, where names or order differ.

It is applied on the host, where a deployment sends and receives: a device knows the file's own names and order only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Pair:
    """An input or output of a file, with its counterpart in the model.

    Attributes:
        file: its name in the file.
        model: its name in the model.
        place: for an input, its index among the model's inputs; for an output, its index among the file's.
    """

    file: str
    model: str
    place: int


@dataclass(frozen=True)
class Binding:
    """All pairs of a file: inputs in the file's order, outputs in the model's order.

    Attributes:
        width: how many inputs the model has; the file may read fewer.
    """

    inputs: tuple[Pair, ...]
    outputs: tuple[Pair, ...]
    width: int

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> Binding:
        """Read a binding from what ``described`` returned."""
        inputs, outputs = (tuple(Pair(**pair) for pair in described[name]) for name in ("inputs", "outputs"))
        return cls(inputs, outputs, described["width"])

    @property
    def described(self) -> dict[str, Any]:
        """The binding in JSON's types."""
        return asdict(self)

    @property
    def file_inputs(self) -> list[str]:
        """The names of the file's inputs, in its order."""
        return [pair.file for pair in self.inputs]

    def inputs_of(self, sets: Sequence[T]) -> list[T]:
        """Select the inputs that the file reads, in its order, from concatenated sets of the model's inputs."""
        starts = range(0, len(sets), self.width)
        return [sets[start + pair.place] for start in starts for pair in self.inputs]

    def outputs_of(self, outputs: Sequence[T]) -> list[T]:
        """Select the model's outputs, in its order, from all outputs of the file."""
        return [outputs[pair.place] for pair in self.outputs]

    def fits(self, count: int) -> bool:
        """Return whether a file with this number of outputs has all outputs of the model."""
        return all(pair.place < count for pair in self.outputs)

    def request(self, header: Mapping[str, Any], tensors: Sequence[T]) -> tuple[dict[str, Any], list[T]]:
        """Translate a request to a device into the file's names and order; see harness.agent.operations."""
        translated = dict(header)
        if "inputs" in header:
            translated["inputs"] = self.file_inputs
        if fills := header.get("fills"):
            single = isinstance(fills[0], Mapping)  # one set of inputs, which the device makes many times
            translated["fills"] = self.inputs_of(fills) if single else [self.inputs_of(each) for each in fills]
        return translated, self.inputs_of(tensors)

    def models_names(self, names: Sequence[str]) -> list[str]:
        """Translate the names of inputs that a device reports into the model's."""
        known = {pair.file: pair.model for pair in self.inputs}
        return [known.get(name, name) for name in names]
