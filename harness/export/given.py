"""Given files: an artifact that the model file names (``Model(files=…)``) and that is used unchanged.

A file from a vendor, a quantized or an older one is compared with the module just as an export is. Here its inputs and
outputs are matched with the module's: first by name; then, for those whose name is none of the module's, by order where
type and shape fit, and otherwise in the one other order that fits.
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


@dataclass(frozen=True, kw_only=True)
class Interface:
    """The inputs and outputs of a file.

    Attributes:
        inputs: its inputs, in order.
        positional: whether inputs are passed by position; otherwise by name, and the file may read fewer than the
            model has.
        outputs: returns the outputs, given for each of the file's inputs the index of the model's input; a function,
            because some formats do not know their outputs until they are run. May raise ModelError.
        notes: remarks about the file for the evidence.
        declares: whether runtimes rely on the shapes that the file declares.
    """

    inputs: Sequence[Port]
    positional: bool
    outputs: Callable[[Sequence[int]], Sequence[Port]]
    notes: Sequence[str] = field(default=())
    declares: bool = False


@dataclass(frozen=True)
class Taken:
    """How a given file was matched with the model.

    Attributes:
        binding: None where names and order are the model's own.
        shapes: the shapes that the file declares, by the model's names.
        notes: remarks for the evidence.
    """

    binding: Binding | None
    shapes: Declared
    notes: Sequence[str]


def bind(interface: Interface, model: Model, outputs: Sequence[Port], where: str) -> Taken:
    """Match a file's inputs and outputs with a model's.

    Args:
        interface: the file's inputs and outputs.
        model: the model.
        outputs: the module's outputs, as seen in one run.
        where: the file, for errors.

    Raises:
        ModelError: they do not fit, or fit in several ways.
    """
    expected = [Port(item.name, item.dtype, item.shape) for item in model.inputs]
    matching = Matching(
        what="input", ports=interface.inputs, expected=expected, where=where, may_lack=not interface.positional
    )
    places, inputs_note = matching.pairs(lambda port, index: misfit(port, model.inputs[index]))
    _check_ranges(interface.inputs, places, model, where)
    places, file_outputs, swapped = _run(interface, places, [item.name for item in model.inputs])
    chosen, outputs_note = Matching(
        what="output", ports=file_outputs, expected=outputs, where=where, may_exceed=True
    ).pairs(
        lambda port, index: output_misfit(port, outputs[index], strict=True),
        lambda port, index: output_misfit(port, outputs[index], strict=False),
    )
    binding = _binding(interface, places, [port.name for port in expected], file_outputs, chosen, outputs)
    shapes: dict[str, Sequence[Size] | None] = {}
    if interface.declares:
        shapes = {pair.model: interface.inputs[index].sizes for index, pair in enumerate(binding.inputs)}
        shapes |= {pair.model: file_outputs[pair.place].sizes for pair in binding.outputs}
    notes = [swapped or inputs_note, outputs_note, *interface.notes]
    return Taken(None if _is_plain(binding, file_outputs) else binding, shapes, notes)


def _binding(
    interface: Interface,
    places: Mapping[int, int],
    names: Sequence[str],
    file_outputs: Sequence[Port],
    chosen: Mapping[int, int],
    outputs: Sequence[Port],
) -> Binding:
    """Make the binding from the pairs of indices: file to model, of inputs and of outputs."""
    order = [places[index] for index in range(len(interface.inputs))]
    # A device that takes inputs by position needs no names; messages then have the model's.
    ports = zip(interface.inputs, order, strict=True)
    inputs = [Pair(names[place] if interface.positional else port.name, names[place], place) for port, place in ports]
    of_output = {index: place for place, index in chosen.items()}
    given = [
        Pair(file_outputs[of_output[index]].name, port.name, of_output[index]) for index, port in enumerate(outputs)
    ]
    return Binding(tuple(inputs), tuple(given), len(names))


def _is_plain(binding: Binding, file_outputs: Sequence[Port]) -> bool:
    """Return whether names, order and number are those of an export of the model."""
    pairs = (*binding.inputs, *binding.outputs)
    in_order = all([pair.place for pair in side] == [*range(len(side))] for side in (binding.inputs, binding.outputs))
    whole = (len(binding.inputs), len(binding.outputs)) == (binding.width, len(file_outputs))
    return in_order and whole and all(pair.file == pair.model for pair in pairs)


def _run(
    interface: Interface, places: dict[int, int], names: Sequence[str]
) -> tuple[dict[int, int], Sequence[Port], str]:
    """Get the outputs, trying other orders of the inputs where the file rejects the given one.

    Only inputs whose name is none of the model's are reordered, and only if exactly one other order is accepted.

    Args:
        interface: the file.
        places: for each of the file's inputs, the index of the model's input.
        names: of the model's inputs.

    Returns:
        The places that were accepted, the outputs, and a note where the order was changed ("" where not).
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
    """List the dimensions for which the model file declares several sizes and the file accepts one.

    For example: "batch at 2; dims says 1 … 6".
    """
    fixed = {}
    for item in model.inputs:
        for size, name in zip(declared.get(item.name) or (), item.shape, strict=False):
            if not isinstance(name, str) or not isinstance(size, int):
                continue
            if list(model.dims[name]) != [size]:
                fixed[name] = f"{name} at {size}; dims says {describe_dimension(model.dims[name])}"
    return list(fixed.values())


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
    """Return the path of the file that a model file gives for a format; None where it gives none.

    Args:
        model: the model.
        file: the model file; the path is relative to its folder.
        artifact_format: the format's name.


    Raises:
        ModelError: the file does not exist.
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
