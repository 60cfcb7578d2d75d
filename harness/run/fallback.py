"""The fallback of a cell that calls another computer: which backend answers on the device, and its artifact."""

from __future__ import annotations

from ..backends import Backend, load_backend
from ..cell import Cell
from ..errors import BackendError, ExportError, ModelError
from ..export import Artifact, export_artifact
from ..model.build import BuiltModel

OPTION = "fallback"


def named_fallback(cell: Cell, where: str) -> Backend | None:
    """Load the backend that a cell's options name as its fallback; None where they name none.

    Args:
        cell: of a remote backend.
        where: the table of its options in the device's file, for errors.

    Raises:
        BackendError: there is no such backend, the device does not list it, or it cannot answer beside a client.
        ModelError: the model file gives the file that it would run.
    """
    name = cell.options.get(OPTION)
    if name is None:
        return None
    where = f"{where}.{OPTION}"
    try:
        backend = load_backend(str(name))
    except BackendError as error:
        error.where = where
        raise
    _check(cell, backend, where)
    return backend


def _check(cell: Cell, backend: Backend, where: str) -> None:
    listed = ", ".join(cell.device.backends)
    if backend.name not in cell.device.backends:
        raise BackendError(
            f"device {cell.device.name} has no backend {backend.name} to fall back on",
            wanted=f"one of {listed}",
            found=backend.name,
            where=where,
            hint="add it to device.backends, so that it is measured by itself, too",
        )
    if backend.remote or backend.native is not None:
        what = "calls another computer itself" if backend.remote else "is a program of its own"
        raise BackendError(
            f"backend {backend.name} cannot be a fallback: it {what}",
            wanted="a backend in Python that runs on the device, such as onnxruntime or torchscript",
            found=backend.name,
            where=where,
        )
    if cell.calls.stream:
        raise BackendError(
            "an answer in parts has no fallback",
            wanted="stream = false, or no fallback: a local answer has no first part",
            found=f"stream = true, {OPTION} = {backend.name!r}",
            where=where,
        )
    if given := cell.file.model.files.get(backend.artifact):
        raise ModelError(
            f"a fallback runs what hilgate exports, and the model file gives its {backend.artifact} file",
            wanted="a model that is exported: its inputs and outputs are named as the endpoint's",
            found=f"files={{{backend.artifact!r}: {str(given)!r}}}",
            where=where,
            hint="name a fallback of another format, or take the file out of Model(files=…)",
        )


def fallback_artifact(cell: Cell, built: BuiltModel) -> Artifact | None:
    """Export what a cell's fallback runs, or take it from the cache; None without a fallback.

    Raises:
        ExportError: no exporter takes the model.
    """
    if cell.fallback is None:
        return None
    try:
        return export_artifact(built, cell.fallback.artifact)
    except ExportError as error:
        error.what = f"the fallback {cell.fallback.name}: {error.what}"
        raise


def fallback_notes(cell: Cell) -> list[str]:
    """Say that not all answers are another computer's; nothing of a cell without a fallback."""
    if cell.fallback is None:
        return []
    return [
        f"where a call fails, or takes longer than {cell.calls.timeout_ms:g} ms, the device answers with "
        f"{cell.fallback.name}, and asks the far end again every second: latencies are of both"
    ]
