"""Planning the runtime of a bundle: wheels that are shipped, or an environment that is installed on the device."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
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
from .trimming import describe_trimmed, trim_wheel
from .wheels import Platform, Wheel, fetch_wheels


def plan_runtime(
    device: Device,
    backend: Backend,
    facts: Target,
    imports: Sequence[str] = (),
    fallback: Backend | None = None,
) -> Runtime:
    """Plan the runtime of a backend on a device.

    Args:
        device: the device.
        backend: the backend.
        facts: what the board reports about itself.
        imports: modules that the model file imports for their operators; ignored for a backend without operators.
        fallback: the backend that answers on the device where calls of a remote one fail: both need their packages.

    Raises:
        BackendError: the environment lacks a package, the device file does not pin one, or there is no wheel for the
            board.
        StorageError: the host's cache cannot be written.
    """
    is_here = not backend.remote or fallback is not None  # else the model is elsewhere, and so is what it needs
    backend = _joined(backend, fallback) if fallback is not None else backend
    imports = tuple(imports) if backend.operators else ()
    if device.runtime.packages:
        return _shipped(device, backend, facts, imports, is_here=is_here)
    return _installed(device, backend, facts, imports)


def _joined(backend: Backend, fallback: Backend) -> Backend:
    """Return a remote backend that needs what its fallback needs, too."""
    further = (names for names in fallback.providers if names not in backend.providers)
    return replace(
        backend,
        name=f"{backend.name} with the fallback {fallback.name}",
        providers=(*backend.providers, *further),
        operators=fallback.operators,
    )


def _installed(device: Device, backend: Backend, facts: Target, imports: tuple[str, ...]) -> Runtime:
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
    return Runtime(described={"python": facts.python, "packages": dict(packages)}, packages=packages, operators=imports)


def _own(backend: Backend, present: Collection[str]) -> list[str]:
    """List the packages that a backend needs, by the names under which they are installed."""
    return [name for names in backend.providers for name in names if name in present]


def _missing(backend: Backend, present: Collection[str]) -> list[str]:
    """List the packages that a backend needs and that are missing, with their alternative names."""
    return [
        f"{names[0]} (or {', '.join(names[1:])})" if names[1:] else names[0]
        for names in backend.providers
        if not any(name in present for name in names)
    ]


def _shipped(device: Device, backend: Backend, facts: Target, imports: tuple[str, ...], *, is_here: bool) -> Runtime:
    pins: dict[str, str] = {canonicalize_name(pin.partition("==")[0]): pin for pin in device.runtime.packages}
    where = f"{device.path}: runtime.packages"
    _check_pins(device, backend, pins, where)
    own = _own(backend, pins)
    # Pins that no backend of this device needs are for the model, such as a library of operators.
    claimed = {name for other in device.backends for names in load_backend(other).providers for name in names}
    model = [name for name in pins if name not in claimed] if is_here and (backend.native is None or imports) else []
    needed = [pins[name] for name in (*own, *model)]
    compiler = native.compiler_for(device, facts) if backend.native is not None else None
    platform = Platform(facts.python, facts.arch, facts.libc)
    wheels = fetch_wheels(needed, list(device.runtime.packages), platform, where=where)
    if backend.native is not None and compiler is not None:
        return native.shipped(device, backend.native, own[0], wheels, compiler, facts, imports)
    check_imports(wheels, imports, where)
    return _python_runtime(wheels, facts.python, imports, is_trimmed=backend.remote)


def _check_pins(device: Device, backend: Backend, pins: Mapping[str, str], where: str) -> None:
    """Refuse a device file that does not pin all packages of a backend.

    Args:
        device: the device.
        backend: the backend.
        pins: "NAME==VERSION" by normalised name.
        where: the key of the device file, for errors.

    Raises:
        BackendError: names the packages.
    """
    missing = _missing(backend, pins)
    if not missing:
        return
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


def _python_runtime(
    wheels: Sequence[Wheel], python: str, imports: tuple[str, ...], *, is_trimmed: bool = False
) -> Runtime:
    """Make the runtime of a backend in Python from its wheels, each with its byte code.

    Args:
        wheels: the wheels.
        python: the device's version.
        imports: modules that are imported for their operators.
        is_trimmed: whether only what a client of another computer uses is sent of a wheel; see trimming.
    """
    compiled = [compile_wheel(wheel) if same_bytecode(python) else None for wheel in wheels]
    trimmed = [trim_wheel(wheel) if is_trimmed else None for wheel in wheels]
    # Each wheel is followed by its byte code: later archives replace files of earlier ones.
    archives = list[Archive]()
    for wheel, part, code in zip(wheels, trimmed, compiled, strict=True):
        archives.append(
            part
            or Archive(source=wheel.path, sha256=wheel.sha256, bytes=wheel.bytes, unpacked_bytes=wheel.unpacked_bytes)
        )
        archives += [code] if code is not None else []
    described: dict[str, Any] = {"python": python, "wheels": [_described(wheel) for wheel in wheels]}
    if parts := [describe_trimmed(part) for part in trimmed if part is not None]:
        described["trimmed"] = parts
    if bytecode := [code.sha256 for code in compiled if code is not None]:
        described["bytecode"] = bytecode
    return Runtime(
        described=described,
        packages={wheel.name: wheel.version for wheel in wheels},
        archives=tuple(archives),
        wheels=tuple((wheel.path, wheel.sha256) for wheel in wheels),
        operators=imports,
    )


def _described(wheel: Wheel) -> dict[str, Any]:
    return {
        "name": wheel.name,
        "version": wheel.version,
        "file": wheel.path.name,
        "sha256": wheel.sha256,
        "bytes": wheel.bytes,
    }
