"""TorchScript: ``model.pt``, by tracing; a module that is scripted already is taken as it is."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..model import Model
from .example import example_tensors, laid_flat, output_names

if TYPE_CHECKING:
    import torch

FILE = "model.pt"
# Inside the archive of a module whose outputs were laid flat: their names, in order. The backend reads it.
NAMES = "hilgate_output_names.json"


def trace(module: torch.nn.Module, model: Model, folder: Path) -> list[str]:
    """Trace with the outputs as they are: a user's C++ finds the same nesting."""
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        return _save(module, folder, {})
    return _save(_traced(module, model, strict=output_names(module, model) == ["output"]), folder, {})


def trace_flat(module: torch.nn.Module, model: Model, folder: Path) -> list[str]:
    """Trace with the outputs laid flat: TorchScript's dicts hold values of one type only."""
    names = {NAMES: json.dumps(output_names(module, model))}
    return _save(_traced(laid_flat(module), model, strict=True), folder, names)


def trace_named(module: torch.nn.Module, model: Model, folder: Path, names: Sequence[str]) -> str:
    """Trace a module that returns a tuple of tensors, whose names are given; returns the file's name."""
    return _save(_traced(module, model, strict=True), folder, {NAMES: json.dumps(list(names))})[0]


EXPORTERS = {"torch.jit.trace": trace, "torch.jit.trace, outputs laid flat": trace_flat}


def _traced(module: torch.nn.Module, model: Model, *, strict: bool) -> torch.jit.ScriptModule:
    import torch

    # Without no_grad, tracing a TransformerEncoder fails its own check; a dict as output needs strict=False.
    with torch.no_grad():
        traced: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, example_tensors(model), strict=strict
        )
    return traced


def _save(scripted: torch.jit.ScriptModule, folder: Path, extra: dict[str, str]) -> list[str]:
    import torch

    # By paths: given anything else, torch makes the whole archive in memory, twice.
    with tempfile.TemporaryDirectory(dir=folder) as name:
        source = str(Path(name, FILE))
        torch.jit.save(scripted, source, _extra_files=extra)
        _write_without_debug_info(source, folder / FILE)
    return [FILE]


def _write_without_debug_info(source: str, path: Path) -> None:
    """Copy the archive without its source locations: they hold this machine's paths, and loading does not need them.

    torch's own writer keeps tensors aligned, so that they can be mapped into memory.
    """
    import torch

    with zipfile.ZipFile(source) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    reader = torch._C.PyTorchFileReader(source)
    writer = torch._C.PyTorchFileWriter(str(path))
    for name in names:
        # The writer adds its own version and id; other records are kept as they are.
        if not name.endswith(".debug_pkl") and name not in ("version", ".data/serialization_id", "byteorder"):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
