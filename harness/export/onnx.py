"""ONNX: ``model.onnx``, by the dynamo exporter; what that refuses, by the older one, which traces.

What is scripted already the older one takes as it is, control flow included. An ordinary module with a scripted part it
refuses, and takes torch.jit.trace's ScriptModule of it (all tried with torch 2.13)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.model import Model
from .example import example_tensors, laid_flat, scripted_parts
from .onnx_graph import FILE, all_parts, correct_shapes, declared_shapes, node_modules, node_types
from .refusal import Refused

if TYPE_CHECKING:
    import onnx
    import torch

    from .given import Interface

__all__ = [
    "DATA",
    "DYNAMO",
    "EXPORTERS",
    "FILE",
    "OLDER",
    "RETRACED",
    "correct_shapes",
    "declared_shapes",
    "exporters",
    "node_modules",
    "node_types",
    "opened",
    "read_interface",
    "refusal_hint",
]

DATA = "model.onnx.data"
# Weights of more bytes go to a file of their own: a protocol buffer holds 2 GiB at most, and making one takes the model
# four times over (measured: 2.9 GB for 0.67 GB of weights; issue 16).
EXTERNAL_ABOVE = 200_000_000
# Of what the exporter notes on each node, these tell which module it came from; the rest are stack traces with paths.
KEPT_NOTES = re.compile(r"pkg\.torch\.onnx\.(name_scopes|class_hierarchy)\Z")

# What ONNX Runtime says of a file that is newer than it is.
NEWER = re.compile(r"Unsupported model IR version|opset \d+ is under development|is not registered|opset version|Opset")


def export_dynamo(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    """Export through torch.export: refuses what depends on a tensor's value."""
    import onnx
    import torch

    def dimension(size: int | str) -> Any:
        if isinstance(size, str):
            sizes = model.dims[size]
            if len(sizes) > 1:  # what lies between steps is exported too, and not tried
                return torch.export.Dim(size, min=sizes[0], max=sizes[-1])
        return None

    shapes = tuple({axis: dimension(size) for axis, size in enumerate(item.shape)} for item in model.inputs)
    program = _export(laid_flat(module), model, outputs, None, dynamo=True, dynamic_shapes=(shapes,))
    _check_opset(program.model.opset_imports.get(""), model)
    if not _is_large(module):
        return _save(program.model_proto, folder, external=False)
    # Straight to the disk: a protocol buffer of such a size cannot even be asked how large it is.
    program.save(str(folder / FILE), external_data=True)
    return _save(onnx.load(str(folder / FILE), load_external_data=False), folder, external=True)


def export_traced(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    """Export by tracing: takes more, and bakes in what it should refuse."""
    return _export_older(laid_flat(module), model, outputs, folder)


def export_scripted(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    """Export a ScriptModule as it is: one tensor as output, or tuples of them."""
    return _export_older(module, model, outputs, folder)


def export_retraced(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    """Export a trace of a module: what is scripted in it stays so."""
    from .torchscript import traced

    return _export_older(traced(laid_flat(module), model, strict=True), model, outputs, folder)


def _export_older(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    import onnx

    axes = {
        item.name: {axis: size for axis, size in enumerate(item.shape) if isinstance(size, str)}
        for item in model.inputs
    }
    with tempfile.TemporaryDirectory(dir=folder) as name:  # of a large model every weight becomes a file
        path = Path(name, FILE)
        _export(module, model, outputs, str(path), dynamo=False, dynamic_axes=axes)
        proto = onnx.load(str(path))
        _check_opset(_opset(proto), model)
        if _is_large(module):
            onnx.external_data_helper.convert_model_to_external_data(proto, location=DATA)
            onnx.save(proto, str(folder / FILE))
            proto = onnx.load(str(folder / FILE), load_external_data=False)
        return _save(proto, folder, external=_is_large(module))


DYNAMO, OLDER = "torch.onnx.export(dynamo=True)", "torch.onnx.export(dynamo=False)"
RETRACED = f"torch.jit.trace, then {OLDER}"
# By their labels, all that a model file may choose from.
EXPORTERS: Mapping[str, Callable[..., list[str]]] = {
    DYNAMO: export_dynamo,
    OLDER: export_traced,
    RETRACED: export_retraced,
}


def exporters(module: torch.nn.Module) -> Mapping[str, Callable[..., list[str]]]:
    """Choose the exporters of a module, by their labels, the one to try first in front."""
    parts = scripted_parts(module)
    if parts == [""]:  # torch.export takes none
        return {OLDER: export_scripted, RETRACED: export_retraced}
    return {DYNAMO: export_dynamo, **({RETRACED: export_retraced} if parts else {OLDER: export_traced})}


def _export(module: torch.nn.Module, model: Model, outputs: Sequence[str], target: str | None, **options: Any) -> Any:
    """Export a module whose outputs are flat: a graph has no nesting, and exporters order dicts each in their own way.

    Nothing has run it before: a table of positions, or a grid, that it makes on its first call would be in the file at
    the size of that call (issue 15).
    """
    import torch

    if model.opset is not None:
        options["opset_version"] = model.opset
    with torch.no_grad():
        return torch.onnx.export(
            module,
            example_tensors(model),
            target,
            input_names=[item.name for item in model.inputs],
            output_names=list(outputs),
            external_data=False,
            verbose=False,
            **options,
        )


def _opset(proto: onnx.ModelProto) -> int | None:
    return next((one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")), None)


def _check_opset(found: int | None, model: Model) -> None:
    """Refuse another operator set than the model file's: torch writes one that it cannot convert as it is, and logs it.

    Raises:
        Refused: saying both.
    """
    if model.opset not in (None, found):
        raise Refused(f"the model file wants opset {model.opset}; this exporter wrote opset {found}")


def read_interface(path: Path, model: Model) -> Interface:
    """Read what a given file takes and gives. Raises: as interface_of."""
    from .onnx_file import interface_of

    return interface_of(path)


def refusal_hint(found: str, given: str) -> str:
    """Say what to do where a runtime is older than the file that it refuses; "" for any other refusal.

    Args:
        found: the runtime's words.
        given: the file that the model file gives in place of an export; "" where it gives none.
    """
    if not NEWER.search(found):
        return ""
    return (
        f"{given or 'the file'} is newer than the runtime there: write it with an older operator set, such as "
        f"{'onnx.version_converter' if given else 'Model(opset=17)'}, or pin a newer onnxruntime in the device file"
    )


def opened(folder: Path, label: str) -> Callable[[Mapping[str, Any]], Any] | None:
    """Open an exported file, to run it on this host; None where there is no ONNX Runtime here, or no need.

    The dynamo exporter knows of each size that it takes for a constant, and declares it; one that traces does not.
    """
    if label == DYNAMO:
        return None
    try:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / FILE), providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001  # an operator's library that is not there, …: the device says it
        return None
    names = [item.name for item in session.get_inputs()]
    return lambda arrays: session.run(None, {name: arrays[name] for name in names})


def _is_large(module: torch.nn.Module) -> bool:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers())) > EXTERNAL_ABOVE


def _save(proto: onnx.ModelProto, folder: Path, *, external: bool) -> list[str]:
    """Write the graph without what differs from machine to machine; external weights are in their file already."""
    import onnx

    proto.doc_string = ""
    proto.graph.name = "model"
    del proto.metadata_props[:]
    for part in all_parts(proto):
        part.doc_string = ""
        kept = [note for note in part.metadata_props if KEPT_NOTES.match(note.key)]
        del part.metadata_props[:]
        part.metadata_props.extend(kept)
    (folder / FILE).unlink(missing_ok=True)
    onnx.save(proto, str(folder / FILE))
    onnx.checker.check_model(str(folder / FILE))
    return [FILE, DATA] if external else [FILE]
