"""What is added to the errors of a cell: the sizes of its inputs, and what to do about a refusal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..bundle import Bundle
from ..cell import Cell
from ..errors import AgentFailure, AgentTimeout, DamagedError, DeploymentError
from ..model.inputs import at_sizes, describe, describe_measured, describe_sizes, traced_sizes
from ..model.model import Model
from .feed import Inputs
from .refusals import next_step

# In what a process or its runtime says when memory ran out: Python, C++, torch, ONNX Runtime, the kernel.
OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "not enough memory", "llocate memory", "SIGKILL", "memory ran out")


def check_settings(expected: Mapping[str, Any], found: Mapping[str, Any], where: str) -> None:
    """Refuse a backend that is not set as the device file says: its figures could not be compared with another's.

    Args:
        expected: the device's settings.
        found: those that the backend reports.
        where: which cell it is.

    Raises:
        DeploymentError: naming what differs.
    """
    differing = {key: found.get(key, "not said") for key, value in expected.items() if found.get(key) != value}
    if differing:
        raise DeploymentError(
            "the backend is not set as the device file says, so that it cannot be compared with others",
            wanted=_pairs({key: expected[key] for key in differing}),
            found=_pairs(differing),
            where=where,
            hint="set in the device file what each of its backends can do on this CPU, or take this one off its list",
        )


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {str(value).lower()}" for key, value in values.items())


@contextmanager
def explain_refusal(cell: Cell, bundle: Bundle, inputs: Inputs) -> Iterator[None]:
    """Add sizes and advice to an AgentFailure of loading: an export may take no sizes but those of its example.

    Args:
        cell: what is loaded.
        bundle: its bundle.
        inputs: those of the first inference.
    """
    try:
        yield
    except AgentFailure as error:
        model = cell.file.model
        if cell.endpoint is not None:
            error.wanted = (
                f"{cell.endpoint.told}, and one inference{at_sizes(model.measured_sizes)} ({describe(inputs)})"
            )
            error.hint = f"hilgate doctor {cell.device.name} looks at endpoint {cell.endpoint.name} from the device"
            raise
        measured, traced = at_sizes(model.measured_sizes), at_sizes(traced_sizes(model))
        given = model.files.get(cell.backend.artifact, "")
        loaded = f"{given}, which is given," if given else "the artifact"
        error.wanted = f"{loaded} loaded, and one inference{measured} ({describe(inputs)})"
        artifact = bundle.files[bundle.entry].source if bundle.entry else None
        if known := next_step(error.found, cell.backend, artifact, model.imports, str(given)):
            error.hint = known
        elif given:
            error.hint = "see whether the runtime of that version opens the file by itself, with such an input"
        elif measured != traced:
            error.hint = (
                f"if it is the shape that is refused: the export's example was{traced}; look in forward for "
                "what keeps its sizes (int(), a Python if, a table made once)"
            )
        raise


def add_sizes(error: DeploymentError, model: Model) -> None:
    """Add the measured sizes to an error, and, where memory or time ran out, that others can be chosen."""
    sizes = describe_measured(model)
    known = (sizes, describe_sizes(model.measured_sizes))  # a model is loaded at the largest
    if not sizes or any(each in error.where or each in error.wanted for each in known):
        return
    error.where = f"{error.where}, at {sizes}" if error.where else f"at {sizes}"
    ran_out = isinstance(error, AgentTimeout) or any(sign in error.found for sign in OUT_OF_MEMORY)
    if ran_out:
        error.hint = "; ".join(filter(None, [error.hint, "Model(measure={…}) chooses other sizes"]))


def damaged_error(cell: Cell, damage: str) -> DamagedError:
    """Build the error for a cell that was measured, or that answered, with a damaged file.

    Args:
        cell: the cell.
        damage: what was damaged, in words.
    """
    where = f"{cell.device.name} ({cell.device.path})"
    hint = "run it again: what was damaged is sent again. If it comes back, replace the board's memory card"
    what = f"nothing can be said of {cell.id}: it ran on a file that was damaged"
    return DamagedError(what, found=damage, where=where, hint=hint)
