"""TorchScript: ``model.pt``, by tracing; a module that is scripted already is taken as it is."""

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
# Inside the archive of a module whose outputs were laid flat: their names, in order. The backend reads it.
NAMES = "hilgate_output_names.json"


def trace(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    """Trace with the outputs as they are: a user's C++ finds the same nesting."""
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        return _save(module, folder, {})
    return _save(traced(module, model, strict=list(outputs) == ["output"]), folder, {})


def trace_flat(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    """Trace with the outputs laid flat: TorchScript's dicts hold values of one type only."""
    names = {NAMES: json.dumps(list(outputs))}
    return _save(traced(laid_flat(module), model, strict=True), folder, names)


def trace_named(module: torch.nn.Module, model: Model, folder: Path, names: Sequence[str]) -> str:
    """Trace a module that returns a tuple of tensors, whose names are given; returns the file's name."""
    return _save(traced(module, model, strict=True), folder, {NAMES: json.dumps(list(names))})[0]


# By their labels, all that a model file may choose from.
EXPORTERS: Mapping[str, Callable[..., list[str]]] = {
    "torch.jit.trace": trace,
    "torch.jit.trace, outputs laid flat": trace_flat,
}


def exporters(module: torch.nn.Module) -> Mapping[str, Callable[..., list[str]]]:
    """Choose the exporters of a module, by their labels, the one to try first in front."""
    return EXPORTERS


def read_interface(path: Path, model: Model) -> Interface:
    """Open a given file, and read what it takes; it is run once to see what it gives.

    Raises:
        ModelError: it cannot be opened, or takes something else than tensors.
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
    needed = sum(not one.has_default_value() for one in arguments)
    ports = [Port(one.name) for one in arguments[: max(needed, len(model.inputs))]]
    names = json.loads(extra[NAMES]) if extra[NAMES] else None
    return Interface(ports, True, lambda places: _outputs(module, model, places, names, str(path)))


def opened(folder: Path, label: str) -> Callable[[Mapping[str, Any]], Any] | None:
    """Open an exported file, to run it on this host."""
    import torch

    module: Any = torch.jit.load(str(folder / FILE), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    return lambda arrays: run_eager(module, arrays)


def _outputs(
    module: Any, model: Model, places: Sequence[int], names: Sequence[str] | None, where: str
) -> Sequence[Port]:
    """Run a given module once; see Interface.outputs."""
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
    """Trace a module that nothing has run before, at sizes that can be told apart."""
    import torch

    # Under no_grad, as it is run later; a dict as output needs strict=False. torch's own check traces the module a
    # second time: a table that it makes on its first call is there by then, and the check refuses it (issue 15). What
    # the trace gives is for parity to judge.
    with torch.no_grad():
        script: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, example_tensors(model), strict=strict, check_trace=False
        )
    return script


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
