"""The C++ compiler for an architecture: the host's own, or a cross compiler with a sysroot.

A user names another one by ``HILGATE_CXX_X86_64`` or ``HILGATE_CXX_AARCH64``, a program's name or path.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from ...errors import BuildError
from ...host.cache import file_sha256
from .packages import DEBIAN_ARCH, provide_sysroot
from .tool import run


@dataclass(frozen=True)
class Compiler:
    """A compiler, and what it is given.

    Attributes:
        version: the first line of what it says of itself.
        sysroot: None for this machine's own.
        identity: another one where the sysroot is another.
        flags: for compiling; ``link_flags`` for linking.
        cmake: CMake's words for a machine that is another one.
    """

    program: str
    arch: str
    version: str
    sysroot: Path | None
    identity: str = ""
    flags: Sequence[str] = ()
    link_flags: Sequence[str] = ()
    cmake: Sequence[str] = ()

    def tool(self, name: str) -> str:
        """Another program of its tool chain: "strip"."""
        return run([self.program, f"-print-prog-name={name}"], "the compiler does not say what it uses").strip()


def find_compiler(arch: str, *, board: bool = False) -> Compiler:
    """The compiler for an architecture.

    Args:
        board: what is built must run on another machine, whose C and C++ library may be older than this one's.

    Raises:
        BuildError: there is none; says what to install.
        StorageError: the cache cannot be written.
    """
    if arch not in DEBIAN_ARCH:
        raise BuildError(
            "C++ backends cannot be built for this architecture", wanted=" or ".join(DEBIAN_ARCH), found=arch
        )
    variable, native = f"HILGATE_CXX_{arch.upper()}", arch == platform.machine()
    wanted = os.environ.get(variable) or ("g++" if native else f"{arch}-linux-gnu-g++")
    program = shutil.which(wanted)
    if program is None and os.environ.get(variable):
        raise BuildError(
            f"no runner can be built for {arch}: the compiler that was named is not there",
            wanted="the name or the path of a C++17 compiler, without flags",
            found=f"{wanted!r}, which is no program on the PATH",
            where=f"${variable}, in the environment",
            hint="correct it, or leave it unset",
        )
    if program is None:
        raise BuildError(
            f"no runner can be built for {arch}: there is no C++ compiler for it",
            wanted=f"{wanted}, C++17 (g++ 9 or newer)",
            found="not on the PATH",
            hint=f"{_install_line(arch, native=native)}, or name one: {variable}=PROGRAM",
        )
    version = run([program, "--version"], "the C++ compiler does not run").splitlines()[0]
    if native and not board:
        return Compiler(program, arch, version, None)
    sysroot = provide_sysroot(arch)
    flags, link_flags = _flags(sysroot, arch)
    cmake = ["-DCMAKE_SYSTEM_NAME=Linux", f"-DCMAKE_SYSTEM_PROCESSOR={arch}", f"-DCMAKE_SYSROOT={sysroot}"]
    return Compiler(program, arch, version, sysroot, _identity(sysroot), flags, link_flags, cmake)


def _install_line(arch: str, *, native: bool) -> str:
    """How the compiler for an architecture is installed on this host: as Debian and Ubuntu do it, or as Fedora does."""
    if shutil.which("dnf") and not shutil.which("apt-get"):
        return "sudo dnf install gcc-c++" + ("" if native else f"-{arch}-linux-gnu")
    return "sudo apt-get install g++" + ("" if native else f"-{arch.replace('_', '-')}-linux-gnu")


def _identity(sysroot: Path) -> str:
    """By the libraries that are linked with: a user may put other ones into the same folder."""
    found = [path for name in ("libc.so.6", "libstdc++.so.6") for path in sorted(sysroot.glob(f"**/{name}"))]
    return json.dumps([file_sha256(path) for path in found if path.is_file()])


def _flags(sysroot: Path, arch: str) -> tuple[Sequence[str], Sequence[str]]:
    """The sysroot's own headers and libraries, in place of those that came with the cross compiler.

    Those are the host's release's: what is built with them asks for a C library as new as the host's.
    """
    triplet, usr = f"{arch}-linux-gnu", sysroot / "usr"
    names = (path.name for path in (usr / "include" / "c++").glob("*"))
    # LLVM's own is there as "v1".
    versions = sorted((name for name in names if re.fullmatch(r"\d+(\.\d+)*", name)), key=Version)
    if not versions:
        raise BuildError(
            "the sysroot has no C++ library",
            wanted=f"libstdc++'s headers for {DEBIAN_ARCH[arch]}",
            found="no version's folder in usr/include/c++",
            where=str(sysroot),
        )
    version = versions[-1]
    folders = (f"include/c++/{version}", f"include/{triplet}/c++/{version}", f"include/{triplet}", "include")
    flags = ["-nostdinc++", *(f"-isystem{usr / folder}" for folder in folders)]
    libraries = (f"lib/gcc/{triplet}/{version}", f"lib/{triplet}")
    return flags, [word for folder in libraries for word in (f"-B{usr / folder}", f"-L{usr / folder}")]
