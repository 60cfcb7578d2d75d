"""What the served model takes and gives, as the protocol tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..agent.frames import Array
from ..agent.remote.tensors import NAMES as DATATYPES
from ..model.model import Input, Model
from .refused import Refused, quoted
from .tensors import datatype

VERSION = "1"  # of the one model that is served
ANY = -1  # a size that differs from inference to inference


@dataclass(frozen=True)
class OutputFacts:
    """An output: its name, the protocol's datatype, and its shape with ANY for a size that varies."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What the served model takes and gives.

    Attributes:
        name: the model's.
        platform: what runs it, for people.
        inputs: as the model file declares them.
        dims: the sizes that each dimension may have.
        outputs: as the first inferences had them.
    """

    name: str
    platform: str
    inputs: tuple[Input, ...]
    dims: Mapping[str, Sequence[int]]
    outputs: tuple[OutputFacts, ...]

    def metadata(self) -> dict[str, Any]:
        """Return the protocol's metadata of the model."""
        inputs = [(each.name, DATATYPES[each.dtype], self._declared(each)) for each in self.inputs]
        outputs = [(each.name, each.datatype, list(each.shape)) for each in self.outputs]
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": self.platform,
            "inputs": [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in inputs],
            "outputs": [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in outputs],
        }

    def _declared(self, item: Input) -> list[int]:
        return [ANY if isinstance(size, str) else size for size in item.shape]

    def input(self, name: Any) -> Input:
        """Find an input by its name.

        Raises:
            Refused: there is none.
        """
        for item in self.inputs:
            if item.name == name:
                return item
        known = ", ".join(item.name for item in self.inputs)
        raise Refused(400, f"the model has no input {quoted(name)}; it takes {known}")

    def checked_shape(self, item: Input, shape: Any, sizes: dict[str, int]) -> tuple[int, ...]:
        """Check an input's shape against the declared one.

        Args:
            item: the input.
            shape: as a caller gives it.
            sizes: the sizes of dimensions that other inputs of the request have; completed here.

        Raises:
            Refused: it is no shape, or not one that the model takes.
        """
        wanted = f"input {item.name} has the shape [{', '.join(map(self._described, item.shape))}]"
        if not isinstance(shape, list) or len(shape) != len(item.shape):
            raise Refused(400, f"{wanted}; found {quoted(shape) if not isinstance(shape, list) else _short(shape)}")
        for size, declared in zip(shape, item.shape, strict=True):
            if type(size) is not int:
                raise Refused(400, f"{wanted}; found a size {quoted(size)}")
            fits = size == declared if isinstance(declared, int) else size in self.dims[declared]
            if not fits:
                raise Refused(400, f"{wanted}; found {_short(shape)}")
            if isinstance(declared, str) and sizes.setdefault(declared, size) != size:
                raise Refused(400, f"two sizes of {declared}: {sizes[declared]} and {size}")
        return tuple(shape)

    def _described(self, size: int | str) -> str:
        if isinstance(size, int):
            return str(size)
        allowed = self.dims[size]
        return f"{size}: {allowed[0]}…{allowed[-1]}" if len(allowed) > 1 else f"{size}: {allowed[0]}"


def _short(shape: list[Any]) -> str:
    return "[" + ", ".join(map(quoted, shape[:8])) + (", …]" if len(shape) > 8 else "]")


def describe_outputs(names: Sequence[str], first: Sequence[Array], other: Sequence[Array] | None) -> list[OutputFacts]:
    """Describe the outputs by two inferences of different sizes.

    Args:
        names: the outputs' names.
        first: what one inference returned.
        other: what one of other sizes returned; None where there are none, or none was done.
    """
    facts = []
    for index, (name, array) in enumerate(zip(names, first, strict=True)):
        shape: tuple[int, ...] = array.shape
        if other is not None and index < len(other) and len(other[index].shape) == len(shape):
            pairs = zip(shape, other[index].shape, strict=True)
            shape = tuple(size if size == again else ANY for size, again in pairs)
        facts.append(OutputFacts(name, datatype(array), shape))
    return facts


def unknown_outputs(names: Sequence[str], first: Sequence[Array]) -> list[OutputFacts]:
    """Describe outputs of which nobody knows how their sizes depend on the inputs'."""
    return [OutputFacts(name, datatype(array), (ANY,) * array.ndim) for name, array in zip(names, first, strict=True)]


def other_sizes(model: Model) -> dict[str, int] | None:
    """Choose sizes that differ from those that are measured wherever they can, and are small; None where none can."""
    measured = model.measured_sizes
    sizes = {
        name: next((size for size in allowed[:2] if size != measured[name]), measured[name])
        for name, allowed in model.dims.items()
    }
    return sizes if sizes != dict(measured) else None
