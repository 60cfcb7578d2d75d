"""Fault localization in a TorchScript module: it is traced again, with what its submodules give as further outputs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from ..replay.torchscript import optimized
from .bisection import bisect_first
from .location import OPTIMIZER, RUNTIME, TORCHSCRIPT, Location, Unlocated
from .match import Suspect
from .module_outputs import HELD_BYTES, Call, Points, points_of
from .modules import Modules
from .operators import off_values
from .probe import work_folder
from .record import recorded, tensors
from .scopes import WRAPPED
from .task import Task

if TYPE_CHECKING:
    import torch


def find_fault(task: Task) -> Location:
    """Find the module at which a backend leaves the reference.

    Raises:
        Unlocated: there is no such place to be found; or the module is scripted: it has no trace.
    """
    if is_scripted(task.built.module):
        raise Unlocated("the module is scripted already: it cannot be traced anew, with more outputs")
    modules = task.modules()
    with work_folder(task.artifact) as folder:
        case = TraceCase.prepare(task, modules, folder)
        try:
            return _location(case, _first_off(case))
        except AgentFailure as error:
            raise Unlocated(f"the backend refuses: {error.found or error}") from error


@dataclass(frozen=True, kw_only=True)
class TraceCase:
    """A trace, the model that it was made of, and inputs on which the two disagree.

    Attributes:
        folder: where further traces are made.
        sets: the failing inputs that are looked at.
        points: what each module should give on each of them: as many as sets, and at least one.
        calls: of the first set's calls those that a trace has.
        missing: the modules of those that it has not: the example takes another way through the model.
    """

    task: Task
    modules: Modules
    folder: Path
    sets: Sequence[Arrays]
    points: Sequence[Points]
    calls: Sequence[Call]
    missing: Sequence[str]
    _probed: list[Path] = field(default_factory=list)

    @classmethod
    def prepare(cls, task: Task, modules: Modules, folder: Path) -> TraceCase:
        """Run the model on the failing inputs, and on the example from which a trace is made."""
        points = points_of(modules, task.sets)
        built = modules.built
        (example,) = prepared(built.file, [uniform_set(built.model, traced_sizes(built.model), seed=0)])
        traced, _ = modules.forms(example)
        return cls(
            task=task,
            modules=modules,
            folder=folder,
            sets=task.sets[: len(points)],
            points=points,
            calls=[call for call in points[0].calls if all(name in traced for name in call.names)],
            missing=[call.module for call in points[0].calls if call.names[0] not in traced],
        )

    def probe(self, names: Sequence[str]) -> list[dict[str, Array]]:
        """Trace the model with some outputs of its modules as its own, and run that on the device.

        Args:
            names: of the outputs, as ``record`` has them.

        Returns:
            The values by these names, for each set of inputs.
        """
        number = len(self._probed) + 1
        self.task.clock.check(f"the device ran artifact {number} for it")
        folder = self.folder / str(number)
        folder.mkdir()
        self._probed.append(folder)
        built = self.modules.built
        returned = [f"value_{index}" for index in range(len(names))]
        with _no_warnings():
            # Built anew, as for the export: the model has run, and may hold a table of another input's size.
            module = call_build(built.model, str(built.file.path))
            file = trace_named(_returning(module, names), built.model, folder, returned)
        path = folder / file
        made = ArtifactFile(file, file_sha256(path), path.stat().st_size)
        artifact = self.task.artifact
        probed = Artifact(folder=folder, format=artifact.format, files=(made,), exporter=artifact.exporter, warnings=())
        answers = self.task.probe(probed, self.sets)
        path.unlink()
        return [{name: answer[key] for name, key in zip(names, returned, strict=True)} for answer in answers]


def _first_off(case: TraceCase) -> Suspect:
    """Find the first call that is off on the device.

    As many outputs are kept at once as there is room for. Where keeping them makes the answer right, one module's at a
    time is kept, by bisection.

    Raises:
        Unlocated: on the device the answers are right now.
    """
    for chosen in _groups(case):
        if (suspect := _off(case, chosen)) is not None:
            return suspect
    suspects: dict[int, Suspect] = {}

    def is_off(count: int) -> bool:
        if (suspect := _off(case, [count - 1])) is not None:
            suspects[count] = suspect
        return suspect is not None

    if not is_off(len(case.calls)):
        raise Unlocated("on the device the answers are right now, with or without intermediate values")
    return suspects[bisect_first(is_off, len(case.calls))]


def _groups(case: TraceCase) -> Iterator[list[int]]:
    """Group the calls' numbers, in order, so many at a time as there is room for their outputs."""
    group: list[int] = []
    left = HELD_BYTES // len(case.sets)
    for index, call in enumerate(case.calls):
        size = case.points[0].bytes(call)
        if group and size > left:
            yield group
            group, left = [], HELD_BYTES // len(case.sets)
        group.append(index)
        left -= size
    if group:
        yield group


def _off(case: TraceCase, chosen: Sequence[int]) -> Suspect | None:
    """Find the first of these calls that is off on the device, when they are all that a trace returns."""
    answers = case.probe([name for index in chosen for name in case.calls[index].names])
    for index in chosen:
        for number, values in enumerate(answers):
            suspect = _off_output(case.points[number], number, case.calls[index], values)
            if suspect is not None:
                return suspect
    return None


def _off_output(points: Points, number: int, like: Call, values: dict[str, Array]) -> Suspect | None:
    """Find the first output of a call that is off on one set of inputs.

    Args:
        points: what the modules should give on the set.
        number: the set's.
        like: the call, as the model makes it on the first set.
        values: what the device gave, by the names of ``record``.
    """
    if (call := points.call(like)) is None:
        return None
    for expected in call.outputs:
        if (answer := values.get(expected.name)) is not None:
            difference = points.difference(expected, answer)
            if points.is_off(difference):
                return Suspect(
                    inputs=number,
                    call=call,
                    expected=expected,
                    value=expected.name,
                    difference=difference,
                    answer=answer,
                )
    return None


def _location(case: TraceCase, suspect: Suspect) -> Location:
    """Say where a suspect is, and who is at fault."""
    fault, why = _blame(case, suspect.inputs)
    name = suspect.call.module
    found, eager, exact = off_values(suspect)
    leaf = int(suspect.value.rpartition(":")[2])
    return Location(
        module=name,
        node="",
        operator=_operators(_artifact_path(case), name),
        output=name or case.modules.built.outputs[leaf],
        index=suspect.difference.index,
        found=found,
        eager=eager,
        exact=exact,
        ratio=suspect.difference.ratio,
        fault=fault,
        explanation=why,
    )


def _blame(case: TraceCase, number: int) -> tuple[str, str]:
    """Return (fault, why), by what the same artifact gives in this process on one set of inputs."""
    if _is_off_here(case, number, "none"):
        texts = [text.partition(". ")[0] for text in case.task.artifact.warnings if "TracerWarning" in text]
        warned = "".join(f"; the exporter warned: {text}" for text in texts)
        if case.missing:
            warned += f"; it has no {', '.join(case.missing)}, which the model calls on this input"
        return TORCHSCRIPT, f"on this host the trace is off too, without optimizations: it keeps what it saw{warned}"
    optimize = case.task.optimize
    if optimize != "none" and _is_off_here(case, number, optimize):
        return OPTIMIZER, f"on this host the trace is right, and wrong after torch.jit.{optimize}"
    return RUNTIME, "on this host the same file is right"


def _is_off_here(case: TraceCase, number: int, optimize: str) -> bool:
    """Tell whether the artifact is off on this host, too."""
    import torch

    case.task.clock.check("running the artifact on this host")
    points = case.points[number]
    with torch.no_grad(), one_thread(), _no_warnings():
        module = optimized(torch.jit.load(_artifact_path(case)).eval(), optimize)  # type: ignore[no-untyped-call]
        answer = module(*tensors(points.arrays))
    leaves = [leaf.numpy() for _, leaf in flatten(answer)]
    root = points.calls[-1]
    pairs = zip(root.outputs, leaves, strict=True)
    return any(points.is_off(points.difference(expected, leaf)) for expected, leaf in pairs)


def _artifact_path(case: TraceCase) -> str:
    artifact = case.task.artifact
    return str(artifact.folder / artifact.files[0].name)


def _operators(path: str, name: str) -> str:
    """Name the operators of a module's own trace, where they are few; "" elsewhere.

    Args:
        path: of the artifact.
        name: of the module.
    """
    import torch

    with _no_warnings():
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
def _no_warnings() -> Iterator[None]:
    """Silence warnings: the exporter's were shown when the model was exported, the others are torch's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_scripted(module: torch.nn.Module) -> bool:
    """Tell whether a module is TorchScript already, when it is built."""
    import torch

    return isinstance(module, torch.jit.ScriptModule)


def _returning(module: torch.nn.Module, names: Sequence[str]) -> torch.nn.Module:
    """Wrap a module so that it returns what is recorded under these names."""
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
