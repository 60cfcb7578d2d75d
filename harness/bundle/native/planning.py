"""Planning the runtime of a C++ backend: its runner, and the libraries that it opens, shipped or installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from ...backends import Native
from ...device.device import Device
from ...errors import BackendError
from ...protocol import Target
from ..archive import Archive
from ..runtime import Runner, Runtime
from ..wheels import Platform, Wheel, fetch_wheels
from .building import ENGINE, PROGRAM, Sdk, check_glibc, provide_runner
from .compiler import Compiler, find_compiler
from .libraries import provide_libraries
from .operators import of_folders, of_wheels
from .packages import provide_headers

# The folder of a bundle into which archives are unpacked.
FOLDER = "runtime"


def compiler_for(device: Device, facts: Target) -> Compiler:
    """Find the compiler for a device, before anything is downloaded; see find_compiler for what it raises."""
    return find_compiler(facts.arch, board=not device.is_this_machine)


def shipped(
    device: Device,
    native: Native,
    package: str,
    wheels: Sequence[Wheel],
    compiler: Compiler,
    facts: Target,
    imports: Sequence[str] = (),
) -> Runtime:
    """Plan a runtime that is shipped: the runner, and the libraries of wheels.

    Args:
        device: the device.
        native: the backend's build recipe.
        package: the name of the package that has the runtime.
        wheels: the runtime's wheels.
        compiler: the compiler for the device.
        facts: what the board reports about itself.
        imports: modules whose libraries register operators.

    Raises:
        BackendError: the runner cannot be built, or would not run there.
        StorageError: the cache cannot be written.
    """
    wheel = next(item for item in wheels if item.name == package)
    runner = _runner(device, native, Sdk.of_wheel(wheel), compiler, facts)
    library = native.library_in(wheel.version)
    operators = of_wheels(wheels, imports, f"{device.path}: runtime.packages")
    opened = (*filter(None, [native.opened]), *operators) if operators else native.opened
    libraries = provide_libraries(wheels, library, compiler.tool("strip"), opened)
    sent: Mapping[str, Any] = libraries.described["libraries"]
    # The runtime's own are opened first: a library of operators does not know where they lie.
    own = [path for path in sent if operators and path.rpartition("/")[0] == library.rpartition("/")[0]]
    described = {
        "runner": _described(runner),
        "libraries": {"sha256": libraries.sha256, **libraries.described},
        "wheels": [{"name": wheel.name, "version": wheel.version, "file": wheel.path.name, "sha256": wheel.sha256}],
    }
    if operators:
        described["operators"] = operators
    return Runtime(
        described=described,
        packages={wheel.name: wheel.version},
        archives=(libraries, runner),
        wheels=tuple((item.path, item.sha256) for item in wheels),
        runner=_paths(f"{FOLDER}/{library}"),
        libraries=frozenset(sent),
        operators=tuple(f"{FOLDER}/{path}" for path in (*own, *operators)),
    )


def installed(device: Device, native: Native, package: str, facts: Target, imports: Sequence[str] = ()) -> Runtime:
    """Plan a runtime that is installed: a runner for the libraries of a package on the device.

    Args:
        device: the device.
        native: the backend's build recipe.
        package: the name of the package that has the runtime.
        facts: what the board reports about itself.
        imports: modules whose libraries register operators.

    Raises:
        BackendError: the runner cannot be built or would not run there; or there is no wheel with the headers of the
            installed version.
        StorageError: the cache cannot be written.
    """
    compiler = compiler_for(device, facts)
    version, folder = facts.packages[package], facts.folders[package]
    if device.is_this_machine:
        sdk = Sdk.installed(Path(folder), package, version)
    else:
        requirement = f"{package}=={version.partition('+')[0]}"
        platform = Platform(facts.python, facts.arch, facts.libc)
        where = f"{package} {version} in {facts.executable} on {device.name}"
        wheels = fetch_wheels([requirement], [requirement], platform, where=where)
        sdk = Sdk.of_wheel(next(item for item in wheels if item.name == package))
    runner = _runner(device, native, sdk, compiler, facts)
    described = {"runner": _described(runner), "packages": {package: version}}
    library = f"{folder}/{native.library_in(version)}"
    operators = _installed_operators(device, imports, facts)
    # The runtime's own is opened first, by its path: a library of operators does not know where it lies.
    stub = [f"{library.rpartition('/')[0]}/{native.stub}"] if operators and native.stub else []
    opened = (*stub, *operators)
    return Runtime(
        described=described, packages={package: version}, archives=(runner,), runner=_paths(library), operators=opened
    )


def _installed_operators(device: Device, imports: Sequence[str], facts: Target) -> list[str]:
    """Find the libraries that register the operators of modules on a device, and return their paths there.

    The host cannot see a board's files: it looks into the wheel of the same version instead.

    Raises:
        BackendError: the module is not installed, or none of its libraries can be opened without Python.
    """
    where = f"{facts.executable} on {device.name}"
    if device.is_this_machine:
        return of_folders(_module_places, imports, where)
    paths: list[str] = []
    for name in imports:
        package = canonicalize_name(name.partition(".")[0])
        if package not in facts.packages:
            raise BackendError(
                f"there is no package of the module {name}, which the model file imports for its operators",
                wanted=f"{package} installed there",
                found="not installed",
                where=where,
                hint="install it there; or have the runtime shipped, where it is found by what is in its wheels",
            )
        requirement = f"{package}=={facts.packages[package].partition('+')[0]}"
        platform = Platform(facts.python, facts.arch, facts.libc)
        wheels = fetch_wheels([requirement], [requirement], platform, where=where)
        folder = facts.folders[package]
        paths += [f"{folder}/{path}" for path in of_wheels(wheels, [name], where)]
    return paths


def _module_places(name: str) -> list[Path]:
    """Find a module of this environment without importing it: return a package's folders, or the module's file."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(folder) for folder in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin else []


def _runner(device: Device, native: Native, sdk: Sdk, compiler: Compiler, facts: Target) -> Archive:
    headers = provide_headers(onnxruntime=not native.includes)
    runner = provide_runner(native, sdk, headers, compiler)
    check_glibc(runner, facts.arch, facts.libc, f"{device.name} ({device.path})")
    return runner


def _described(runner: Archive) -> dict[str, Any]:
    return {"sha256": runner.sha256, "bytes": runner.bytes, **runner.described}


def _paths(library: str) -> Runner:
    return Runner(f"{FOLDER}/{PROGRAM}", f"{FOLDER}/{ENGINE}", library)
