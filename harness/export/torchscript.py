"""TorchScript: ``model.pt``, by tracing; a module that is scripted already is taken as it is."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..agent.structure import flatten
from ..build import run_eager
from ..inputs import traced_sizes, uniform_set
from ..model import Model

if TYPE_CHECKING:
    import torch

FILE = "model.pt"


def trace(module: torch.nn.Module, model: Model, folder: Path) -> list[str]:
    """Trace, save, and take out what names this machine."""
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        scripted: torch.jit.ScriptModule = module
    else:
        arrays = uniform_set(model, traced_sizes(model), seed=0)
        tensors = tuple(torch.from_numpy(array) for array in arrays.values())
        lone = [name for name, _ in flatten(run_eager(module, arrays))] == ["output"]
        # Without no_grad, tracing a TransformerEncoder fails its own check; a dict as output needs strict=False.
        with torch.no_grad():
            scripted = torch.jit.trace(module, tensors, strict=lone)  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer)
    _write_without_debug_info(buffer, folder / FILE)
    return [FILE]


EXPORTERS = {"torch.jit.trace": trace}


def _write_without_debug_info(source: io.BytesIO, path: Path) -> None:
    """Copy the archive without its source locations: they hold this machine's paths, and loading does not need them.

    torch's own writer keeps tensors aligned, so that they can be mapped into memory.
    """
    import torch

    with zipfile.ZipFile(source) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    source.seek(0)
    reader = torch._C.PyTorchFileReader(source)
    writer = torch._C.PyTorchFileWriter(str(path))
    for name in names:
        # The writer adds its own version and id; other records are kept as they are.
        if not name.endswith(".debug_pkl") and name not in ("version", ".data/serialization_id", "byteorder"):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
