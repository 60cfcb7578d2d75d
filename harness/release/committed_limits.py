"""The limits of each cell, made again of model and device files as they were committed.

The commit is written into a folder of its own, and the files are read there as the run reads them: device files with
what they extend, by the rule of ``harness.device.load``; the model file in a process of its own, with its folder, the
search path and the current folder leading into that copy. Every source of the repository that it loads all the same
from the working tree, as from a package that is installed from there, must be the commit's, too.

A model file that cannot be read there, because it loads what git does not keep, is read in the working tree, if that is
on the evidence's commit and clean.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..checks.limits import Limit, Metric
from ..device import Device, load_device
from ..errors import DeviceError, HilgateError
from ..evidence.schema import CellEntry, RunEntry
from ..host.shipped import DEVICES, PACKAGE
from ..host.shown_path import shown_path
from ..host.work import work_folder
from ..model.model import Closeness
from ..model.model_file import ModelFile
from ..model.process import ModelProcess, Raised
from ..model.process.hosted import declaration
from ..model.user_code import INSTALLED
from ..model.user_process import search_path
from .cell_files import file_refusals
from .checkout import check_out, loaded_sources
from .committed_baseline import baseline_refusals
from .committed_file import SHIPPED, CommittedFile, as_checked_out, path_in, refusal_of
from .policy import Policy
from .refusal import AGAIN, Refusal, each_once
from .repository import Node, NotThere, Repository, find


@dataclass(frozen=True, kw_only=True)
class CellLimits:
    """What a cell was judged by.

    Attributes:
        limits: all that the run itself had: parity's tolerance, the model's, the device's, its further ones for the
            backend.
        parity_limit: the model file's tolerance.
        device: the device as it was committed.
        closeness: the model file's tolerance, where it is one; None where it is a number.
    """

    limits: tuple[Limit, ...]
    parity_limit: float
    device: Device
    closeness: Closeness | None = None


@dataclass(kw_only=True)
class _Copy:
    """A commit, written into a folder of its own."""

    repository: Repository
    commit: str
    folder: Path
    root: Path
    node: Node
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def project(self) -> Path:
        """The project's folder in the copy."""
        return self.folder / self.root.resolve().relative_to(self.repository.top)

    def place(self, path: str) -> Path:
        """Return where a file of the evidence's is in the copy."""
        return self.folder.joinpath(*map(os.fsdecode, path_in(self.repository.top, self.root, path)))

    def mapped(self, path: Path) -> Path | None:
        """Return where a path of the working tree is in the copy; None of one that is not of the repository's."""
        whole = path.resolve()
        if not whole.is_relative_to(self.repository.top) or INSTALLED.intersection(whole.parts):
            return None
        return self.folder / whole.relative_to(self.repository.top)


def limits_of(
    root: Path,
    run: RunEntry,
    policy: Policy,
    cells: Mapping[str, CellEntry],
    files: Sequence[CommittedFile],
    *,
    metrics: Sequence[Metric],
) -> tuple[dict[str, CellLimits], list[Refusal]]:
    """Make the limits of each cell again, of committed files alone.

    Args:
        root: the project's folder, where pytest.ini is.
        run: the evidence.
        policy: the policy.
        cells: those that are to be released, by device.
        files: those of the evidence that are as they were committed.
        metrics: that limits may be set on, plug-ins' among them.

    Returns:
        The limits by device, of those of which they could be made; and why the others' could not. Where the files were
        refused already, nothing is made, and nothing said.

    Raises:
        StorageError: the cache cannot be written.
    """
    commit = (run.commit or "").partition("+")[0]
    if len(files) != len(run.files) or not any(file.kind == "model" for file in files):
        return {}, []
    try:
        with Repository.of(root) as repository, work_folder() as folder:
            copy = _Copy(
                repository=repository, commit=commit, folder=folder.resolve(), root=root, node=repository.root(commit)
            )
            replaced = {
                path_in(repository.top, root, file.path): file.content
                for file in files
                if not file.path.startswith(SHIPPED)
            }
            check_out(copy.node, copy.folder, repository.top, replaced)
            found = _limits(copy, run, policy, cells, files, metrics)
            return found, each_once(copy.refusals)
    except NotThere as error:
        return {}, [refusal_of(error, "a copy of the commit, to make the limits again,", commit)]


def _limits(
    copy: _Copy,
    run: RunEntry,
    policy: Policy,
    cells: Mapping[str, CellEntry],
    files: Sequence[CommittedFile],
    metrics: Sequence[Metric],
) -> dict[str, CellLimits]:
    devices = {name: _device(copy, run, cell, metrics) for name, cell in cells.items()}
    model = _model(copy, policy.release.model, files, metrics)
    if model is None:
        return {}
    stated = model.model.tolerance
    tolerance = Limit("parity", model.model.parity_limit, f"{model.path.name}: tolerance")
    found = dict[str, CellLimits]()
    for name, device in devices.items():
        if device is None:
            continue
        limits = (tolerance, *model.limits, *device.limits_for(cells[name].backend))
        copy.refusals += file_refusals(
            cells[name], device, model.model, limits, metrics, required=policy.evidence.require
        )
        found[name] = CellLimits(
            limits=limits,
            parity_limit=model.model.parity_limit,
            device=device,
            closeness=stated if isinstance(stated, Closeness) else None,
        )
    return found


def _device(copy: _Copy, run: RunEntry, cell: CellEntry, metrics: Sequence[Metric]) -> Device | None:
    """Load a device as it was committed, and compare its files, and what it is, with the evidence."""
    folder, name = copy.project / "devices", cell.device
    try:
        device = load_device(name, (folder, DEVICES), metrics)
    except DeviceError as error:
        text = str(error).replace(str(folder), "devices")
        copy.refusals.append(
            Refusal(f"the device {name} cannot be loaded as committed: {text}", f"mend it, and {AGAIN}")
        )
        return None
    named = {(entry.name, entry.sha256) for entry in run.files if entry.kind == "device"}
    for file in device.files:
        if (file.name, file.sha256) not in named:
            reason = f"the evidence does not name devices/{file.name}.toml, which makes the device {name} as committed"
            copy.refusals.append(Refusal(reason, AGAIN))
    copy.refusals += baseline_refusals(copy.project, run, device, cell)
    return replace(device, limits=_sourced(copy, device.limits), backend_limits=_by_backend(copy, device))


def _by_backend(copy: _Copy, device: Device) -> dict[str, tuple[Limit, ...]]:
    return {name: _sourced(copy, limits) for name, limits in device.backend_limits.items()}


def _sourced(copy: _Copy, limits: Sequence[Limit]) -> tuple[Limit, ...]:
    """Name the files of limits as the run does: where they are in the project, not in the copy."""
    here, there = shown_path(copy.project / "devices"), shown_path(copy.root.resolve() / "devices")
    return tuple(replace(limit, source=limit.source.replace(here, there, 1)) for limit in limits)


def _model(copy: _Copy, name: str, files: Sequence[CommittedFile], metrics: Sequence[Metric]) -> ModelFile | None:
    """Read the model file, and refuse what it loads that is not the commit's."""
    file = next((file for file in files if (file.kind, file.name) == ("model", name)), None)
    if file is None:
        return None
    shown = f"the model file {file.path}"
    try:
        model, loaded = _declared(copy.place(file.path), metrics, copy)
    except (HilgateError, Raised) as error:
        if not _is_clean(copy):
            reason = f"{shown} cannot be read as committed: {error}".replace(str(copy.folder), str(copy.repository.top))
            copy.refusals.append(
                Refusal(reason, "commit what it loads; or check out the evidence's commit, with a clean tree")
            )
            return None
        try:
            model, loaded = _declared(copy.root / file.path, metrics, None, copy.repository.top)
        except (HilgateError, Raised) as again:
            copy.refusals.append(Refusal(f"{shown} cannot be read: {again}", f"mend it, and {AGAIN}"))
            return None
    _refuse_uncommitted(copy, shown, loaded)
    if model.name != name:
        copy.refusals.append(Refusal(f"{shown} is of the model {model.name}, and not of {name}", AGAIN))
        return None
    if model.sha256 != file.sha256:
        copy.refusals.append(Refusal(f"{shown} was changed while it was judged", "judge it again"))
        return None
    return model


def _is_clean(copy: _Copy) -> bool:
    try:
        return copy.repository.head() == copy.commit and not copy.repository.changes()
    except NotThere:
        return False


def _declared(
    path: Path, metrics: Sequence[Metric], copy: _Copy | None, top: Path | None = None
) -> tuple[ModelFile, list[tuple[str, str]]]:
    """Read a model file in a process of its own.

    Args:
        path: the file.
        metrics: that limits may be set on.
        copy: the copy that it is in; None in the working tree.
        top: the folder of the working tree; the copy's repository knows it.

    Returns:
        What it declares, and the sources of the working tree that it has loaded.
    """
    process = ModelProcess(path)
    place = Path.cwd()
    if copy is not None:
        process.search_path = tuple(dict.fromkeys(_searched(copy)))
        places = (copy.mapped(place) or place, copy.project, copy.folder)
        place = next(each for each in places if each.is_dir())
    try:
        # The process inherits the current folder: a model file may open what lies there.
        with contextlib.chdir(place):
            declared, _ = process.ask_file(declaration, list(metrics))
            return declared, process.ask_file(loaded_sources, str(top or (copy and copy.repository.top)))
    finally:
        process.close()


def _searched(copy: _Copy) -> list[str]:
    """Return the search path with what is of the repository led into the copy; hilgate itself stays where it is."""
    paths = list[str]()
    for each in search_path():
        mapped = copy.mapped(Path(each))
        if mapped is None or (Path(each) / PACKAGE.name).resolve() == PACKAGE.resolve():
            paths.append(each)
        if mapped is not None:
            paths.append(str(mapped))
    return [*paths, str(copy.project)]


def _refuse_uncommitted(copy: _Copy, shown: str, loaded: Sequence[tuple[str, str]]) -> None:
    for path, sha256 in loaded:
        if (copy.repository.top / path).is_relative_to(copy.folder):  # a cache inside of the repository
            continue
        try:
            node = find(copy.node, tuple(os.fsencode(part) for part in Path(path).parts))
            is_same = node.is_file and as_checked_out(node.read(), sha256) is not None
        except NotThere:
            is_same = False
        if not is_same:
            reason = f"{shown} loads {path}, which is not as in commit {copy.commit[:12]}"
            copy.refusals.append(Refusal(reason, f"commit it, and {AGAIN}; or check out that commit"))
