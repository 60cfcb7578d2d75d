"""hilgate lock: plan the runtime of every device and backend as a run does, and record the files that this took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..backends import load_backend
from ..board import examine_board
from ..bundle.lock_file import FILE, Lock, Locked, lock_text, read_lock, recording
from ..bundle.planning import plan_runtime
from ..device.device import Device
from ..emulator.image import find_image
from ..errors import DeviceError, EmulatorError, InputError, StorageError
from ..host.cache import write_atomically
from ..protocol import Target
from .project import Project
from .text import progress_lines, say


def write_lock(project: Project, names: Sequence[str], backends: Sequence[str]) -> Iterator[str]:
    """Write a project's lock file; yield lines about what has changed, and where it is.

    Args:
        project: the project.
        names: of devices; none: all of the project's.
        backends: none: all that each device has.

    Raises:
        DeviceError: there is no such device, no device at all, or none with such a backend.
        LinkError: a device cannot be reached.
        BackendError: what it needs cannot be had.
        StorageError: the file cannot be written; nothing has changed then.
        InputError: only some are asked for, and the file that is there cannot be read.
    """
    path = project.folder.parent / FILE
    narrowed = bool(names or backends)
    before = _before(project, narrowed=narrowed)
    locked = list[Locked]()
    for device, chosen in _chosen(project, names, backends):
        say(f"{device.name}: {', '.join(chosen)}")
        with recording() as recorded:
            _plan(device, chosen)
        locked += recorded
    if narrowed and before is not None:
        new = {(entry.target, entry.name) for entry in locked}
        locked += [entry for entry in before.packages if (entry.target, entry.name) not in new]
    try:
        write_atomically(path, lock_text(locked))
    except StorageError as error:
        hint = "have its folder writable, with room in it; or name another project's folder: hilgate --devices DIR lock"
        raise StorageError(f"{FILE} cannot be written", found=error.found, where=str(path), hint=hint) from error
    yield from _changes(before, locked)
    yield f"{len(set(locked))} files are locked in {path}"
    if not locked:
        yield "nothing is shipped to these devices, and nothing built for them: what they run is installed there"


def _before(project: Project, *, narrowed: bool) -> Lock | None:
    """Read the lock file that is there; a damaged one counts as none where all of it is written again."""
    try:
        return read_lock(project.folder.parent / FILE)
    except InputError:
        if narrowed:
            raise
        return None


def _chosen(project: Project, names: Sequence[str], backends: Sequence[str]) -> list[tuple[Device, list[str]]]:
    listed = list(names) or sorted(path.stem for path in project.folder.glob("*.toml"))
    if not listed:
        what, hint = "the project has no device", "hilgate add NAME; or name one that hilgate brings: --device NAME"
        raise DeviceError(what, wanted="a device's file, NAME.toml", where=str(project.folder), hint=hint)
    for name in backends:
        load_backend(name)  # misspelt, it is said as such
    devices = [project.device(name) for name in listed]
    chosen = [(device, [name for name in device.backends if not backends or name in backends]) for device in devices]
    if not any(found for _, found in chosen):
        there = "; ".join(f"{device.name} has {', '.join(device.backends)}" for device in devices)
        raise DeviceError("no device has such a backend", wanted=", ".join(backends), found=there)
    return [(device, found) for device, found in chosen if found]


def _plan(device: Device, backends: Sequence[str]) -> None:
    facts = _facts(device)
    for name in backends:
        with progress_lines("    {}"):
            plan_runtime(device, load_backend(name), facts)


def _facts(device: Device) -> Target:
    if not device.emulated:
        with examine_board(device) as board:
            return board.facts
    image = find_image()
    if image is None:
        what, hint = f"the image of {device.name} is not built", f"hilgate image build {device.name}"
        raise EmulatorError(what, wanted="its Python and C library, which wheels must fit", hint=hint)
    return image.facts


def _changes(before: Lock | None, taken: Sequence[Locked]) -> Iterator[str]:
    """Yield a line for each file that is locked no longer, or newly."""
    if before is None:
        return
    old, new = set(before.packages), set(taken)
    for sign, files in (("-", old - new), ("+", new - old)):
        for entry in sorted(files):
            yield f"{sign} {entry.target}  {entry.file}  sha256 {entry.sha256[:16]}"
    if old == new:
        yield "nothing has changed"
