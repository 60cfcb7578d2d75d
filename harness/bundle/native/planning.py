"""The runtime of a C++ backend: its runner, and the libraries that it opens, shipped or there already."""

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

# Where a bundle has what was unpacked.
FOLDER = "runtime"
# Beside LibTorch's own, with no code in it: whatever is built against torch names it.
STUB = "libtorch.so"


def compiler_for(device: Device, facts: Target) -> Compiler:
    """The compiler for a device: looked for before anything is downloaded.

    Raises: as find_compiler.
    """
    return find_compiler(facts.arch, board=device.link != "local")


def shipped(
    device: Device,
    native: Native,
    package: str,
    wheels: Sequence[Wheel],
    compiler: Compiler,
    facts: Target,
    imports: Sequence[str] = (),
) -> Runtime:
    """A runner, and the libraries of wheels; with those that register the operators of some modules.

    Raises:
        BackendError: it cannot be built, or would not run there.
        StorageError: the cache cannot be written.
    """
    wheel = next(one for one in wheels if one.name == package)
    runner = _runner(device, native, Sdk.of_wheel(wheel), compiler, facts)
    library = native.library_in(wheel.version)
    operators = of_wheels(wheels, imports, f"{device.path}: runtime.packages")
    opened = (*filter(None, [native.opened]), *operators) if operators else native.opened
    libraries = provide_libraries(wheels, library, compiler.tool("strip"), opened)
    sent: Mapping[str, Any] = libraries.described["libraries"]
    # The runtime's own first: a library of operators does not know where they lie.
    own = [path for path in sent if operators and path.rpartition("/")[0] == library.rpartition("/")[0]]
    described = {
        "runner": _described(runner),
        "libraries": {"sha256": libraries.sha256, **libraries.described},
        "wheels": [{"name": wheel.name, "version": wheel.version, "file": wheel.path.name, "sha256": wheel.sha256}],
    }
    if operators:
        described["operators"] = operators
    return Runtime(
        described,
        {wheel.name: wheel.version},
        (libraries, runner),
        tuple((one.path, one.sha256) for one in wheels),
        _paths(f"{FOLDER}/{library}"),
        frozenset(sent),
        tuple(f"{FOLDER}/{path}" for path in (*own, *operators)),
    )


def installed(device: Device, native: Native, package: str, facts: Target, imports: Sequence[str] = ()) -> Runtime:
    """A runner for the libraries of a package that is installed on the device.

    Raises: as shipped; and BackendError: there is no wheel with the headers of that version.
    """
    compiler = compiler_for(device, facts)
    version, folder = facts.packages[package], facts.folders[package]
    if device.link == "local":
        sdk = Sdk.installed(Path(folder), package, version)
    else:
        requirement = f"{package}=={version.partition('+')[0]}"
        platform = Platform(facts.python, facts.arch, facts.libc)
        where = f"{package} {version} in {facts.executable} on {device.name}"
        wheels = fetch_wheels([requirement], [requirement], platform, where=where)
        sdk = Sdk.of_wheel(next(one for one in wheels if one.name == package))
    runner = _runner(device, native, sdk, compiler, facts)
    described = {"runner": _described(runner), "packages": {package: version}}
    library = f"{folder}/{native.library_in(version)}"
    operators = _installed_operators(device, imports, facts)
    # The runtime's own first, by its own path: a library of operators does not know where it lies.
    stub = f"{library.rpartition('/')[0]}/{STUB}"
    opened = (*([stub] if operators else []), *operators)
    return Runtime(described, {package: version}, (runner,), runner=_paths(library), operators=opened)


def _installed_operators(device: Device, imports: Sequence[str], facts: Target) -> list[str]:
    """Find the libraries of modules that are installed on a device, by their paths there.

    Of a board's the host sees no file: the wheel of the same version tells which they are.

    Raises:
        BackendError: there is no such module, or none of its libraries can be opened without Python.
    """
    where = f"{facts.executable} on {device.name}"
    if device.link == "local":
        return of_folders(_module_places, imports, where)
    found: list[str] = []
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
        found += [f"{folder}/{path}" for path in of_wheels(wheels, [name], where)]
    return found


def _module_places(name: str) -> list[Path]:
    """Where a module of this machine's environment lies: a package's folders, or its file. It is not imported."""
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
