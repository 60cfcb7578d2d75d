"""The user's files that decided what a run did, and by which limits, as the evidence names them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from ..bundle.lock_file import FILE, current_lock
from ..cell import Cell
from ..device.device import DeviceFile
from ..endpoint import EndpointFile
from ..evidence.schema import FileEntry
from ..host.cache import file_sha256
from ..host.shipped import DEVICES, ENDPOINTS, NETWORKS
from ..instructions.baseline import read_baseline
from ..network import NetworkFile
from .options import Options

# What the path of one of hilgate's own device files begins with: another installation has it elsewhere.
SHIPPED = "hilgate:"


def describe_files(options: Options, cells: Sequence[Cell]) -> list[FileEntry]:
    """Describe the files of a run: models; devices, endpoints, networks with what they extend; lock file, baselines.

    The hashes are of what was read, not of what lies there later. Of the code that a model file imports, and of the
    weights that it loads, the cells' ``model_sha256`` is the hash.

    Raises:
        InputError: the lock file or a baseline cannot be read.
    """
    return list({(entry.kind, entry.path): entry for entry in _entries(options, cells)}.values())


def _entries(options: Options, cells: Sequence[Cell]) -> Iterator[FileEntry]:
    root = options.root
    for cell in cells:
        file = cell.file
        sha256 = file.sha256 or file_sha256(file.path)  # "" where the user's code has its own way to read sources
        yield FileEntry(kind="model", name=file.name, path=_relative(file.path, root), sha256=sha256)
    for cell in cells:
        for each in cell.device.files:
            path = _own_path(each, DEVICES, root / "devices", root)
            yield FileEntry(kind="device", name=each.name, path=path, sha256=each.sha256)
    yield from _called(cells, root)
    if (lock := current_lock()) is not None:
        yield FileEntry(kind="lock", name=FILE, path=_relative(lock.path, root), sha256=lock.sha256)
    # One that is about to be written limits nothing.
    counting = [] if options.write_baseline else [cell.device.name for cell in cells if cell.device.can_count]
    for name in counting:
        if (baseline := read_baseline(root, name)) is not None:
            path = _relative(baseline.path, root)
            yield FileEntry(kind="baseline", name=name, path=path, sha256=baseline.sha256)


def _called(cells: Sequence[Cell], root: Path) -> Iterator[FileEntry]:
    """Describe the files of endpoints, and those of the networks on the way there."""
    for cell in cells:
        for called in cell.endpoint.files if cell.endpoint is not None else ():
            path = _own_path(called, ENDPOINTS, root / "endpoints", root)
            yield FileEntry(kind="endpoint", name=called.name, path=path, sha256=called.sha256)
        for shaped in cell.network.all_files if cell.network is not None else ():
            path = _own_path(shaped, NETWORKS, root / "networks", root)
            yield FileEntry(kind="network", name=shaped.name, path=path, sha256=shaped.sha256)


def _own_path(file: DeviceFile | EndpointFile | NetworkFile, shipped: Path, projects: Path, root: Path) -> str:
    """Name a file of a device, endpoint or network; in a clone of hilgate, its own project, they are the project's.

    Args:
        file: the file.
        shipped: hilgate's own folder of such files.
        projects: the project's.
        root: the project's folder.
    """
    if file.path.parent == shipped.resolve() != projects.resolve():
        return f"{SHIPPED}{file.name}"
    return _relative(file.path, root)


def _relative(path: Path, root: Path) -> str:
    """Write a path relative to the project's folder; ".." leads out of it, as to a model beside it in one repository.

    Links are resolved, for a repository has the file and not what a link leads to.
    """
    return PurePath(os.path.relpath(path.resolve(), root.resolve())).as_posix()
