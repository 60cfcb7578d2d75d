"""The bare loops in C++ (support/bare): built by the compiler that builds the runners, against the same libraries."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from harness.bundle.native.cmake import cmake_build
from harness.bundle.native.compiler import find_compiler
from harness.bundle.native.packages import provide_headers

from .deploy import IN_PLACE, Prepared
from .interleave import Block

SOURCE = Path(__file__).with_name("bare")
# A block begins with one inference that is not timed, as the runner's does.
UNTIMED = 1


@contextlib.contextmanager
def bare_native(prepared: Prepared) -> Iterator[Callable[[int], Block]]:
    """A bare loop in a process of its own; call it with a number of inferences."""
    native, packages = prepared.cell.backend.native, prepared.board.facts.folders
    if native is None or prepared.bundle.runtime.runner is None:
        raise ValueError(f"{prepared.cell.backend.name} is none of C++")
    package = next(name for name in prepared.bundle.runtime.packages)
    program = _built(native.engine, Path(packages[package]), prepared.bundle.runtime.packages[package])
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder, "inputs")
        arrays = [next(iter(one.values())) for one in prepared.sets]
        inputs.write_bytes(b"".join(np.ascontiguousarray(array, np.float32).tobytes() for array in arrays))
        command = [str(program), str(prepared.artifact), str(inputs), ",".join(map(str, arrays[0].shape))]
        command += ["restore"] * (prepared.cell.file.name in IN_PLACE)
        library = Path(prepared.bundle.runtime.runner.library)
        # By its soname: the wheel's file is called by its version.
        with contextlib.suppress(FileExistsError):
            Path(folder, "libonnxruntime.so.1").symlink_to(library)
        environment = {**os.environ, "LD_LIBRARY_PATH": f"{folder}:{library.parent}"}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:

            def block(count: int) -> Block:
                if process.stdin is None or process.stdout is None:
                    raise AssertionError("started with pipes")
                print(count + UNTIMED, file=process.stdin, flush=True)
                durations: Block = json.loads(process.stdout.readline())
                return durations[UNTIMED:]

            block(10)
            yield block


@cache
def _built(engine: str, folder: Path, version: str) -> Path:
    """The program; its folder stays until this process ends."""
    from harness.backends import load_backend

    backend = load_backend("libtorch" if engine == "libtorch" else "onnxruntime-cpp")
    if backend.native is None:
        raise AssertionError(engine)
    compiler, headers = find_compiler(platform.machine()), provide_headers()
    includes = [folder / name for name in backend.native.includes] or headers.onnxruntime_folders
    libraries = [folder / name for name in backend.native.linked_in(version)]
    build = Path(_FOLDER.name, engine)
    settings = {
        "BARE": engine,
        "RUNTIME_INCLUDE": ";".join(map(str, includes)),
        "RUNTIME_LIBRARIES": ";".join(map(str, libraries)),
    }
    cmake_build(SOURCE, build, compiler, settings, f"the bare loop of {engine} does not build")
    return build / "bare"


_FOLDER = tempfile.TemporaryDirectory(prefix="hilgate-bare-")
