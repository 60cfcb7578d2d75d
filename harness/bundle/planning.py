"""Planning the runtime of a bundle: wheels that are shipped, or an environment that is already there, looked at."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from packaging.utils import canonicalize_name

from ..backends import Backend, load_backend
from ..device.device import Device
from ..errors import BackendError
from ..host.suggestion import nearest
from ..protocol import Target
from .archive import Archive
from .bytecode import compile_wheel, same_bytecode
from .imports import check_imports
from .native import planning as native
from .runtime import Runtime
from .wheels import Platform, fetch_wheels


def plan_runtime(
    device: Device,
    backend: Backend,
    facts: Target,
    imports: Sequence[str] = (),
) -> Runtime:
    """The runtime for a backend on a device.

    Args:
        facts: what the board was found to be.
        imports: what the model file imports for its operators; of no concern to a backend that has none.

    Raises:
        BackendError: the environment lacks a package, the device file does not pin one, or there is no wheel for the
            board.
        StorageError: the host's cache cannot be written.
    """
    imports = tuple(imports) if backend.operators else ()
    if device.runtime.packages:
        return _shipped(device, backend, facts, imports)
    return _found(device, backend, facts, imports)


def _found(device: Device, backend: Backend, facts: Target, imports: tuple[str, ...]) -> Runtime:
    packages: Mapping[str, str] = facts.packages
    missing = _missing(backend, packages)
    if missing:
        raise BackendError(
            f"backend {backend.name} cannot run on {device.name}",
            wanted="installed there: " + ", ".join(backend.packages),
            found="not installed: " + ", ".join(missing),
            where=f"{facts.executable} on {device.name} ({device.path})",
            hint=f"install {' '.join(backend.packages)} in the device's environment, have it shipped "
            '(runtime.packages = ["NAME==VERSION", …]), or take the backend off its list',
        )
    if backend.native is not None:
        return native.installed(device, backend.native, _own(backend, packages)[0], facts, imports)
    return Runtime({"python": facts.python, "packages": dict(packages)}, packages, operators=imports)


def _own(backend: Backend, there: Collection[str]) -> list[str]:
    """What a backend needs, by the names under which it is there."""
    return [name for names in backend.providers for name in names if name in there]


def _missing(backend: Backend, there: Collection[str]) -> list[str]:
    """What a backend needs and is not there, with the names that would do as well."""
    return [
        f"{names[0]} (or {', '.join(names[1:])})" if names[1:] else names[0]
        for names in backend.providers
        if not any(name in there for name in names)
    ]


def _shipped(device: Device, backend: Backend, facts: Target, imports: tuple[str, ...]) -> Runtime:
    pins: dict[str, str] = {canonicalize_name(pin.partition("==")[0]): pin for pin in device.runtime.packages}
    where = f"{device.path}: runtime.packages"
    missing = _missing(backend, pins)
    if missing:
        first = missing[0].partition(" ")[0]
        near = nearest(first, pins)
        raise BackendError(
            f"backend {backend.name} cannot run on {device.name}",
            wanted="pinned: " + ", ".join(backend.packages),
            found=f"not pinned: {', '.join(missing)}; pinned: {', '.join(device.runtime.packages)}",
            where=where,
            hint=f"is {pins[near]} misspelt?"
            if near is not None
            else f'add "{first}==VERSION" there, or take the backend off the device\'s list',
        )
    own = _own(backend, pins)
    # What no backend of this device asks for is the model's: a library of operators, say.
    claimed = {name for other in device.backends for names in load_backend(other).providers for name in names}
    model = [name for name in pins if name not in claimed] if backend.native is None or imports else []
    needed = [pins[name] for name in (*own, *model)]
    compiler = native.compiler_for(device, facts) if backend.native is not None else None
    platform = Platform(facts.python, facts.arch, facts.libc)
    wheels = fetch_wheels(needed, list(device.runtime.packages), platform, where=where)
    if backend.native is not None and compiler is not None:
        return native.shipped(device, backend.native, own[0], wheels, compiler, facts, imports)
    check_imports(wheels, imports, where)
    compiled = [compile_wheel(wheel) if same_bytecode(facts.python) else None for wheel in wheels]
    # Each with its byte code behind it: what comes later replaces what came before.
    archives = list[Archive]()
    for wheel, code in zip(wheels, compiled, strict=True):
        archives.append(Archive(wheel.path, wheel.sha256, wheel.bytes, wheel.unpacked_bytes))
        archives += [code] if code is not None else []
    described: dict[str, Any] = {
        "python": facts.python,
        "wheels": [
            {"name": one.name, "version": one.version, "file": one.path.name, "sha256": one.sha256, "bytes": one.bytes}
            for one in wheels
        ],
    }
    if bytecode := [one.sha256 for one in compiled if one is not None]:
        described["bytecode"] = bytecode
    files = tuple((wheel.path, wheel.sha256) for wheel in wheels)
    packages = {wheel.name: wheel.version for wheel in wheels}
    return Runtime(described, packages, tuple(archives), files, operators=imports)
