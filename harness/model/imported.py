"""Where a model file's modules came from: another tree's, although the file is a worktree's own."""

from __future__ import annotations

import sys
from pathlib import Path

from .model_file import ModelFile

# Installed packages are no tree's, although an environment may lie in one; hilgate is none of the user's.
INSTALLED = "site-packages"
OURS = "harness"


def tree_of(path: Path) -> Path | None:
    """Return the folder of the git repository or worktree that a file is in; None where it is in none."""
    return next((folder for folder in path.resolve().parents if (folder / ".git").exists()), None)


def imported_from(file: ModelFile, tree: str) -> dict[str, str]:
    """List the modules that this process has imported from another tree than the file's own: a question about a file.

    Args:
        file: The model file.
        tree: The folder of the other tree.

    Returns:
        Each package's or module's path, by its name; empty where the file's own tree is the same, or it is in none.
    """
    own = tree_of(file.path)
    if own is None or own == Path(tree):
        return {}
    found: dict[str, str] = {}
    for name, module in sorted(sys.modules.items()):
        path = Path(getattr(module, "__file__", None) or "/")
        if not path.is_absolute():  # some that no file has: torch.classes says "_classes.py"
            continue
        path = path.resolve()
        is_below = path.is_relative_to(tree) and not path.is_relative_to(own) and INSTALLED not in path.parts
        if is_below and name.partition(".")[0] not in (OURS, *found):
            found[name] = str(path)
    return found
