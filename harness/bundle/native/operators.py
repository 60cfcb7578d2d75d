"""The libraries that register operators with LibTorch, in the packages that a model file imports; a runner opens them.

In Python the import of a package registers its operators (TORCH_LIBRARY, torch::RegisterOperators); in C++ it suffices
to open its library. A library that also has Python bindings (pybind11, torch/extension.h) cannot be opened without
Python.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from ...agent.unpack import installed_path
from ...errors import BackendError
from ...host.work import work_folder
from ..imports import check_imports, module_files
from ..wheels import Wheel
from .libraries import needed_libraries

# Symbols that a library uses to register operators or classes: the mangled names of torch::Library, torch::class_ and
# torch::RegisterOperators.
REGISTERS = re.compile(r"_ZN(5torch(7Library|6detail10class_base|17RegisterOperators)|3c1017RegisterOperators)")
# Symbols that only a Python process has.
PYTHON = re.compile(r"_?Py[A-Z_]")
PYTHON_LIBRARIES = ("libtorch_python", "libpython")


def registers_operators(path: Path) -> bool:
    """Return whether a library registers operators when it is opened."""
    return any(REGISTERS.match(name) for name in _undefined(path))


def needs_python(path: Path) -> bool:
    """Return whether a library can only be opened in a Python process."""
    by_name = any(name.startswith(PYTHON_LIBRARIES) for name in needed_libraries(path))
    return by_name or any(PYTHON.match(name) for name in _undefined(path))


def _undefined(path: Path) -> list[str]:
    """List the symbols that a library expects from others."""
    with path.open("rb") as file:
        try:
            table = ELFFile(file).get_section_by_name(".dynsym")
            if not isinstance(table, SymbolTableSection):
                return []
            return [symbol.name for symbol in table.iter_symbols() if symbol["st_shndx"] == "SHN_UNDEF"]
        except ELFError:
            return []


def of_wheels(wheels: Sequence[Wheel], imports: Iterable[str], where: str) -> list[str]:
    """Find the libraries of modules in wheels, and return their installed paths.

    Args:
        wheels: the runtime's.
        imports: the modules' names.
        where: the device, for errors.

    Raises:
        BackendError: no wheel has the module, or none of its libraries registers operators without Python.
    """
    check_imports(wheels, imports, where)
    chosen: list[str] = []
    with work_folder() as folder:
        for name in imports:
            paths: dict[str, Path] = {}
            for number, wheel in enumerate(wheels):
                libraries = {path for path in module_files(wheel, name) if ".so" in path.rpartition("/")[2]}
                with zipfile.ZipFile(wheel.path) as archive:
                    for member in archive.namelist():
                        if (path := installed_path(member)) in libraries and path is not None:
                            paths[path] = Path(archive.extract(member, folder / str(number)))
            chosen += _chosen(name, paths, where)
    return list(dict.fromkeys(chosen))


def of_folders(find: Callable[[str], Sequence[Path]], imports: Iterable[str], where: str) -> list[str]:
    """Find the libraries of modules that are installed on this machine, and return their absolute paths.

    Args:
        find: returns the folders of a module's top-level package, or its file; empty where it is not installed.
        imports: the modules' names.
        where: the environment, for errors.

    Raises:
        BackendError: as of_wheels.
    """
    chosen: list[str] = []
    for name in imports:
        places = find(name.partition(".")[0])
        if not places:
            raise BackendError(
                f"there is no module {name}, which the model file imports for its operators",
                wanted=f"{name} installed",
                found="no such module",
                where=where,
                hint="install its package there, in the version that fits torch",
            )
        libraries = [path for place in places for path in (place.rglob("*.so*") if place.is_dir() else [place])]
        chosen += _chosen(name, {str(path): path for path in libraries if ".so" in path.name}, where)
    return list(dict.fromkeys(chosen))


def _chosen(name: str, paths: dict[str, Path], where: str) -> list[str]:
    """Select the libraries that register operators without Python.

    Args:
        name: the module's, for errors.
        paths: files by the paths to return.
        where: the device, for errors.

    Raises:
        BackendError: none registers operators, or none can be opened in a C++ program.
    """
    registering = {given: path for given, path in paths.items() if registers_operators(path)}
    usable = sorted(given for given, path in registering.items() if not needs_python(path))
    if usable:
        return usable
    reason = f"{', '.join(sorted(registering))}, which need Python" if registering else "no library that registers any"
    raise BackendError(
        f"the operators of {name} cannot be had in a C++ program",
        wanted=f"a library in the package of {name} that registers its operators (TORCH_LIBRARY), without Python's API",
        found=reason,
        where=where,
        hint="leave the backend out: --backend NAME; torchscript runs them in Python. Or build the library without "
        "Python's bindings",
    )
