"""Packages that only a benchmark compares with: in a folder of their own in the cache, none of them beside hilgate."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from harness.host.cache import cache_folder, new_entry


def provide(requirement: str) -> Path | None:
    """Return a folder with a package and what it needs, for PYTHONPATH; None where pip cannot bring it.

    Args:
        requirement: pinned, such as "plotly==7.1.0".
    """
    final = cache_folder() / "bench-packages" / f"{requirement}-{sys.version_info[0]}.{sys.version_info[1]}"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--no-compile", "--target"]
    if not final.is_dir():
        with contextlib.suppress(subprocess.CalledProcessError), new_entry(final) as work:
            subprocess.run([*pip, str(work), requirement], check=True, stdin=subprocess.DEVNULL)
    return final if final.is_dir() else None
