"""The Pythons that what is shipped to a device is tried with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def old_python() -> str | None:
    """Find a Python 3.9, where this machine has one."""
    managed = sorted(Path("~/.pyenv/versions").expanduser().glob("3.9.*/bin/python"))
    for program in [*map(str, managed), shutil.which("python3.9")]:
        # pyenv's own python3.9 on the PATH only complains where no such version is chosen.
        if program and subprocess.run([program, "-c", ""], capture_output=True, check=False).returncode == 0:
            return program
    return None


PYTHONS = {name: program for name, program in (("this", sys.executable), ("3.9", old_python())) if program}
