"""Building a runner and its engine with CMake; cached by a hash of all that they are built from."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from ...backends import Native
from ...errors import BackendError, BuildError
from ...host.bounded import build_lock
from ...host.cache import cache_folder, file_sha256
from ...host.progress_log import progress_logger
from ...host.shipped import room_sources
from ..archive import Archive, Packer, provide_archive
from ..wheels import Wheel
from .cmake import cmake_build
from .compiler import Compiler
from .packages import Headers

LOG = progress_logger(__name__)

STORE = "runners"
SOURCES = Path(__file__).parents[2] / "runners"
# The room whose code decides how a runner is built.
ROOM = "bundle/native"
# Their paths in the archive, and so in a device's runtime.
PROGRAM, ENGINE = "hilgate/runner", "hilgate/engine.so"


@dataclass(frozen=True)
class Sdk:
    """A runtime's headers and libraries: the folder of an installed package, or the package's wheel.

    Attributes:
        version: the package's version, "2.9.1".
        source: the folder in which the package is installed, or the wheel.
        identity: a hash that differs between different contents.
    """

    version: str
    source: Path
    identity: str

    @staticmethod
    def of_wheel(wheel: Wheel) -> Sdk:
        """Make the SDK of a wheel."""
        return Sdk(wheel.version, wheel.path, wheel.sha256)

    @staticmethod
    def installed(folder: Path, package: str, version: str) -> Sdk:
        """Make the SDK of a package that is installed on this machine; its RECORD has a hash of each file."""
        records = sorted(folder.glob(f"{package.replace('-', '_')}-{version}.dist-info/RECORD"))
        identity = [str(folder), version, *(file_sha256(path) for path in records)]
        return Sdk(version, folder, hashlib.sha256(json.dumps(identity).encode()).hexdigest())

    @contextmanager
    def unpacked(self, native: Native, work: Path) -> Iterator[Path]:
        """Provide a folder with the headers and libraries that an engine is built with."""
        if self.source.is_dir():
            yield self.source
            return
        prefixes = (*(f"{folder}/" for folder in native.includes), *native.linked_in(self.version))
        with zipfile.ZipFile(self.source) as archive:
            archive.extractall(work, [member for member in archive.namelist() if member.startswith(prefixes)])
        yield work


def provide_runner(native: Native, sdk: Sdk, headers: Headers, compiler: Compiler) -> Archive:
    """Return the archive with a runner and its engine, from the cache or newly built.

    Its ``described`` is {"compiler": …, "glibc": "2.34", "files": {PATH: SHA-256}}.

    Raises:
        BuildError: it does not build; with the compiler's messages.
        StorageError: the cache cannot be written.
    """
    key = runner_key(native, sdk, headers, compiler)

    def fill(packer: Packer, work: Path) -> Mapping[str, Any]:
        LOG.info(f"building the C++ runner of {native.engine} {sdk.version} for {compiler.arch}, once")
        with sdk.unpacked(native, work / "sdk") as root:
            build = work / "build"
            build_runners(
                build,
                compiler,
                headers,
                engine=native.engine,
                includes=[root / folder for folder in native.includes] or headers.onnxruntime_folders,
                libraries=[root / name for name in native.linked_in(sdk.version)],
            )
        files = {PROGRAM: build / "runner", ENGINE: build / "engine.so"}
        for name, path in files.items():
            packer.add(name, path, executable=True)
        return {
            "compiler": compiler.version,
            "glibc": ".".join(map(str, max(newest_glibc(path) for path in files.values()))),
            "files": {name: file_sha256(path) for name, path in files.items()},
        }

    folder = cache_folder() / STORE / key
    with build_lock(folder):  # so that two runs do not compile the same at once
        return provide_archive(STORE, key, f"{native.engine}-{sdk.version}-{compiler.arch}", fill)


def runner_key(native: Native, sdk: Sdk, headers: Headers, compiler: Compiler) -> str:
    """Hash all that a runner is built from: its sources, this room, the runtime, the headers and the compiler."""
    sources = [[path.name, file_sha256(path)] for path in (*_sources(), *room_sources(ROOM))]
    # The place of the sysroot does not matter, only its content.
    flags = [flag.replace(str(compiler.sysroot), "") for flag in (*compiler.flags, *compiler.link_flags)]
    tools = [compiler.program, compiler.version, compiler.arch, compiler.identity, *flags]
    parts = [asdict(native), sources, sdk.identity, headers.identity, tools]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _sources() -> list[Path]:
    """List the files that a runner is built from: the room harness/runners without its tests and examples."""
    return sorted(path for name in (".", "src", "engines") for path in (SOURCES / name).glob("[!.]*") if path.is_file())


def build_runners(
    build: Path,
    compiler: Compiler,
    headers: Headers,
    *,
    engine: str = "",
    includes: Sequence[Path] = (),
    libraries: Sequence[Path] = (),
    more: Sequence[str] = (),
) -> None:
    """Build the targets of harness/runners/CMakeLists.txt in a folder.

    Args:
        build: the folder to build in.
        compiler: the compiler.
        headers: the headers beside the runtime's own.
        engine: the name of the engine's source; "" to build the program alone.
        includes: the runtime's folders of headers.
        libraries: the runtime's libraries to link with.
        more: further arguments of CMake.

    Raises:
        BuildError: it does not build.
        StorageError: the disk is full.
    """
    if missing := [str(path) for path in (*includes, *libraries) if not path.exists()]:
        raise BuildError(
            f"the runner of {engine} cannot be built",
            wanted="the runtime's headers and libraries",
            found=f"no {missing[0]}",
        )
    settings = {
        "HILGATE_ENGINE": engine,
        "HILGATE_RUNTIME_INCLUDE": ";".join(map(str, includes)),
        "HILGATE_RUNTIME_LIBRARIES": ";".join(map(str, libraries)),
        "HILGATE_JSON_INCLUDE": str(headers.json),
    }
    what = f"the runner of {engine} does not build" if engine else "the runner does not build"
    folders = [path.parent for path in includes] + [headers.json, *includes]
    cmake_build(SOURCES, build, compiler, settings, what, more, folders)


def newest_glibc(path: Path) -> tuple[int, ...]:
    """Return the version of glibc that a program or library needs; (0,) where it needs none."""
    newest: tuple[int, ...] = (0,)
    with path.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if not isinstance(section, GNUVerNeedSection):
                continue
            for _, needs in section.iter_versions():
                versions = [re.fullmatch(r"GLIBC_([\d.]+)", need.name) for need in needs]
                newest = max([newest, *(tuple(map(int, match[1].split("."))) for match in versions if match)])
    return newest


def check_glibc(runner: Archive, arch: str, libc: str, where: str) -> None:
    """Refuse a runner for which a board's C library is too old, before it is sent.

    Args:
        runner: the runner's archive.
        arch: the board's architecture.
        libc: the board's C library, "glibc-2.36".
        where: the board, for errors.

    Raises:
        BackendError: the C library is older than the runner needs, or is not glibc.
    """
    needed = tuple(map(int, runner.described["glibc"].split(".")))
    name, _, version = libc.partition("-")
    present = tuple(int(part) for part in version.split(".") if part.isdecimal())
    if name != "glibc" or present < needed:
        raise BackendError(
            "the runner cannot run there",
            wanted=f"glibc {runner.described['glibc']} or newer",
            found=libc or "no glibc",
            where=where,
            hint=f"build with an older sysroot: HILGATE_SYSROOT_{arch.upper()}=DIR, or take the backend off its list",
        )
