"""The export format TorchScript: ``model.pt``, by tracing; a ScriptModule is saved as it is."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..agent.structure import flatten
from ..errors import ModelError
from ..model.build import run_eager
from ..model.inputs import describe
from ..model.model import Model
from ..model.user_code import words
from .example import example_arrays, example_tensors, laid_flat
from .given import Interface
from .ports import Port, seen_ports

if TYPE_CHECKING:
    import torch

FILE = "model.pt"
# A file inside the archive with the names of the outputs, in order, where these were flattened; the backend reads it.
NAMES = "hilgate_output_names.json"


def trace(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    """Trace a module with the nesting of its outputs, so that C++ code sees the same nesting as Python."""
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        return _save(module, folder, {})
    return _save(traced(module, model, strict=list(outputs) == ["output"]), folder, {})


def trace_flat(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    """Trace a module with its outputs flattened, because a dict in TorchScript holds values of one type only."""
    names = {NAMES: json.dumps(list(outputs))}
    return _save(traced(laid_flat(module), model, strict=True), folder, names)


def trace_named(module: torch.nn.Module, model: Model, folder: Path, names: Sequence[str]) -> str:
    """Trace a module that returns a tuple of tensors with these names; return the file's name."""
    return _save(traced(module, model, strict=True), folder, {NAMES: json.dumps(list(names))})[0]


# All exporters by label; a model file may choose one: Model(exporter=…).
EXPORTERS: Mapping[str, Callable[..., list[str]]] = {
    "torch.jit.trace": trace,
    "torch.jit.trace, outputs laid flat": trace_flat,
}


def exporters(module: torch.nn.Module) -> Mapping[str, Callable[..., list[str]]]:
    """Choose the exporters to try for a module, by label, in order."""
    return EXPORTERS


def read_interface(path: Path, model: Model) -> Interface:
    """Read the inputs of a given file; it is run once to learn its outputs.

    Raises:
        ModelError: the file cannot be opened, or takes something else than tensors.
    """
    import torch

    try:
        extra = {NAMES: ""}
        module: Any = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call]
        arguments = module.forward.schema.arguments[1:]
    except Exception as error:
        hint = "save it with torch.jit.save; a state_dict, or a module that torch.save has pickled, is no TorchScript"
        what, wanted = "the given file cannot be opened", "a TorchScript module with a forward"
        raise ModelError(what, wanted=wanted, found=words(error), where=str(path), hint=hint) from error
    if getattr(module, "training", False):
        module.eval()  # as every backend does
    needed = sum(not argument.has_default_value() for argument in arguments)
    ports = [Port(argument.name) for argument in arguments[: max(needed, len(model.inputs))]]
    names = json.loads(extra[NAMES]) if extra[NAMES] else None
    return Interface(
        inputs=ports, positional=True, outputs=lambda places: _outputs(module, model, places, names, str(path))
    )


def opened(folder: Path, label: str) -> Callable[[Mapping[str, Any]], Any] | None:
    """Open an exported file to run it on this host."""
    import torch

    module: Any = torch.jit.load(str(folder / FILE), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    return lambda arrays: run_eager(module, arrays)


def _outputs(
    module: Any, model: Model, places: Sequence[int], names: Sequence[str] | None, where: str
) -> Sequence[Port]:
    """Run a given module once and describe its outputs; see Interface.outputs."""
    arrays = [*example_arrays(model).items()]
    given = dict(arrays[place] for place in places)
    try:
        leaves = [*flatten(run_eager(module, given))]
    except Exception as error:
        raise ModelError(
            "the given file rejects inputs that the model file declares",
            wanted=describe(given),
            found=words(error),
            where=where,
            hint="inputs go to it by position: in the order of its forward, or by the names that they have there",
        ) from error
    return seen_ports(names or [name for name, _ in leaves], [leaf for _, leaf in leaves])


def traced(module: torch.nn.Module, model: Model, *, strict: bool) -> torch.jit.ScriptModule:
    """Trace a module that has never run, at sizes that can be told apart."""
    import torch

    # Under no_grad, as it will be run; a dict as output needs strict=False. torch's own check would trace the module a
    # second time and refuse one that makes a table on its first call (issue 15). Parity judges what the trace answers.
    with torch.no_grad():
        script: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, example_tensors(model), strict=strict, check_trace=False
        )
    return script


def _save(scripted: torch.jit.ScriptModule, folder: Path, extra: dict[str, str]) -> list[str]:
    import torch

    # Paths are passed as text: for anything else torch builds the whole archive in memory, twice.
    with tempfile.TemporaryDirectory(dir=folder) as name:
        source = str(Path(name, FILE))
        torch.jit.save(scripted, source, _extra_files=extra)
        _write_without_debug_info(source, folder / FILE)
    return [FILE]


def _write_without_debug_info(source: str, path: Path) -> None:
    """Copy an archive without its source locations: they contain this machine's paths, and loading does not need them.

    torch's own writer keeps tensors aligned, so that they can be mapped into memory.
    """
    import torch

    with zipfile.ZipFile(source) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    reader = torch._C.PyTorchFileReader(source)
    writer = torch._C.PyTorchFileWriter(str(path))
    for name in names:
        # The writer adds these itself; the other records are copied unchanged.
        if not name.endswith(".debug_pkl") and name not in ("version", ".data/serialization_id", "byteorder"):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
