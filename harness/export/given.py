"""Artifacts of the team's own: a file that the model file names (``Model(files=…)``), taken as it is.

A vendor's, a quantized or an older one is judged against the module as an export is. Its bytes are not touched; what
is said here is which of its inputs and outputs are which of the module's. Names decide; what has no name of the
module's is taken in order where that fits in type and shape, else in the one other order that does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ModelError
from ..model.dimension import describe_dimension
from ..model.model import Model
from .binding import Binding, Pair
from .ports import MOST_UNNAMED, Matching, Port, misfit, output_misfit
from .shapes import Declared, Size

GIVEN = "given"


@dataclass(frozen=True)
class Interface:
    """What a file takes and gives.

    Attributes:
        positional: whether inputs go to it by their places; else by their names, and those that it does not read may
            be left out.
        outputs: are asked for with the places that the model's inputs have in the file: some formats say nothing of
            outputs until they are run. May raise ModelError.
        notes: what is to be said of the file.
        declares: whether a reader of the file may take its word on shapes.
    """

    inputs: Sequence[Port]
    positional: bool
    outputs: Callable[[Sequence[int]], Sequence[Port]]
    notes: Sequence[str] = field(default=())
    declares: bool = False


@dataclass(frozen=True)
class Taken:
    """What was found of a given file."""

    binding: Binding | None
    shapes: Declared
    notes: Sequence[str]


def bind(interface: Interface, model: Model, outputs: Sequence[Port], where: str) -> Taken:
    """Match a file's inputs and outputs with a model's.

    Args:
        outputs: the module's own, as they were seen in one run.

    Raises:
        ModelError: they do not fit, or fit in several ways.
    """
    wanted = [Port(item.name, item.dtype, item.shape) for item in model.inputs]
    matching = Matching("input", interface.inputs, wanted, where, may_lack=not interface.positional)
    places, said_inputs = matching.pairs(lambda port, index: misfit(port, model.inputs[index]))
    _check_ranges(interface.inputs, places, model, where)
    places, found, swapped = _run(interface, places, [item.name for item in model.inputs])
    chosen, said_outputs = Matching("output", found, outputs, where, may_exceed=True).pairs(
        lambda port, index: output_misfit(port, outputs[index], strict=True),
        lambda port, index: output_misfit(port, outputs[index], strict=False),
    )
    binding = _binding(interface, places, [port.name for port in wanted], found, chosen, outputs)
    shapes: dict[str, Sequence[Size] | None] = {}
    if interface.declares:
        shapes = {pair.model: interface.inputs[index].sizes for index, pair in enumerate(binding.inputs)}
        shapes |= {pair.model: found[pair.place].sizes for pair in binding.outputs}
    notes = [swapped or said_inputs, said_outputs, *interface.notes]
    return Taken(None if _is_plain(binding, found) else binding, shapes, notes)


def _binding(
    interface: Interface,
    places: Mapping[int, int],
    names: Sequence[str],
    found: Sequence[Port],
    chosen: Mapping[int, int],
    outputs: Sequence[Port],
) -> Binding:
    """Make it of the file's places with the model's, of inputs and of outputs."""
    order = [places[index] for index in range(len(interface.inputs))]
    # By position a device needs no names: the model's own are those that messages have.
    ports = zip(interface.inputs, order, strict=True)
    inputs = [Pair(names[place] if interface.positional else port.name, names[place], place) for port, place in ports]
    of_output = {index: place for place, index in chosen.items()}
    given = [Pair(found[of_output[index]].name, port.name, of_output[index]) for index, port in enumerate(outputs)]
    return Binding(tuple(inputs), tuple(given), len(names))


def _is_plain(binding: Binding, found: Sequence[Port]) -> bool:
    """Whether all is as in an export of the model."""
    pairs = (*binding.inputs, *binding.outputs)
    in_order = all([pair.place for pair in side] == [*range(len(side))] for side in (binding.inputs, binding.outputs))
    whole = (len(binding.inputs), len(binding.outputs)) == (binding.width, len(found))
    return in_order and whole and all(pair.file == pair.model for pair in pairs)


def _run(
    interface: Interface, places: dict[int, int], names: Sequence[str]
) -> tuple[dict[int, int], Sequence[Port], str]:
    """Ask for the outputs; where inputs that have no name of the model's are refused in order, in the one other order
    that is not.

    Returns:
        The places in that order, the outputs, and what is to be said where the order is another.
    """
    try:
        return places, interface.outputs([places[index] for index in range(len(places))]), ""
    except ModelError:
        free = [index for index, port in enumerate(interface.inputs) if port.name not in names]
        taken = []
        for order in itertools.permutations([places[index] for index in free]) if len(free) <= MOST_UNNAMED else ():
            other = places | dict(zip(free, order, strict=True))
            with suppress(ModelError):
                taken.append((other, interface.outputs([other[index] for index in range(len(other))])))
        if len(taken) != 1:
            raise
        ((other, found),) = taken
        told = ", ".join(f"{interface.inputs[index].name} is {names[other[index]]}" for index in free)
        return other, found, f"inputs matched by type and shape: the file's {told}"


def fixed_dimensions(declared: Mapping[str, Sequence[Size] | None], model: Model) -> list[str]:
    """Name the dimensions that a file has one size of, and the model file several: "batch at 2; dims says 1 … 6"."""
    found = {}
    for item in model.inputs:
        for size, name in zip(declared.get(item.name) or (), item.shape, strict=False):
            if not isinstance(name, str) or not isinstance(size, int):
                continue
            if list(model.dims[name]) != [size]:
                found[name] = f"{name} at {size}; dims says {describe_dimension(model.dims[name])}"
    return list(found.values())


def _check_ranges(ports: Sequence[Port], places: Mapping[int, int], model: Model, where: str) -> None:
    declared = {model.inputs[place].name: ports[index].sizes for index, place in places.items()}
    if fixed := fixed_dimensions(declared, model):
        raise ModelError(
            "the given file does not take all sizes that the model file declares",
            wanted="every dimension as free as in dims",
            found="the file fixes " + ", and ".join(fixed),
            where=where,
            hint="declare what the file takes, such as dims={NAME: (SIZE, SIZE)}, or give one with that dimension free",
        )


def given_path(model: Model, file: Path, artifact_format: str) -> Path | None:
    """The file that a model file names for a format, by its own folder; None where it names none.

    Raises:
        ModelError: there is no such file.
    """
    name = model.files.get(artifact_format)
    if name is None:
        return None
    path = file.resolve().parent / name
    if not path.is_file():
        raise ModelError(
            f"the file that is given as {artifact_format} is not there",
            wanted="a file",
            found="a folder" if path.is_dir() else "nothing",
            where=str(path),
            hint=f"paths in Model(files=…) are relative to the model file, {file.name}",
        )
    return path
