"""Artifacts that return what the original keeps to itself, run by the device."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...agent.frames import ITEM_SIZES
from ...errors import AgentFailure
from ...export import UNKEYED, Artifact, ArtifactFile
from ...export.onnx import DATA, FILE
from ...host.cache import file_sha256, link_or_copy, storage_errors
from ...model.inputs import Arrays
from ...model.model import Array
from .graph import Graph
from .location import Clock

if TYPE_CHECKING:
    import onnx

# Deploys another artifact of the same format on the cell's device, with its backend and options; returns the outputs by
# name for each set of inputs. Raises AgentFailure where the backend refuses the artifact or an input.
Probe = Callable[[Artifact, Sequence[Arrays]], list[dict[str, Array]]]

# Most bytes of inner values per artifact and input set, beside the model's outputs; a first reply is always allowed
# that much (SLACK of harness.protocol.asked).
CHUNK_BYTES = 128 << 20
# Weights of a larger artifact are kept apart from the graph.
APART_ABOVE = 32 << 20
# A value whose shape cannot be inferred is taken for one of this size.
UNKNOWN_BYTES = 1 << 20

Values = dict[str, Array]


@contextmanager
def work_folder(artifact: Artifact) -> Iterator[Path]:
    """Make a folder beside the artifact, so that its weights need only be linked.

    What a killed run leaves there is removed by a later one.
    """
    with (
        storage_errors(artifact.folder.parent),
        tempfile.TemporaryDirectory(prefix=UNKEYED, dir=artifact.folder.parent) as folder,
    ):
        yield Path(folder)


def weights_apart(artifact: Artifact, folder: Path) -> Artifact:
    """Write a large artifact's weights into a file of their own: they are sent to the device only once.

    Returns:
        The new artifact; the same one where it is small, or has such a file already.
    """
    import onnx

    if len(artifact.files) > 1 or artifact.bytes <= APART_ABOVE:
        return artifact
    proto = onnx.load(str(artifact.folder / artifact.files[0].name))
    onnx.external_data_helper.convert_model_to_external_data(proto, location=DATA)
    with storage_errors(folder):
        onnx.save(proto, str(folder / FILE))
    paths = [folder / FILE, folder / DATA]
    files = tuple(ArtifactFile(path.name, file_sha256(path), path.stat().st_size) for path in paths)
    return replace(artifact, folder=folder, files=files, cached=False)


class Prober:
    """Asks the device for values of a graph.

    Args:
        folder: where artifacts are made; one is removed before the next.
        arrays: inputs by which shapes are told.
    """

    def __init__(self, graph: Graph, probe: Probe, *, clock: Clock, folder: Path, arrays: Arrays) -> None:
        self.graph = graph
        self.probe = probe
        self.clock = clock
        self.folder = folder
        self._types = graph.types(arrays)
        self._count = 0

    def inner_values(self, values: Sequence[str], sets: Sequence[Arrays]) -> tuple[list[Values], list[list[Values]]]:
        """Ask the device for inner values of the graph, beside the model's own outputs.

        Returns:
            For each set of inputs the values, and the model's outputs of each probe artifact that was needed for them.

        Raises:
            AgentFailure: the backend refuses.
            Unlocated: the time is up.
        """
        wanted = [name for name in values if name not in self.graph.outputs and self.is_sendable(name)]
        found: list[Values] = [{} for _ in sets]
        outputs: list[list[Values]] = [[] for _ in sets]
        for chunk in self._chunks(wanted) or [[]]:
            for index, answer in enumerate(self._run([*self.graph.outputs, *chunk], sets)):
                found[index] |= answer
                outputs[index].append({name: answer[name] for name in self.graph.outputs})
        return found, outputs

    def ending_in(self, values: Sequence[str], sets: Sequence[Arrays]) -> list[Values] | None:
        """Ask the device for values of a graph that ends there, which allows other optimizations; None if refused."""
        try:
            return self._run(values, sets)
        except AgentFailure:
            return None

    def _run(self, outputs: Sequence[str], sets: Sequence[Arrays]) -> list[Values]:
        self.clock.check(f"the device ran artifact {self._count + 1} for it")
        self._count += 1
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            return self.probe(with_outputs(self.graph, outputs, self._types, Path(folder)), sets)

    def _chunks(self, values: Sequence[str]) -> list[list[str]]:
        chunks: list[list[str]] = []
        room = 0
        for name in values:
            size = self.bytes(name)
            if size > room or not chunks:
                chunks.append([])
                room = CHUNK_BYTES
            chunks[-1].append(name)
            room -= size
        return chunks

    def is_sendable(self, name: str) -> bool:
        """Tell whether a device can send a value: no sequence, of a type that a frame holds, or of unknown type."""
        import onnx

        kind = self._types.get(name)
        if kind is None or not (kind.HasField("tensor_type") and kind.tensor_type.elem_type):
            return kind is None or kind.HasField("tensor_type")
        return onnx.helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type).name in ITEM_SIZES

    def dtype(self, name: str, default: np.dtype[Any]) -> np.dtype[Any]:
        """Return a value's type as the graph has it, or a default where that is not known."""
        import onnx

        kind = self._types.get(name)
        if kind is None or not (kind.HasField("tensor_type") and kind.tensor_type.elem_type):
            return default
        result: np.dtype[Any] = onnx.helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)
        return result

    def bytes(self, name: str) -> int:
        """Count the bytes of a value on the inputs by which shapes are inferred; a guess where they cannot be."""
        import onnx

        if name not in self._types:
            return UNKNOWN_BYTES
        tensor = self._types[name].tensor_type
        dims = tensor.shape.dim
        if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in dims):
            return UNKNOWN_BYTES
        item = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize if tensor.elem_type else 4
        count: int = math.prod(dim.dim_value for dim in dims)
        return count * int(item)


def with_outputs(graph: Graph, outputs: Collection[str], types: Mapping[str, onnx.TypeProto], folder: Path) -> Artifact:
    """Write the artifact of a graph with other outputs, without the nodes that they do not need.

    Only the graph is written; weights in files of their own are linked, and not hashed again.

    Args:
        graph: the exported one.
        outputs: the names of its values that are to be returned.
        types: of values, where they are known; the sizes in them are those of one input, and are left out.
        folder: for the artifact.
    """
    proto = _ending_in(graph, outputs, types)
    first, *others = graph.artifact.files
    path = folder / first.name
    with storage_errors(folder):
        path.write_bytes(proto.SerializeToString())
    for file in others:
        link_or_copy(graph.artifact.folder / file.name, folder / file.name)
    made = ArtifactFile(first.name, file_sha256(path), path.stat().st_size)
    return replace(graph.artifact, folder=folder, files=(made, *others), cached=False, warnings=())


def _ending_in(graph: Graph, outputs: Collection[str], types: Mapping[str, onnx.TypeProto]) -> onnx.ModelProto:
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    originals = {item.name: item for item in graph.proto.graph.output}
    del proto.graph.output[:]
    for name in outputs:
        info = originals.get(name) or onnx.ValueInfoProto(name=name)
        if name not in originals and (kind := types.get(name)) is not None:
            info.type.CopyFrom(kind)
            if kind.HasField("tensor_type"):
                info.type.tensor_type.ClearField("shape")
        proto.graph.output.append(info)
    nodes = graph.ancestors(outputs)
    del proto.graph.node[:]
    proto.graph.node.extend(graph.nodes[index] for index in nodes)
    needed = {*outputs, *(name for index in nodes for name in graph.needs[index])}
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(item for item in graph.proto.graph.initializer if item.name in needed)
    return proto
