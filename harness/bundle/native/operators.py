"""Libraries that register operators with LibTorch, in the packages that a model file imports: a runner opens them.

Importing a package has its library register its operators (TORCH_LIBRARY, torch::RegisterOperators); in C++ opening the
library does. One that is made for Python as well (pybind11, torch/extension.h) cannot be opened without it.
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

# What a library calls that registers operators or classes (the C++ ABI's names of torch::Library, torch::class_ and
# torch::RegisterOperators).
REGISTERS = re.compile(r"_ZN(5torch(7Library|6detail10class_base|17RegisterOperators)|3c1017RegisterOperators)")
# What only a Python process has.
PYTHON = re.compile(r"_?Py[A-Z_]")
PYTHON_LIBRARIES = ("libtorch_python", "libpython")


def registers_operators(path: Path) -> bool:
    """Whether a library registers operators when it is opened."""
    return any(REGISTERS.match(name) for name in _undefined(path))


def needs_python(path: Path) -> bool:
    """Whether a library can be opened in a Python process only."""
    by_name = any(name.startswith(PYTHON_LIBRARIES) for name in needed_libraries(path))
    return by_name or any(PYTHON.match(name) for name in _undefined(path))


def _undefined(path: Path) -> list[str]:
    """The names that a library expects of others."""
    with path.open("rb") as file:
        try:
            table = ELFFile(file).get_section_by_name(".dynsym")
            if not isinstance(table, SymbolTableSection):
                return []
            return [symbol.name for symbol in table.iter_symbols() if symbol["st_shndx"] == "SHN_UNDEF"]
        except ELFError:
            return []


def of_wheels(wheels: Sequence[Wheel], imports: Iterable[str], where: str) -> list[str]:
    """Find the libraries by their paths in the wheels.

    Raises:
        BackendError: no wheel has the module, or none of its libraries registers operators without Python.
    """
    check_imports(wheels, imports, where)
    found: list[str] = []
    with work_folder() as folder:
        for name in imports:
            paths: dict[str, Path] = {}
            for number, wheel in enumerate(wheels):
                wanted = {path for path in module_files(wheel, name) if ".so" in path.rpartition("/")[2]}
                with zipfile.ZipFile(wheel.path) as archive:
                    for member in archive.namelist():
                        if (path := installed_path(member)) in wanted and path is not None:
                            paths[path] = Path(archive.extract(member, folder / str(number)))
            found += _chosen(name, paths, where)
    return list(dict.fromkeys(found))


def of_folders(find: Callable[[str], Sequence[Path]], imports: Iterable[str], where: str) -> list[str]:
    """Find the libraries of modules that are installed here, by their absolute paths.

    Args:
        find: gives the folders of a module's top-level package, or its file; none where it is not installed.

    Raises:
        BackendError: as of_wheels.
    """
    found: list[str] = []
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
        found += _chosen(name, {str(path): path for path in libraries if ".so" in path.name}, where)
    return list(dict.fromkeys(found))


def _chosen(name: str, paths: dict[str, Path], where: str) -> list[str]:
    """Pick those that register operators.

    Raises:
        BackendError: none does, or none can be opened in a C++ program.
    """
    registering = {given: path for given, path in paths.items() if registers_operators(path)}
    found = sorted(given for given, path in registering.items() if not needs_python(path))
    if found:
        return found
    reason = f"{', '.join(sorted(registering))}, which need Python" if registering else "no library that registers any"
    raise BackendError(
        f"the operators of {name} cannot be had in a C++ program",
        wanted=f"a library in the package of {name} that registers its operators (TORCH_LIBRARY), without Python's API",
        found=reason,
        where=where,
        hint="leave the backend out: --backend NAME; torchscript runs them in Python. Or build the library without "
        "Python's bindings",
    )
