"""ONNX: ``model.onnx``, by the dynamo exporter; what that refuses, by the older one, which traces."""

from __future__ import annotations

import ast
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model import Model
from .example import example_tensors, laid_flat, output_names

if TYPE_CHECKING:
    import onnx
    import torch

FILE = "model.onnx"
DATA = "model.onnx.data"
# A protocol buffer holds 2 GiB at most; beyond this size weights go to a file of their own.
EXTERNAL_ABOVE = 1_800_000_000
# Of what the exporter notes on each node, these tell which module it came from; the rest are stack traces with paths.
KEPT_NOTES = re.compile(r"pkg\.torch\.onnx\.(name_scopes|class_hierarchy)\Z")


def export_dynamo(module: torch.nn.Module, model: Model, folder: Path) -> list[str]:
    """Export through torch.export: refuses what depends on a tensor's value."""
    import onnx
    import torch

    def dimension(size: int | str) -> Any:
        if isinstance(size, str):
            low, high = model.dims[size]
            if low < high:
                return torch.export.Dim(size, min=low, max=high)
        return None

    shapes = tuple({axis: dimension(size) for axis, size in enumerate(item.shape)} for item in model.inputs)
    program = _export(module, model, None, dynamo=True, dynamic_shapes=(shapes,))
    if not _is_large(module):
        return _save(program.model_proto, folder, external=False)
    # Straight to the disk: a protocol buffer of such a size cannot even be asked how large it is.
    program.save(str(folder / FILE), external_data=True)
    return _save(onnx.load(str(folder / FILE), load_external_data=False), folder, external=True)


def export_traced(module: torch.nn.Module, model: Model, folder: Path) -> list[str]:
    """Export by tracing: takes more, and bakes in what it should refuse."""
    import onnx

    axes = {
        item.name: {axis: size for axis, size in enumerate(item.shape) if isinstance(size, str)}
        for item in model.inputs
    }
    with tempfile.TemporaryDirectory(dir=folder) as name:  # of a large model every weight becomes a file
        path = Path(name, FILE)
        _export(module, model, str(path), dynamo=False, dynamic_axes=axes)
        proto = onnx.load(str(path))
        if _is_large(module):
            onnx.external_data_helper.convert_model_to_external_data(proto, location=DATA)
            onnx.save(proto, str(folder / FILE))
            proto = onnx.load(str(folder / FILE), load_external_data=False)
        return _save(proto, folder, external=_is_large(module))


EXPORTERS = {"torch.onnx.export(dynamo=True)": export_dynamo, "torch.onnx.export(dynamo=False)": export_traced}


def _export(module: torch.nn.Module, model: Model, target: str | None, **options: Any) -> Any:
    """Export with the outputs laid flat: a graph has no nesting, and exporters order dicts each in their own way."""
    import torch

    with torch.no_grad():
        return torch.onnx.export(
            laid_flat(module),
            example_tensors(model),
            target,
            input_names=[item.name for item in model.inputs],
            output_names=output_names(module, model),
            external_data=False,
            verbose=False,
            **options,
        )


def _is_large(module: torch.nn.Module) -> bool:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers())) > EXTERNAL_ABOVE


def _save(proto: onnx.ModelProto, folder: Path, *, external: bool) -> list[str]:
    """Write the graph without what differs from machine to machine; external weights are in their file already."""
    import onnx

    proto.doc_string = ""
    proto.graph.name = "model"
    del proto.metadata_props[:]
    for part in _parts(proto):
        part.doc_string = ""
        kept = [note for note in part.metadata_props if KEPT_NOTES.match(note.key)]
        del part.metadata_props[:]
        part.metadata_props.extend(kept)
    (folder / FILE).unlink(missing_ok=True)
    onnx.save(proto, str(folder / FILE))
    onnx.checker.check_model(str(folder / FILE))
    return [FILE, DATA] if external else [FILE]


def _parts(proto: onnx.ModelProto) -> Iterator[Any]:
    """Everything that carries notes: graphs, their values and nodes, subgraphs included, and functions."""
    for function in proto.functions:
        yield function
        yield from _nodes(function.node)
    yield from _graph_parts(proto.graph)


def _graph_parts(graph: onnx.GraphProto) -> Iterator[Any]:
    yield graph
    yield from (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    yield from _nodes(graph.node)


def _nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _graph_parts(graph)


def node_modules(path: Path) -> dict[str, str]:
    """NODE: MODULE of each node whose exporter noted which of the model's modules it came from, as in "layers.3.conv".

    Args:
        path: of an exported graph; its weights are not read.
    """
    import onnx

    found = {}
    for node in onnx.load(str(path), load_external_data=False).graph.node:
        notes = {note.key.rpartition(".")[2]: note.value for note in node.metadata_props}
        if "name_scopes" in notes:
            # Behind the modules, the operator itself; in front of them, what we have wrapped the model in.
            *modules, _ = ast.literal_eval(notes["name_scopes"])
            found[node.name] = (modules or [""])[-1].removeprefix("model").lstrip(".")
    return found
