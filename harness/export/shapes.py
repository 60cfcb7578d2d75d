"""What an exported file says of the shapes that go in and come out, held against shapes that were seen.

Who reads a file may take its word: allocate an output by it, or refuse to run. A GRU's file said 3, the number of steps
of the export's example, where any number comes out (issue 15).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..agent.structure import flatten
from ..model.build import run_eager
from ..model.inputs import traced_sizes
from ..model.model import Model
from .example import example_arrays

if TYPE_CHECKING:
    import torch

# Of each input and output, in that order, its sizes: a number, a name that stands for one number wherever it occurs, or
# None where nothing is said; None in place of all where not even their number is said.
Size = int | str | None
Declared = Mapping[str, Sequence[Size] | None]
Shapes = Mapping[str, Sequence[int]]
# A name, and one of its dimensions; None for their number.
Place = tuple[str, int | None]


def refuted(declared: Declared, seen: Shapes) -> dict[Place, str]:
    """Say where what a file declares is not what was seen in one inference, and how it differs.

    Args:
        declared: inputs first: their sizes are what names in outputs' shapes stand for.
        seen: shapes by name.
    """
    found: dict[Place, str] = {}
    known: dict[str, int] = {}
    for name, sizes in declared.items():
        shape = seen.get(name)
        if sizes is None or shape is None:
            continue
        if len(sizes) != len(shape):
            found[name, None] = f"it declares {len(sizes)} dimensions of {name}, which has {len(shape)}"
            continue
        for axis, (size, real) in enumerate(zip(sizes, shape, strict=True)):
            said = known.setdefault(size, real) if isinstance(size, str) else size
            if said is not None and said != real:
                named = f" = {said}" if isinstance(size, str) else ""
                found[name, axis] = f"it declares {size}{named} for dimension {axis} of {name}, which is {real}"
    return found


def probed_sizes(model: Model) -> Iterator[dict[str, int]]:
    """Give a few small sizes at which every dimension has been another one while the others stayed."""
    traced = traced_sizes(model)
    yield traced
    yield {name: allowed[0] for name, allowed in model.dims.items()}
    for name, allowed in model.dims.items():
        nearest = [*allowed[bisect_right(allowed, traced[name]) :][:1], allowed[0]]
        others = [size for size in nearest if size != traced[name]]
        if others:
            yield {**traced, name: others[0]}


def seen_shapes(
    module: torch.nn.Module, model: Model, outputs: Sequence[str]
) -> Iterator[tuple[dict[str, int], Shapes]]:
    """Run a module at a few sizes: its dimensions, and the shapes of its inputs and outputs by name."""
    for seed, sizes in enumerate(probed_sizes(model)):
        try:
            arrays = example_arrays(model, sizes, seed)
            leaves = [leaf for _, leaf in flatten(run_eager(module, arrays))]
        except Exception:  # noqa: BLE001, S112  # it takes no such input: parity says so
            continue
        shapes = {name: array.shape for name, array in arrays.items()}
        yield sizes, shapes | {name: tuple(leaf.shape) for name, leaf in zip(outputs, leaves, strict=False)}
