"""The sizes that an exported file accepts: a trace may be fixed to those of its example although it declares them free.

A Python ``if``, an ``int()`` or a table in forward causes that, such as windows whose batch is computed with int().
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.build import run_eager
from ..model.dimension import describe_dimension
from ..model.inputs import Arrays, at_sizes, traced_sizes
from ..model.model import Model
from .example import example_arrays
from .shapes import probed_sizes

if TYPE_CHECKING:
    import torch

# A file of more bytes is not opened beside the model; the device will report the sizes that it rejects.
LARGEST = 500_000_000

Run = Callable[[Arrays], Any]
# Sizes of the dimensions, and the exception that the file raised with them.
Answer = tuple[Mapping[str, int], Exception | None]


def describe_fixed_sizes(
    file: Path, run: Callable[[], Run | None], build: Callable[[], torch.nn.Module], model: Model
) -> str:
    """Describe the dimensions that a file is fixed to one size of, by running it at a few small sizes.

    Args:
        file: the exported file.
        run: opens the file; returns None where this host cannot.
        build: returns the module, which tells what sizes are valid.
        model: the model.

    Returns:
        The dimensions with the error that shows it; "" where there are none.
    """
    traced = traced_sizes(model)
    if all(len(sizes) == 1 for sizes in model.dims.values()) or file.stat().st_size > LARGEST:
        return ""
    answers: list[Answer] = []
    if (opened := run()) is None:
        return ""
    module = build()
    for seed, sizes in enumerate(probed_sizes(model)):
        try:
            arrays = example_arrays(model, sizes, seed)
            run_eager(module, arrays)
        except Exception:  # noqa: BLE001, S112  # the module rejects such an input: parity reports that
            continue
        try:
            opened(arrays)
        except Exception as error:  # noqa: BLE001  # a runtime may raise anything
            answers.append((sizes, error))
        else:
            answers.append((sizes, None))
    return _describe(traced, answers, model)


def _describe(
    traced: Mapping[str, int], answers: Sequence[tuple[Mapping[str, int], Exception | None]], model: Model
) -> str:
    if any(sizes == traced and error is not None for sizes, error in answers):
        return ""  # it does not run on this host at all, so nothing is known about sizes
    fixed, last = [], ""
    for name, allowed in model.dims.items():
        # Where another size is accepted, parity tests the rest: it can show a counterexample.
        alone = [(sizes, error) for sizes, error in answers if _differing(sizes, traced) == [name]]
        if alone and all(error is not None for _, error in alone):
            fixed.append(f"{name} at {traced[name]}; dims says {describe_dimension(allowed)}")
            sizes, error = alone[0]
            last = f"run{at_sizes(sizes)}, the file says: {str(error).strip().splitlines()[-1]}"
    return f"the exporter fixed {', and '.join(fixed)} ({last})" if fixed else ""


def _differing(sizes: Mapping[str, int], others: Mapping[str, int]) -> list[str]:
    return [name for name in sizes if sizes[name] != others[name]]
