"""CMake and Ninja from their Python packages, found beside the running Python whatever the PATH is."""

from __future__ import annotations

import importlib
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...host.cache import storage_errors
from .compiler import Compiler
from .tool import run

# Variables that are removed from the environment, with all named CMAKE_…: they are for the user's own programs.
NOT_OURS = (
    "COMPILER_PATH",
    "CPATH",
    "CPLUS_INCLUDE_PATH",
    "CPPFLAGS",
    "CXXFLAGS",
    "GCC_EXEC_PREFIX",
    "LDFLAGS",
    "LIBRARY_PATH",
)


def cmake_build(
    source: Path,
    build: Path,
    compiler: Compiler,
    settings: Mapping[str, str],
    what: str,
    more: Sequence[str] = (),
    folders: Sequence[Path] = (),
) -> None:
    """Configure and build all targets.

    Args:
        source: the folder with CMakeLists.txt.
        build: the folder to build in.
        compiler: the compiler.
        settings: CMake's variables beside those for the compiler.
        what: what cannot be done where the build fails, for errors.
        more: further arguments of CMake.
        folders: folders of headers, whose paths on this machine must not be in the result.

    Raises:
        BuildError: it does not build; with the compiler's messages.
        StorageError: the disk is full.
    """
    # The result must contain no path of this machine, so that the same sources give the same file anywhere.
    hidden = [build, source, *folders, *([compiler.sysroot] if compiler.sysroot else [])]
    flags = [*compiler.flags, *(f"-ffile-prefix-map={folder}=." for folder in hidden)]
    variables = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CXX_COMPILER": compiler.program,
        # A path may have blanks. CMake removes quotes around a whole value, so the value starts with a blank.
        "CMAKE_CXX_FLAGS": f" {shlex.join(flags)}",
        **{f"CMAKE_{kind}_LINKER_FLAGS": shlex.join(["-s", *compiler.link_flags]) for kind in ("EXE", "MODULE")},
        "CMAKE_MAKE_PROGRAM": str(_program("ninja")),
        **settings,
    }
    with storage_errors(build):
        build.mkdir(parents=True, exist_ok=True)
    arguments = [*(f"-D{name}={value}" for name, value in variables.items()), *compiler.cmake, *more]
    removed = (*NOT_OURS, *(name for name in os.environ if name.startswith("CMAKE_")))
    clean: dict[str, str | None] = dict.fromkeys(removed)
    run([_program("cmake"), "-S", source, "-B", build, "-G", "Ninja", *arguments], what, environment=clean)
    run([_program("cmake"), "--build", build], what, environment=clean)


def _program(name: str) -> Path:
    module = importlib.import_module(name)
    folder = module.CMAKE_BIN_DIR if name == "cmake" else module.BIN_DIR
    return Path(folder) / name
