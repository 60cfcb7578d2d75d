"""The C++ compiler for an architecture: the host's own, or a cross compiler with a sysroot.

The user names another one in ``HILGATE_CXX_X86_64`` or ``HILGATE_CXX_AARCH64``, by a program's name or path.
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


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """A compiler and its arguments.

    Attributes:
        program: its path.
        arch: the architecture that it compiles for.
        version: the first line of its --version.
        sysroot: None for this machine's own headers and libraries.
        identity: a text that differs between different sysroots.
        flags: arguments for compiling.
        link_flags: arguments for linking.
        cmake: CMake's arguments for cross compiling.
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
        """Return the path of another program of its tool chain, such as "strip"."""
        return run([self.program, f"-print-prog-name={name}"], "the compiler does not say what it uses").strip()


def find_compiler(arch: str, *, board: bool = False) -> Compiler:
    """Find the compiler for an architecture.

    Args:
        arch: "x86_64" or "aarch64".
        board: whether the result must run on another machine, whose C and C++ libraries may be older than this one's.

    Raises:
        BuildError: there is none; the error says what to install.
        StorageError: the cache cannot be written.
    """
    if arch not in DEBIAN_ARCH:
        raise BuildError(
            "C++ backends cannot be built for this architecture", wanted=" or ".join(DEBIAN_ARCH), found=arch
        )
    variable, native = f"HILGATE_CXX_{arch.upper()}", arch == platform.machine()
    expected = os.environ.get(variable) or ("g++" if native else f"{arch}-linux-gnu-g++")
    program = shutil.which(expected)
    if program is None and os.environ.get(variable):
        raise BuildError(
            f"no runner can be built for {arch}: the compiler that was named is not there",
            wanted="the name or the path of a C++17 compiler, without flags",
            found=f"{expected!r}, which is no program on the PATH",
            where=f"${variable}, in the environment",
            hint="correct it, or leave it unset",
        )
    if program is None:
        raise BuildError(
            f"no runner can be built for {arch}: there is no C++ compiler for it",
            wanted=f"{expected}, C++17 (g++ 9 or newer)",
            found="not on the PATH",
            hint=f"{_install_line(arch, native=native)}, or name one: {variable}=PROGRAM",
        )
    version = run([program, "--version"], "the C++ compiler does not run").splitlines()[0]
    if native and not board:
        return Compiler(program=program, arch=arch, version=version, sysroot=None)
    sysroot = provide_sysroot(arch)
    flags, link_flags = _flags(sysroot, arch)
    cmake = ["-DCMAKE_SYSTEM_NAME=Linux", f"-DCMAKE_SYSTEM_PROCESSOR={arch}", f"-DCMAKE_SYSROOT={sysroot}"]
    return Compiler(
        program=program,
        arch=arch,
        version=version,
        sysroot=sysroot,
        identity=_identity(sysroot),
        flags=flags,
        link_flags=link_flags,
        cmake=cmake,
    )


def _install_line(arch: str, *, native: bool) -> str:
    """Return the command that installs the compiler for an architecture: Fedora's, or Debian's and Ubuntu's."""
    if shutil.which("dnf") and not shutil.which("apt-get"):
        return "sudo dnf install gcc-c++" + ("" if native else f"-{arch}-linux-gnu")
    return "sudo apt-get install g++" + ("" if native else f"-{arch.replace('_', '-')}-linux-gnu")


def _identity(sysroot: Path) -> str:
    """Identify a sysroot by the hashes of its libraries: a user may put others into the same folder."""
    libraries = [path for name in ("libc.so.6", "libstdc++.so.6") for path in sorted(sysroot.glob(f"**/{name}"))]
    return json.dumps([file_sha256(path) for path in libraries if path.is_file()])


def _flags(sysroot: Path, arch: str) -> tuple[Sequence[str], Sequence[str]]:
    """Make the arguments that select the sysroot's headers and libraries instead of the cross compiler's own.

    The latter belong to the host's release: what is built with them needs a C library as new as the host's.

    Returns:
        The arguments for compiling and for linking.

    Raises:
        BuildError: the sysroot has no C++ library.
    """
    triplet, usr = f"{arch}-linux-gnu", sysroot / "usr"
    names = (path.name for path in (usr / "include" / "c++").glob("*"))
    # LLVM's C++ library is there as "v1".
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
