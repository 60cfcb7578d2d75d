"""Sizes that an exported file takes: a trace may hold those of its example, though the file declares them free.

A Python ``if``, an ``int()`` or a table in forward does that (case 23: windows whose batch is worked out with int()).
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

# A larger file is not opened beside the model: what it refuses, the device says.
LARGEST = 500_000_000

Run = Callable[[Arrays], Any]
# Sizes, and what the file raised there.
Answer = tuple[Mapping[str, int], Exception | None]


def traced_in(file: Path, run: Callable[[], Run | None], build: Callable[[], torch.nn.Module], model: Model) -> str:
    """Say which dimensions a file has one size of inside, by running it at a few small sizes; "" where there are none.

    Args:
        run: opens the file; gives None where this host cannot.
        build: gives the module, which says what sizes can be asked for.
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
        except Exception:  # noqa: BLE001, S112  # it takes no such input: parity says so
            continue
        try:
            opened(arrays)
        except Exception as error:  # noqa: BLE001  # whatever a runtime raises
            answers.append((sizes, error))
        else:
            answers.append((sizes, None))
    return _said(traced, answers, model)


def _said(
    traced: Mapping[str, int], answers: Sequence[tuple[Mapping[str, int], Exception | None]], model: Model
) -> str:
    if any(sizes == traced and error is not None for sizes, error in answers):
        return ""  # it does not run on this host at all, which says nothing of sizes
    found, last = [], ""
    for name, allowed in model.dims.items():
        # Where one other size passes, the others are for parity, which has a counterexample to show.
        alone = [(sizes, error) for sizes, error in answers if _differing(sizes, traced) == [name]]
        if alone and all(error is not None for _, error in alone):
            found.append(f"{name} at {traced[name]}; dims says {describe_dimension(allowed)}")
            sizes, error = alone[0]
            last = f"run{at_sizes(sizes)}, the file says: {str(error).strip().splitlines()[-1]}"
    return f"the exporter fixed {', and '.join(found)} ({last})" if found else ""


def _differing(sizes: Mapping[str, int], others: Mapping[str, int]) -> list[str]:
    return [name for name in sizes if sizes[name] != others[name]]
