"""The runtime of a C++ backend: its runner, and the libraries that it opens, shipped or there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...backends import Native
from ...device import Device
from ..archive import Archive
from ..runtime import Runner, Runtime
from ..wheels import Platform, Wheel, fetch_wheels
from .building import ENGINE, PROGRAM, Sdk, check_glibc, provide_runner
from .compiler import Compiler, find_compiler
from .libraries import provide_libraries
from .packages import Say, provide_headers

# Where a bundle has what was unpacked.
FOLDER = "runtime"


def compiler_for(device: Device, facts: Mapping[str, Any], say: Say) -> Compiler:
    """The compiler for a device: looked for before anything is downloaded.

    Raises: as find_compiler.
    """
    return find_compiler(facts["arch"], say, board=device.link != "local")


def shipped(
    device: Device,
    native: Native,
    package: str,
    wheels: Sequence[Wheel],
    compiler: Compiler,
    facts: Mapping[str, Any],
    say: Say,
) -> Runtime:
    """A runner, and the libraries of wheels.

    Raises:
        BackendError: it cannot be built, or would not run there.
        StorageError: the cache cannot be written.
    """
    wheel = next(one for one in wheels if one.name == package)
    runner = _runner(device, native, Sdk.of_wheel(wheel), compiler, facts, say)
    library = native.library_in(wheel.version)
    libraries = provide_libraries(wheels, library, compiler.tool("strip"), native.opened)
    described = {
        "runner": _described(runner),
        "libraries": {"sha256": libraries.sha256, **libraries.described},
        "wheels": [{"name": wheel.name, "version": wheel.version, "file": wheel.path.name, "sha256": wheel.sha256}],
    }
    return Runtime(
        described,
        {wheel.name: wheel.version},
        (libraries, runner),
        tuple((one.path, one.sha256) for one in wheels),
        _paths(f"{FOLDER}/{library}"),
        frozenset(libraries.described["libraries"]),
    )


def installed(device: Device, native: Native, package: str, facts: Mapping[str, Any], say: Say) -> Runtime:
    """A runner for the libraries of a package that is installed on the device.

    Raises: as shipped; and BackendError: there is no wheel with the headers of that version.
    """
    compiler = compiler_for(device, facts, say)
    version, folder = facts["packages"][package], facts["folders"][package]
    if device.link == "local":
        sdk = Sdk.installed(Path(folder), package, version)
    else:
        requirement = f"{package}=={version.partition('+')[0]}"
        platform = Platform(facts["python"], facts["arch"], facts["libc"])
        where = f"{package} {version} in {facts['executable']} on {device.name}"
        wheels = fetch_wheels([requirement], [requirement], platform, where=where, say=say)
        sdk = Sdk.of_wheel(next(one for one in wheels if one.name == package))
    runner = _runner(device, native, sdk, compiler, facts, say)
    described = {"runner": _described(runner), "packages": {package: version}}
    return Runtime(described, {package: version}, (runner,), runner=_paths(f"{folder}/{native.library_in(version)}"))


def _runner(
    device: Device, native: Native, sdk: Sdk, compiler: Compiler, facts: Mapping[str, Any], say: Say
) -> Archive:
    headers = provide_headers(say, onnxruntime=not native.includes)
    runner = provide_runner(native, sdk, headers, compiler, say)
    check_glibc(runner, facts["arch"], facts["libc"], f"{device.name} ({device.path})")
    return runner


def _described(runner: Archive) -> dict[str, Any]:
    return {"sha256": runner.sha256, "bytes": runner.bytes, **runner.described}


def _paths(library: str) -> Runner:
    return Runner(f"{FOLDER}/{PROGRAM}", f"{FOLDER}/{ENGINE}", library)
