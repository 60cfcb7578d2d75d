"""The shapes that an exported file declares, compared with shapes that were observed.

A runtime may rely on declared shapes: allocate an output by them, or refuse to run. A GRU's file declared 3, the number
of steps in the example input, where any number is possible (issue 15).
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

# A size: a number, a name that stands for the same number wherever it occurs, or None where it is undeclared.
Size = int | str | None
# The sizes of each input and output, inputs first; None where not even their number is declared.
Declared = Mapping[str, Sequence[Size] | None]
Shapes = Mapping[str, Sequence[int]]
# An input or output by name, and the index of a dimension; None for the number of dimensions.
Place = tuple[str, int | None]


def refuted(declared: Declared, seen: Shapes) -> dict[Place, str]:
    """Find the declared shapes that one inference has refuted, and describe the difference.

    Args:
        declared: the file's shapes, inputs first, because names in the outputs' shapes stand for the inputs' sizes.
        seen: the observed shapes by name.
    """
    differences: dict[Place, str] = {}
    known: dict[str, int] = {}
    for name, sizes in declared.items():
        shape = seen.get(name)
        if sizes is None or shape is None:
            continue
        if len(sizes) != len(shape):
            differences[name, None] = f"it declares {len(sizes)} dimensions of {name}, which has {len(shape)}"
            continue
        for axis, (size, real) in enumerate(zip(sizes, shape, strict=True)):
            declared_size = known.setdefault(size, real) if isinstance(size, str) else size
            if declared_size is not None and declared_size != real:
                named = f" = {declared_size}" if isinstance(size, str) else ""
                differences[name, axis] = f"it declares {size}{named} for dimension {axis} of {name}, which is {real}"
    return differences


def probed_sizes(model: Model) -> Iterator[dict[str, int]]:
    """Yield a few small choices of sizes; for each dimension there is one in which it alone differs from the first."""
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
    """Run a module at a few sizes, and yield for each the dimensions' sizes and the shapes of inputs and outputs."""
    for seed, sizes in enumerate(probed_sizes(model)):
        try:
            arrays = example_arrays(model, sizes, seed)
            leaves = [leaf for _, leaf in flatten(run_eager(module, arrays))]
        except Exception:  # noqa: BLE001, S112  # the module rejects such an input: parity reports that
            continue
        shapes = {name: array.shape for name, array in arrays.items()}
        yield sizes, shapes | {name: tuple(leaf.shape) for name, leaf in zip(outputs, leaves, strict=False)}
