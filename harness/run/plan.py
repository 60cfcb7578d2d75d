"""Planning a run: which cells it was asked for, and whether they can be had at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..backends import Backend, backend_names, load_backend
from ..cell import Cell
from ..checks.limits import Metric
from ..device import Device, load_device
from ..endpoint import endpoint_folders, named_endpoint, why_forbidden
from ..errors import BackendError, DeviceError, InputError, ModelError
from ..export import exporter_labels
from ..export.endpoint import check_request
from ..host.optional import SERVING, SIGNING, check_cloud
from ..host.suggestion import did_you_mean
from ..instructions.baseline import read_baseline
from ..measure import known_metrics
from ..model.model_file import ModelFile
from ..model.process import HostedFile, read_hosted
from ..network import named_network, network_folders
from ..parity import PARITY
from ..report.preferring import checked_preferences
from .fallback import named_fallback
from .options import Options

# What a run needs of hilgate[cloud] for an endpoint, by its kind.
NEEDED = {"sagemaker": SIGNING, "emulated": (*SERVING, *SIGNING)}


def plan_cells(options: Options) -> list[Cell]:
    """Plan every cell that was asked for, model by model and device by device, so that each is prepared once.

    Device files are read first, in milliseconds: importing a model's packages takes seconds, and each mistake is told
    alone.

    Raises:
        InputError: a model or device file is not usable.
        BackendError: a named backend does not exist, or no named device lists it.
    """
    metrics = known_metrics().values()
    backends = _read_devices(options, metrics)
    files = _read_files(dict.fromkeys(path.resolve() for path in options.models), list(metrics))
    try:
        return _plan(options, files, backends)
    except BaseException:
        close_processes(files)
        raise


def with_preferences(options: Options) -> Options:
    """Return the options with the preferred metrics checked, or the default ones.

    Raises:
        InputError: a metric is unknown, or --within is no share.
    """
    known = (*known_metrics(), PARITY.name)
    return replace(options, prefer=checked_preferences(options.prefer, options.within_percent, known))


def _read_files(paths: Iterable[Path], metrics: Sequence[Metric]) -> list[HostedFile]:
    """Read every file in a process of its own; the first one's stays, for its cells come first, the others' end."""
    files: list[HostedFile] = []
    try:
        for path in paths:
            files.append(read_hosted(path, metrics))
            close_processes(files[1:])
    except BaseException:
        close_processes(files)
        raise
    return files


def close_processes(files: Iterable[ModelFile]) -> None:
    """End the processes of model files; one that is asked later is started again."""
    for file in files:
        if isinstance(file, HostedFile):
            file.process.close()


def _read_devices(options: Options, metrics: Collection[Metric]) -> list[tuple[Device, Backend]]:
    """Return each device that was asked for with each of its backends that were."""
    devices = [load_device(name, options.device_folders, metrics) for name in dict.fromkeys(options.devices)]
    for device in devices:
        check_block(device, options.time_limit_s)
    named = [load_backend(name) for name in dict.fromkeys(options.backends)]
    return [(device, backend) for device in devices for backend in _backends_of(device, named)]


def _plan(options: Options, files: Sequence[HostedFile], backends: Sequence[tuple[Device, Backend]]) -> list[Cell]:
    for file in files:
        check_artifacts(file)
    cells = [
        _cell(file, device, backend, is_named=backend.name in options.backends, options=options)
        for file in files
        for device, backend in backends
    ]
    for name, count in Counter(cell.id for cell in cells).items():
        if count > 1:
            hint = 'give a model another name: Model(name="…")'
            where = ", ".join(dict.fromkeys(str(cell.file.path) for cell in cells if cell.id == name))
            wanted = "names that tell them apart"
            raise ModelError("two cells have one name", wanted=wanted, found=name, where=where, hint=hint)
    return cells


def _cell(file: ModelFile, device: Device, backend: Backend, *, is_named: bool, options: Options) -> Cell:
    """Make a cell; of a remote backend, unless a rule leaves it out, with its endpoint.

    Raises:
        InputError: there is no such endpoint or network, it is not usable, or the model's inputs are larger than the
            endpoint takes.
    """
    cell = Cell(
        file,
        device,
        backend,
        optional=backend.name in device.optional and not is_named,
        forbidden=why_forbidden(backend, onboard=device.rules.onboard, offline=device.rules.offline),
        is_named=is_named,
    )
    if not backend.remote or cell.is_left_out:
        return cell
    where = f"{device.path}: options.{backend.name}"
    endpoint = named_endpoint(backend.name, cell.options, endpoint_folders(options.device_folders), where)
    if endpoint.kind == "emulated":
        _check_reachable(device, f"{where}.endpoint")
    # Whatever needs them later would notice it only when a model was exported, and others measured.
    if endpoint.kind in NEEDED:
        check_cloud(f"the backend {backend.name}, whose endpoint is {endpoint.name},", NEEDED[endpoint.kind], where)
    check_request(file.model, endpoint, cell.calls, f"{where}.max_request_bytes")
    folders = network_folders(options.device_folders)
    network = named_network(cell.options, folders, where, loses_packets=device.loses_packets)
    return replace(cell, endpoint=endpoint, network=network, fallback=named_fallback(cell, where))


def _check_reachable(device: Device, where: str) -> None:
    """Refuse an emulated service for a device that is another machine and gets no way back to this one.

    Raises:
        DeviceError: with the link.
    """
    if not (device.is_this_machine or device.tunnels_back):
        raise DeviceError(
            "an emulated service is on this machine, and the device has no way back to it",
            wanted='a device with link = "local", "ssh" or "qemu"',
            found=f"{device.name}: link = {device.link!r}",
            where=where,
            hint="hilgate serve MODEL --backend NAME --bind ADDRESS, and an endpoint file with its URL (backend oip)",
        )


def check_block(device: Device, time_limit_s: float) -> None:
    """Refuse a device whose blocks of time last longer than all of the measurement may.

    Raises:
        DeviceError: with both.
    """
    if device.measure.block_ms / 1e3 > time_limit_s:
        raise DeviceError(
            "a block of time is longer than the time limit",
            wanted=f"at most --time-limit's {time_limit_s * 1e3:g} ms, and many blocks: a p99 takes 515",
            found=f"block_ms = {device.measure.block_ms:g}",
            where=f"{device.path}: measure.block_ms",
            hint="shorten it there, or give more time with --time-limit",
        )


def check_artifacts(file: ModelFile) -> None:
    """Refuse a model file that names a format or an exporter that does not exist.

    Raises:
        ModelError: with the names that exist.
    """
    model, where = file.model, f"{file.path.name}: Model(…)"
    backends = [load_backend(name) for name in backend_names()]
    formats = sorted({backend.artifact for backend in backends if not backend.remote})
    for name in model.files:
        if name not in formats:
            what = f"files has an unknown format {name!r}"
            hint = did_you_mean(name, formats)
            raise ModelError(what, wanted=", ".join(formats), found=repr(name), where=where, hint=hint)
    labels = {name: exporter_labels(name) for name in formats}
    known = [label for each in labels.values() for label in each]
    if model.exporter and model.exporter not in known:
        wanted, hint = "one of " + "; ".join(known), did_you_mean(model.exporter, known)
        raise ModelError("there is no such exporter", wanted=wanted, found=repr(model.exporter), where=where, hint=hint)
    for name in model.files:
        if model.exporter in labels[name]:
            raise ModelError(
                "exporter is of an export, and that file is given",
                found=f"exporter={model.exporter!r}, and files={{{name!r}: {model.files[name]!r}}}",
                where=where,
                hint="leave one of the two out",
            )


def _backends_of(device: Device, named: Sequence[Backend]) -> list[Backend]:
    listed = [_backend_in(device, name, "device.backends") for name in device.backends]
    # A table for a backend of that name: a misspelt one would never apply.
    for tables, key in ((device.backend_limits, "limits"), (device.options, "options")):
        for name in tables:
            _backend_in(device, name, f"{key}.{name}")
    for backend in listed:
        where = f"{device.path}: options.{backend.name}"
        backend.check_options(device.options.get(backend.name, {}), where)
    if interpreted := [backend.name for backend in listed if backend.name in device.optional and not backend.native]:
        raise BackendError(
            "a backend that is not built on this host cannot be optional",
            wanted="C++ backends: " + ", ".join(backend.name for backend in listed if backend.native),
            found=", ".join(interpreted),
            where=f"{device.path}: device.optional",
        )
    missing = [backend.name for backend in named if backend.name not in device.backends]
    if missing:
        raise BackendError(
            f"device {device.name} has no backend {', '.join(missing)}",
            wanted="one of " + ", ".join(device.backends),
            found=", ".join(missing),
            where=f"{device.path}: device.backends",
            hint="add it there, or leave --backend out to run all that are listed",
        )
    return [backend for backend in listed if backend in named] if named else listed


def _backend_in(device: Device, name: str, key: str) -> Backend:
    """Load a backend that a device's file names, there."""
    try:
        return load_backend(name)
    except BackendError as error:
        error.where = error.where or f"{device.path}: {key}"  # a plug-in that is broken is at fault itself
        raise


def check_baselines(options: Options, cells: Sequence[Cell]) -> None:
    """Refuse at the beginning what would otherwise fail only after everything was counted.

    Raises:
        InputError: a baseline cannot be read; or it is to be written, or operators to be counted, and no device counts.
    """
    counting = dict.fromkeys(cell.device.name for cell in cells if cell.device.can_count)
    asked = {"--write-baseline": options.write_baseline, "--profile": options.profile}
    for option in (name for name, given in asked.items() if given and not counting):
        raise InputError(
            f"{option} is of counted instructions, and none of the devices counts them",
            wanted="an emulated device, such as --device qemu-pi4",
            found=", ".join(dict.fromkeys(cell.device.name for cell in cells)),
        )
    for name in counting:
        read_baseline(options.root, name)
