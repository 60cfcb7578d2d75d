"""What the host must have: programs, and a QEMU that is new enough."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from ..errors import EmulatorError

QEMU = "qemu-system-aarch64"
# Program -> the Debian package that has it.
TO_RUN = {QEMU: "qemu-system-arm", "qemu-img": "qemu-utils"}
TO_BUILD = {
    "mmdebstrap": "mmdebstrap",
    "fakeroot": "fakeroot",
    "mke2fs": "e2fsprogs",
    "depmod": "kmod",
    "cpio": "cpio",
    "apt-get": "apt",
}
# The oldest version tested; Cortex-A76 came with 7.1.
OLDEST_QEMU = (7, 2)
VERSION_S = 20.0
# Debian keeps mke2fs and depmod in /usr/sbin, which an ordinary user's PATH leaves out.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def program(name: str) -> str:
    """Find a program's path.

    Args:
        name: the program's.

    Raises:
        EmulatorError: it is not there; names all that are missing, and the one line that installs them.
    """
    require(TO_RUN if name in TO_RUN else {**TO_RUN, **TO_BUILD})
    return str(shutil.which(name, path=PATH))


def missing(wanted: Mapping[str, str]) -> list[str]:
    """List the programs that this machine does not have."""
    return [name for name in wanted if shutil.which(name, path=PATH) is None]


def require(wanted: Mapping[str, str]) -> None:
    """Check that all programs are there, before anything is begun that could not be finished.

    Args:
        wanted: program -> the Debian package that has it.

    Raises:
        EmulatorError: programs are missing.
    """
    if names := missing(wanted):
        raise EmulatorError(
            "an emulated board needs programs that this machine does not have",
            wanted=", ".join(wanted),
            found=f"not installed: {', '.join(names)}",
            where=f"PATH ({PATH})",
            hint=f"sudo apt-get install {' '.join(install_line(names))}",
        )


def install_line(names: Sequence[str]) -> list[str]:
    """List the Debian packages that have some programs."""
    packages = {**TO_RUN, **TO_BUILD}
    return sorted({packages[name] for name in names})


@functools.cache
def qemu_version() -> str:
    """Return QEMU's line about its version: a snapshot can be restored by the very same version only.

    Raises:
        EmulatorError: QEMU is not there, too old, or does not say.
    """
    path = program(QEMU)
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=VERSION_S, check=False)
        said = (done.stdout.splitlines() or [done.stderr.strip()])[0]
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    found = re.search(r"version (\d+)\.(\d+)", said)
    oldest = ".".join(map(str, OLDEST_QEMU))
    if found is None or tuple(map(int, found.groups())) < OLDEST_QEMU:
        what = "QEMU cannot be used" if found is None else "QEMU is too old"
        hint = f"install QEMU {oldest} or newer: sudo apt-get install {TO_RUN[QEMU]}"
        raise EmulatorError(what, wanted=f"version {oldest} or newer", found=said or "nothing", where=path, hint=hint)
    return said
