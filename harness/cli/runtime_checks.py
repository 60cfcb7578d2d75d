"""The checks of `hilgate doctor` on runtimes: whether each backend has its packages, or wheels that can be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..backends import load_backend
from ..bundle.planning import plan_runtime
from ..device.device import Device
from ..errors import BuildError, HilgateError
from ..isa.wheel_scans import scan_wheels
from ..protocol import BoardFacts
from .doctor_check import OK, SKIPPED, WARNING, Check, failed
from .text import progress_lines, size


def names(device: Device) -> list[str]:
    """List the checks' names, one for each backend of the device."""
    return [f"runtime of {backend}" for backend in device.backends]


def runtimes(device: Device, facts: BoardFacts, *, offline: bool) -> Iterator[Check]:
    """Check the runtime of each backend.

    Args:
        device: the device.
        facts: what its board is.
        offline: skip what may have to download wheels; otherwise they are downloaded into the cache.
    """
    for name, backend in zip(names(device), device.backends, strict=True):
        try:
            yield _runtime(device, backend, name, facts, offline)
        except HilgateError as error:
            check = failed(name, error)
            if isinstance(error, BuildError) and backend in device.optional:
                check = replace(
                    check, mark=WARNING, found=f"{check.found}\na run leaves it out, unless --backend names it"
                )
            yield check


def _runtime(device: Device, backend_name: str, name: str, facts: BoardFacts, offline: bool) -> Check:
    backend = load_backend(backend_name)
    backend.check_options(device.options.get(backend_name, {}), f"{device.path}: options.{backend_name}")
    if (device.runtime.packages or backend.native) and offline:
        return Check(name, SKIPPED, "skipped: --offline; what it is made from may have to be downloaded")
    with progress_lines("    {} …", err=True):
        runtime = plan_runtime(device, backend, facts)
    packages = [name for names in backend.providers for name in names if name in runtime.packages]
    text = ", ".join(f"{name} {runtime.packages[name]}" for name in packages)
    if runtime.archives:
        if warnings := scan_wheels(runtime.wheels, facts, runtime.packages, only=runtime.libraries).warnings:
            hint = f"another version of the package in {device.path}: runtime.packages"
            return Check(name, WARNING, "\n".join([text, *warnings]), hint)
        return Check(name, OK, f"{text}: {size(sum(archive.bytes for archive in runtime.archives))}, sent once")
    return Check(name, OK, f"{text}, installed there")
