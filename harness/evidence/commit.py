"""The commit of the user's repository that a run's evidence belongs to."""

from __future__ import annotations

import subprocess
from pathlib import Path


def find_commit(root: Path) -> str | None:
    """Ask git for the commit of the repository that a folder is in.

    Returns:
        The commit's hash, "+changes" behind it where the tree differs from it; None without git or a repository.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, errors="replace", timeout=10, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None
