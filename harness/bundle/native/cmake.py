"""CMake and Ninja, from their own packages: found beside the Python that runs, whatever the PATH says."""

from __future__ import annotations

import importlib
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...host.cache import storage_errors
from .compiler import Compiler
from .tool import run

# A user's own flags and folders are for the user's own programs; beside these all that is called CMAKE_….
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
        settings: CMake's variables, beside those for the compiler.
        what: what cannot be done where it fails.
        more: further words for CMake.
        folders: those of headers, whose places on this machine are nobody else's business.

    Raises:
        BuildError: it does not build; with the compiler's words.
        StorageError: the disk is full.
    """
    # No path of this machine in what is built: the same sources make the same file anywhere.
    hidden = [build, source, *folders, *([compiler.sysroot] if compiler.sysroot else [])]
    flags = [*compiler.flags, *(f"-ffile-prefix-map={folder}=." for folder in hidden)]
    variables = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CXX_COMPILER": compiler.program,
        # A path may have blanks. Quotes around the whole of a value CMake takes away, so it starts with a blank.
        "CMAKE_CXX_FLAGS": f" {shlex.join(flags)}",
        **{f"CMAKE_{kind}_LINKER_FLAGS": shlex.join(["-s", *compiler.link_flags]) for kind in ("EXE", "MODULE")},
        "CMAKE_MAKE_PROGRAM": str(_program("ninja")),
        **settings,
    }
    with storage_errors(build):
        build.mkdir(parents=True, exist_ok=True)
    words = [*(f"-D{name}={value}" for name, value in variables.items()), *compiler.cmake, *more]
    theirs = (*NOT_OURS, *(name for name in os.environ if name.startswith("CMAKE_")))
    clean: dict[str, str | None] = dict.fromkeys(theirs)
    run([_program("cmake"), "-S", source, "-B", build, "-G", "Ninja", *words], what, environment=clean)
    run([_program("cmake"), "--build", build], what, environment=clean)


def _program(name: str) -> Path:
    module = importlib.import_module(name)
    folder = module.CMAKE_BIN_DIR if name == "cmake" else module.BIN_DIR
    return Path(folder) / name
