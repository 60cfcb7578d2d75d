"""The export format ONNX: ``model.onnx``, by the dynamo exporter, or by the older tracing one where that refuses.

The older exporter takes a ScriptModule as it is, with its control flow. It refuses an ordinary module that contains a
ScriptModule, but takes the ScriptModule that torch.jit.trace makes of it (all tried with torch 2.13).
"""

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
# Weights of more than this many bytes are written to a file of their own: a protocol buffer holds 2 GiB at most, and
# building one takes four times the model's memory (measured: 2.9 GB for 0.67 GB of weights; issue 16).
EXTERNAL_ABOVE = 200_000_000
# The exporter's notes on a node that tell which module it came from; its other notes are stack traces with paths.
KEPT_NOTES = re.compile(r"pkg\.torch\.onnx\.(name_scopes|class_hierarchy)\Z")

# ONNX Runtime's words about a file that is newer than it is.
NEWER = re.compile(r"Unsupported model IR version|opset \d+ is under development|is not registered|opset version|Opset")


def export_dynamo(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    """Export through torch.export, which refuses control flow that depends on a tensor's value."""
    import onnx
    import torch

    def dimension(size: int | str) -> Any:
        if isinstance(size, str):
            sizes = model.dims[size]
            if len(sizes) > 1:  # sizes between the declared steps are allowed, too
                return torch.export.Dim(size, min=sizes[0], max=sizes[-1])
        return None

    shapes = tuple({axis: dimension(size) for axis, size in enumerate(item.shape)} for item in model.inputs)
    program = _export(laid_flat(module), model, outputs, None, dynamo=True, dynamic_shapes=(shapes,))
    _check_opset(program.model.opset_imports.get(""), model)
    if not _is_large(module):
        return _save(program.model_proto, folder, external=False)
    # Written straight to the disk: a protocol buffer of that size cannot even compute its own size.
    program.save(str(folder / FILE), external_data=True)
    return _save(onnx.load(str(folder / FILE), load_external_data=False), folder, external=True)


def export_traced(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    """Export by tracing, which takes more models, but makes constants of values that it should refuse."""
    return _export_older(laid_flat(module), model, outputs, folder)


def export_scripted(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    """Export a ScriptModule as it is; its output must be a tensor or a tuple of tensors."""
    return _export_older(module, model, outputs, folder)


def export_retraced(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    """Trace a module with torch.jit.trace and export the result; scripted parts keep their control flow."""
    from .torchscript import traced

    return _export_older(traced(laid_flat(module), model, strict=True), model, outputs, folder)


def _export_older(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> list[str]:
    import onnx

    axes = {
        item.name: {axis: size for axis, size in enumerate(item.shape) if isinstance(size, str)}
        for item in model.inputs
    }
    with tempfile.TemporaryDirectory(dir=folder) as name:  # every weight of a large model becomes a file there
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
# All exporters by label; a model file may choose one: Model(exporter=…).
EXPORTERS: Mapping[str, Callable[..., list[str]]] = {
    DYNAMO: export_dynamo,
    OLDER: export_traced,
    RETRACED: export_retraced,
}


def exporters(module: torch.nn.Module) -> Mapping[str, Callable[..., list[str]]]:
    """Choose the exporters to try for a module, by label, in order."""
    parts = scripted_parts(module)
    if parts == [""]:  # torch.export takes no ScriptModule
        return {OLDER: export_scripted, RETRACED: export_retraced}
    return {DYNAMO: export_dynamo, **({RETRACED: export_retraced} if parts else {OLDER: export_traced})}


def _export(module: torch.nn.Module, model: Model, outputs: Sequence[str], target: str | None, **options: Any) -> Any:
    """Export a module with flat outputs: a graph has no nesting, and each exporter orders a dict in its own way.

    The module must not have been run before: a table of positions, or a grid, that it makes on its first call would be
    in the file with the size of that call (issue 15).

    Args:
        module: the module.
        model: the model that it belongs to.
        outputs: the outputs' names.
        target: the file to write; None for the dynamo exporter, which returns a program.
        options: further arguments of torch.onnx.export.
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
    return next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), None)


def _check_opset(written: int | None, model: Model) -> None:
    """Refuse a file with another operator set than the model file asks for.

    Where torch cannot convert a file to the operator set, it writes the file unchanged and only logs that.

    Raises:
        Refused: names both operator sets.
    """
    if model.opset not in (None, written):
        raise Refused(f"the model file wants opset {model.opset}; this exporter wrote opset {written}")


def read_interface(path: Path, model: Model) -> Interface:
    """Read the inputs and outputs of a given file; see interface_of for what it raises."""
    from .onnx_file import interface_of

    return interface_of(path)


def refusal_hint(found: str, given: str) -> str:
    """Return what to do about a runtime that is too old for the file that it refuses; "" for any other refusal.

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
    """Open an exported file to run it on this host; None where there is no ONNX Runtime here, or no need.

    The dynamo exporter declares every size that it made a constant, so its files need not be run; a tracing exporter
    does not.
    """
    if label == DYNAMO:
        return None
    try:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / FILE), providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001  # such as a missing library of operators: the device will report it
        return None
    names = [item.name for item in session.get_inputs()]
    return lambda arrays: session.run(None, {name: arrays[name] for name in names})


def _is_large(module: torch.nn.Module) -> bool:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers())) > EXTERNAL_ABOVE


def _save(proto: onnx.ModelProto, folder: Path, *, external: bool) -> list[str]:
    """Write a graph without what differs between machines, and return the files' names.

    Args:
        proto: the graph, with its weights or with references to external ones.
        folder: where the file goes.
        external: whether the weights are in a file of their own, which is written already.
    """
    import onnx

    proto.doc_string = ""
    proto.graph.name = "model"
    del proto.metadata_props[:]
    for part in all_parts(proto):
        part.doc_string = ""
        notes = [note for note in part.metadata_props if KEPT_NOTES.match(note.key)]
        del part.metadata_props[:]
        part.metadata_props.extend(notes)
    (folder / FILE).unlink(missing_ok=True)
    onnx.save(proto, str(folder / FILE))
    onnx.checker.check_model(str(folder / FILE))
    return [FILE, DATA] if external else [FILE]
