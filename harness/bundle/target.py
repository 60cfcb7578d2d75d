"""The device as a package installer sees it: Python, architecture and C library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import BackendError

# The oldest glibc 2.X that manylinux wheels are made for; PEP 600 names them manylinux_2_X, and three have older names
# (PEPs 513, 571, 599).
OLDEST_GLIBC = {"x86_64": 5, "i686": 5}
OLDEST_GLIBC_ELSEWHERE = 17
LEGACY_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class Platform:
    """The platform that wheels must fit.

    Attributes:
        python: CPython's version as the device reports it, "3.11.2".
        arch: as in ``platform.machine()``: "x86_64", "aarch64".
        libc: as in ``"-".join(platform.libc_ver())``: "glibc-2.36".
    """

    python: str
    arch: str
    libc: str

    def check(self, where: str) -> None:
        """Refuse a platform for which no wheels can be chosen.

        Args:
            where: the device, for errors.

        Raises:
            BackendError: the C library is not glibc 2, or Python's version is not 3.X.
        """
        if not re.fullmatch(r"glibc-2\.\d+", self.libc):
            raise BackendError(
                "runtimes are shipped to devices with glibc only",
                wanted="glibc-2.X",
                found=f"{self.libc!r}; musl's wheels are others" if self.libc.strip("-") else "no glibc: musl?",
                where=where,
                hint="install the packages on the device, and name the folder: environment = … under [runtime]",
            )
        if not re.match(r"3\.\d+", self.python):
            raise BackendError(
                "the device's Python is none that wheels are chosen for",
                wanted="CPython 3.X",
                found=repr(self.python),
                where=where,
            )

    @property
    def release(self) -> str:
        """Python's version without a suffix, "3.11.2"."""
        return re.match(r"[\d.]*\d", self.python)[0]  # type: ignore[index]  # see check()

    @property
    def minor(self) -> str:
        """Python's minor version, "3.11"."""
        return ".".join(self.release.split(".")[:2])

    @property
    def glibc(self) -> int:
        """The X of glibc 2.X."""
        return int(self.libc.rpartition(".")[2])

    def tags(self) -> list[str]:
        """List the platform tags of wheels that run there, the best first."""
        newest_first = range(self.glibc, OLDEST_GLIBC.get(self.arch, OLDEST_GLIBC_ELSEWHERE) - 1, -1)
        return [tag for minor in newest_first for tag in self.manylinux(minor)] + [f"linux_{self.arch}"]

    def manylinux(self, minor: int) -> list[str]:
        """List the platform tags of wheels that are made for glibc 2.``minor``."""
        names = [f"manylinux_2_{minor}"] + ([LEGACY_NAMES[minor]] if minor in LEGACY_NAMES else [])
        return [f"{name}_{self.arch}" for name in names]

    def markers(self) -> Mapping[str, str]:
        """Return PEP 508's environment markers, without the kernel's release and version, which are unknown here."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "os_name": "posix",
            "platform_machine": self.arch,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": self.python,
            "python_version": self.minor,
            "sys_platform": "linux",
        }
