"""Locating in a TorchScript module: it is traced again, with what its submodules give as further outputs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...agent.structure import flatten
from ...errors import AgentFailure
from ...export import Artifact, ArtifactFile
from ...export.torchscript import trace_named
from ...host.cache import file_sha256
from ...model.build import call_build, one_thread
from ...model.inputs import Arrays, traced_sizes, uniform_set
from ...model.model import Array
from ...model.prepare import prepared
from ..replay_program import optimized
from .likeness import off_values
from .location import OPTIMIZER, RUNTIME, TORCHSCRIPT, Clock, Location, Unlocated
from .matching import Suspect
from .onnx import first
from .points import HELD_BYTES, Call, Modules, points_of
from .probing import Probe
from .recording import recorded, tensors
from .scopes import WRAPPED

if TYPE_CHECKING:
    import torch


@dataclass
class ScriptLocating:
    """One run of it.

    Args:
        sets: the failing inputs.
        folder: where artifacts are made.
        optimize: what the backend does to a module when it loads it.
    """

    modules: Modules
    artifact: Artifact
    probe: Probe
    sets: Sequence[Arrays]
    clock: Clock
    folder: Path
    optimize: str

    def __post_init__(self) -> None:
        self.points = points_of(self.modules, self.sets)
        self.sets = self.sets[: len(self.points)]
        # A trace has the calls that are made on its example's inputs.
        built = self.modules.built
        (example,) = prepared(built.file, [uniform_set(built.model, traced_sizes(built.model), seed=0)])
        traced, _ = self.modules.forms(example)
        self.missing = [call.module for call in self.points[0].calls if call.names[0] not in traced]
        self.calls = [call for call in self.points[0].calls if all(name in traced for name in call.names)]
        self._count = 0

    def run(self) -> Location:
        """The place.

        Raises:
            Unlocated: there is none to be found.
        """
        try:
            return self._located(self._first_off())
        except AgentFailure as error:
            raise Unlocated(f"the backend refuses: {error.found or error}") from error

    def _first_off(self) -> Suspect:
        """With as many kept as there is room for; where that makes it right, one module's at a time, by halves."""
        for chosen in self._groups():
            if (suspect := self._off(chosen)) is not None:
                return suspect
        found: dict[int, Suspect] = {}

        def is_off(count: int) -> bool:
            if (suspect := self._off([count - 1])) is not None:
                found[count] = suspect
            return suspect is not None

        if not is_off(len(self.calls)):
            raise Unlocated("on the device the answers are right now, with or without intermediate values")
        return found[first(is_off, len(self.calls))]

    def _groups(self) -> Iterator[list[int]]:
        """The calls, in order, so many at a time as there is room for."""
        group: list[int] = []
        left = HELD_BYTES // len(self.sets)
        for index, call in enumerate(self.calls):
            size = self.points[0].bytes(call)
            if group and size > left:
                yield group
                group, left = [], HELD_BYTES // len(self.sets)
            group.append(index)
            left -= size
        if group:
            yield group

    def _off(self, chosen: Sequence[int]) -> Suspect | None:
        """The first of these calls that is off on the device, when they are all that a trace returns."""
        names = [name for index in chosen for name in self.calls[index].names]
        answers = self._run(names)
        for index in chosen:
            for number, values in enumerate(answers):
                suspect = self._of_call(number, self.calls[index], values)
                if suspect is not None:
                    return suspect
        return None

    def _of_call(self, number: int, like: Call, values: dict[str, Array]) -> Suspect | None:
        """Its first output that is off on one set of inputs."""
        points = self.points[number]
        if (call := points.call(like)) is None:
            return None
        for expected in call.outputs:
            if (answer := values.get(expected.name)) is not None:
                difference = points.difference(expected, answer)
                if points.is_off(difference):
                    return Suspect(number, call, expected, expected.name, difference, answer)
        return None

    def _run(self, names: Sequence[str]) -> list[dict[str, Array]]:
        self.clock.check(f"the device ran artifact {self._count + 1} for it")
        self._count += 1
        folder = self.folder / str(self._count)
        folder.mkdir()
        built = self.modules.built
        returned = [f"value_{index}" for index in range(len(names))]
        with _undisturbed():
            # Built anew, as for the export: the model has run, and may hold a table of another input's size.
            module = call_build(built.model, str(built.file.path))
            file = trace_named(_returning(module, names), built.model, folder, returned)
        path = folder / file
        made = ArtifactFile(file, file_sha256(path), path.stat().st_size)
        artifact = Artifact(
            folder=folder, format=self.artifact.format, files=(made,), exporter=self.artifact.exporter, warnings=()
        )
        answers = self.probe(artifact, self.sets)
        path.unlink()
        return [{name: answer[key] for name, key in zip(names, returned, strict=True)} for answer in answers]

    def _located(self, suspect: Suspect) -> Location:
        fault, why = self._whose(suspect.inputs)
        name = suspect.call.module
        found, eager, exact = off_values(suspect)
        ratio, index = suspect.difference.ratio, suspect.difference.index
        leaf = int(suspect.value.rpartition(":")[2])
        operator, output = self._operators(name), name or self.modules.built.outputs[leaf]
        return Location(name, "", operator, output, index, found, eager, exact, ratio, fault, why)

    def _whose(self, number: int) -> tuple[str, str]:
        """By what the same artifact gives in this process."""
        if self._is_off_here(number, "none"):
            texts = [text.partition(". ")[0] for text in self.artifact.warnings if "TracerWarning" in text]
            warned = "".join(f"; the exporter warned: {text}" for text in texts)
            warned += (
                f"; it has no {', '.join(self.missing)}, which the model calls on this input" if self.missing else ""
            )
            return (
                TORCHSCRIPT,
                f"on this host the trace is off too, without optimizations: it keeps what it saw{warned}",
            )
        if self.optimize != "none" and self._is_off_here(number, self.optimize):
            return OPTIMIZER, f"on this host the trace is right, and wrong after torch.jit.{self.optimize}"
        return RUNTIME, "on this host the same file is right"

    def _is_off_here(self, number: int, optimize: str) -> bool:
        import torch

        path = str(self.artifact.folder / self.artifact.files[0].name)
        self.clock.check("running the artifact on this host")
        points = self.points[number]
        with torch.no_grad(), one_thread(), _undisturbed():
            module = optimized(torch.jit.load(path).eval(), optimize)  # type: ignore[no-untyped-call]
            answer = module(*tensors(points.arrays))
        leaves = [leaf.numpy() for _, leaf in flatten(answer)]
        root = points.calls[-1]
        pairs = zip(root.outputs, leaves, strict=True)
        return any(points.is_off(points.difference(expected, leaf)) for expected, leaf in pairs)

    def _operators(self, name: str) -> str:
        """Those of the module's own trace, where they are few."""
        import torch

        path = str(self.artifact.folder / self.artifact.files[0].name)
        with _undisturbed():
            part: Any = torch.jit.load(path)  # type: ignore[no-untyped-call]
        if name and not hasattr(part, name.partition(".")[0]):
            part = getattr(part, WRAPPED, None)  # its outputs were laid flat
        for step in filter(None, name.split(".")):
            part = getattr(part, step, None)
        if part is None:
            return ""
        kinds = dict.fromkeys(node.kind() for node in part.graph.nodes() if node.kind().startswith("aten::"))
        return ", ".join(kinds) if 0 < len(kinds) <= 3 else ""


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A block without warnings: the exporter's were said when the model was exported, the others are torch's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_scripted(module: torch.nn.Module) -> bool:
    """Whether it is TorchScript already, when it is built."""
    import torch

    return isinstance(module, torch.jit.ScriptModule)


def _returning(module: torch.nn.Module, names: Sequence[str]) -> torch.nn.Module:
    """A module that returns what is recorded under these names."""
    import torch

    class Returning(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, *inputs: Any) -> Any:
            with recorded(self.model) as record:
                self.model(*inputs)
            return tuple(record[name] for name in names)

    return Returning().eval()
