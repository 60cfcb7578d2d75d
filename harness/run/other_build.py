"""The build that ``--against`` names: read and refused before anything is exported, and its artifact.

It is a model file, such as a worktree's, whose model is exported like this one's; or an evidence.json, whose artifacts
the cache of exports may still have. Both builds get this one's inputs, so what these are must be declared alike.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..cell import Cell
from ..errors import InputError
from ..evidence.reading import read_evidence
from ..evidence.schema import ArtifactFacts, CellEntry, RunEntry
from ..export import Artifact, export_artifact, find_artifact
from ..measure import known_metrics
from ..model.dimension import declared_dims
from ..model.imported import imported_from, tree_of
from ..model.input_spec import Input
from ..model.model import Model
from ..model.process import HostedFile, build_hosted, read_hosted
from .options import Options
from .plan import check_artifacts, close_processes

OPTION = "--against"
GIVEN = "a file that the model file gives"
# Evidence is told from a model file, which is Python, by the end of its name.
EVIDENCE = ".json"


@dataclass(kw_only=True)
class OtherBuild:
    """The other build.

    Attributes:
        path: what the option names.
        tree: the repository or worktree that this run's model file is in; None where it is in none.
        file: the model file; None of an evidence.json.
        artifacts: those of an evidence.json, by this run's backends' names.
        described: what an evidence.json says of each, for the evidence of this run.
    """

    path: Path
    tree: Path | None = None
    file: HostedFile | None = None
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    _exported: dict[str, Artifact] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The path as a person may write it."""
        try:
            return os.path.relpath(self.path)
        except OSError:  # the current folder is gone
            return str(self.path)

    def artifact(self, cell: Cell) -> Artifact:
        """Return the artifact to compare a cell's with: from the cache, or exported now.

        Raises:
            InputError: the other model cannot be built, or is built of this run's own code.
            ExportError: no exporter takes it.
            StorageError: the cache cannot be written.
        """
        if self.file is None:
            return self.artifacts[cell.backend.name]
        name = cell.backend.artifact
        if name not in self._exported:
            try:
                built = build_hosted(self.file)
                _refuse_borrowed(self.file, self.tree)  # some import where they build
                self._exported[name] = export_artifact(built, name)
            finally:
                self.close()  # this run's own model is in memory, too
        return self._exported[name]

    def close(self) -> None:
        """End the process of the model file; it is started again where it is asked."""
        close_processes([self.file] if self.file is not None else [])


def read_other_build(options: Options, cells: Sequence[Cell]) -> OtherBuild | None:
    """Read what ``--against`` names; None where it names nothing.

    Raises:
        InputError: it cannot be compared with what this run is to measure, and why.
    """
    path = options.against
    if path is None:
        return None
    cells = [cell for cell in cells if not cell.backend.remote]  # an endpoint serves one build
    if not cells:
        raise InputError(
            f"{OPTION} compares builds that are put on the device, and none of the backends is there",
            wanted="a backend that runs on the device",
            found="backends that call another computer only",
            hint="run the tests against each build by itself, and compare the reports",
        )
    _check_cells(cells)
    if not path.is_file():
        raise InputError(
            f"{OPTION} names nothing to compare with",
            wanted="a model file, or the evidence.json of a run",
            found="a folder" if path.is_dir() else "no such file",
            where=str(path),
            hint="git worktree add ../old COMMIT, and name the model file there",
        )
    path = path.resolve()
    if path.suffix == EVIDENCE:
        return _of_evidence(path, cells)
    if path == cells[0].file.path:
        raise InputError(
            f"{OPTION} names the model itself",
            wanted="another build's model file",
            found="the same file as --model",
            where=str(path),
            hint="git worktree add ../old COMMIT, and name the model file there; to try it out, name a copy",
        )
    return _of_file(path, cells)


def _check_cells(cells: Sequence[Cell]) -> None:
    """Refuse a run that cannot be compared with one build, or not by time."""
    if len(files := {cell.file.path for cell in cells}) > 1:
        raise InputError(
            f"{OPTION} compares one model with one other build",
            wanted="one --model",
            found=", ".join(sorted(path.name for path in files)),
            hint=f"run it once for each, with its own {OPTION}",
        )
    if emulated := dict.fromkeys(cell.device.name for cell in cells if cell.device.emulated):
        raise InputError(
            f"{OPTION} compares times, and an emulated CPU's clock says nothing about a board",
            wanted="a device that is not emulated",
            found=", ".join(emulated),
            hint="instructions have their baseline there: --write-baseline (docs/instructions.md)",
        )


def _of_file(path: Path, cells: Sequence[Cell]) -> OtherBuild:
    file, tree = read_hosted(path, list(known_metrics().values())), tree_of(cells[0].file.path)
    try:
        check_artifacts(file)
        _refuse_borrowed(file, tree)
        formats = {cell.backend.artifact for cell in cells}
        for what, this, other in differences(cells[0].file.model, file.model, formats):
            raise InputError(
                f"the other build is declared otherwise, and would not be given the same work: {what}",
                wanted=f"{this}, as in {cells[0].file.path}",
                found=other,
                where=str(path),
                hint="declare both alike; what does other work is no slower or faster build of the same",
            )
    finally:
        file.process.close()
    return OtherBuild(path=path, tree=tree, file=file)


def _refuse_borrowed(file: HostedFile, tree: Path | None) -> None:
    """Refuse a worktree's model file that imports modules of this run's tree: the build would be compared with itself.

    So it is where the tree is installed editable, or is on PYTHONPATH.
    """
    if tree is not None and (borrowed := file.ask(imported_from, str(tree))):
        name, path = next(iter(borrowed.items()))
        raise InputError(
            "the other build's model file imports this build's code, and would be compared with itself",
            wanted=f"modules of {tree_of(file.path)}",
            found=f"{name}: {path}" + f", and {len(borrowed) - 1} more" * (len(borrowed) > 1),
            where=str(file.path),
            hint=f"run the other tree by itself, in an environment of its own, and name its evidence: {OPTION} "
            "…/build/hil/evidence.json",
        )


def differences(this: Model, other: Model, formats: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Yield what two models declare differently of what is run and of what exports it, as (what, this, other).

    Args:
        this: the model that is judged, whose inputs both builds get.
        other: the model to compare it with.
        formats: the export formats of this run.
    """
    names = [[item.name for item in model.inputs] for model in (this, other)]
    if names[0] != names[1]:
        yield "inputs", ", ".join(names[0]), ", ".join(names[1])
        return
    for mine, theirs in zip(this.inputs, other.inputs, strict=True):
        for each in fields(Input):
            values = getattr(mine, each.name), getattr(theirs, each.name)
            if values[0] != values[1]:
                yield f"{each.name} of input {mine.name!r}", repr(values[0]), repr(values[1])
    declared: dict[str, tuple[Any, Any]] = {
        "dims": (declared_dims(this.dims), declared_dims(other.dims)),
        "measure": (this.described_sizes, other.described_sizes),
        "exporter": (this.exporter, other.exporter),
        "imports": (list(this.imports), list(other.imports)),
    }
    for what, values in declared.items():
        if values[0] != values[1]:
            yield what, repr(values[0]), repr(values[1])
    for name in sorted(formats):
        sources = [GIVEN if name in model.files else "an export" for model in (this, other)]
        if sources[0] != sources[1]:
            yield f"where its {name} comes from", sources[0], sources[1]


def _of_evidence(path: Path, cells: Sequence[Cell]) -> OtherBuild:
    run = read_evidence(path).run
    other = OtherBuild(path=path)
    for cell in cells:
        entry, facts = _chosen(run, cell, path)
        _check_entry(entry, facts, cell, path)
        artifact = find_artifact(facts.sha256, cell.backend.artifact)
        if artifact is None:
            raise InputError(
                "the cache no longer has the artifact of the other build",
                wanted=f"the {cell.backend.artifact} of {entry.model}, SHA-256 {facts.sha256}",
                found="no export of that hash",
                where=str(path),
                hint=_how_to_make(run.commit),
            )
        other.artifacts[cell.backend.name] = artifact
        other.described[cell.backend.name] = {
            "model": entry.model,
            "device": entry.device,
            "commit": run.commit,
            "started": run.started,
        }
    return other


def _chosen(run: RunEntry, cell: Cell, path: Path) -> tuple[CellEntry, ArtifactFacts]:
    """Choose the evidence's cell of the same backend: that of the same model and device, where there are several."""
    found = [(entry, entry.artifact) for entry in run.cells if entry.backend == cell.backend.name and entry.artifact]
    for key, wanted in (("model", cell.file.name), ("device", cell.device.name)):
        found = [each for each in found if getattr(each[0], key) == wanted] or found
    if len({facts.sha256 for _, facts in found}) == 1:
        return found[0]
    has = [f"{entry.model} on {entry.device}, {entry.backend}" for entry in run.cells if entry.artifact]
    raise InputError(
        f"the evidence has {'several artifacts' if found else 'no artifact'} to compare {cell.id} with",
        wanted=f"one of backend {cell.backend.name}",
        found="; ".join(has) or "no cell with an artifact",
        where=str(path),
        hint=f"name its model file in place of the evidence{'' if found else ', or choose a --backend that it has'}",
    )


def _check_entry(entry: CellEntry, facts: ArtifactFacts, cell: Cell, path: Path) -> None:
    """Refuse an artifact of other sizes or of another exporter, as far as that is known before this one is exported."""
    model = cell.file.model
    mine, theirs = model.described_sizes, {**entry.measure}
    exporter = "given" if cell.backend.artifact in model.files else model.exporter
    for what, wanted, found in (("measure", mine, theirs), ("exporter", exporter, facts.exporter)):
        if wanted != found and (wanted or what == "measure"):
            raise InputError(
                f"the other build was measured otherwise, and would not be given the same work: {what}",
                wanted=f"{wanted!r}, as in {cell.file.path}",
                found=repr(found),
                where=f"{path}: {entry.model}, {entry.device}, {entry.backend}",
                hint="compare with a build that is declared alike",
            )


def _how_to_make(commit: str | None) -> str:
    named = (commit or "COMMIT").removesuffix("+changes")
    lacks = " (without the changes that were not committed)" if commit and commit.endswith("+changes") else ""
    return f"export it again: git worktree add ../old {named}{lacks}, and name its model file: {OPTION} ../old/…"
