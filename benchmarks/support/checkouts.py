"""Two commits of hilgate side by side: each a git worktree, with an environment and a cache of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.host.cache import cache_folder

ROOT = Path(__file__).parents[2]
# What comes from the network, or takes minutes to make from it: both sides begin with the present cache's.
GIVEN = ("packages", "wheels")


@dataclass(frozen=True)
class Checkout:
    """A commit's files, the interpreter that imports its `harness`, and the cache that it uses."""

    folder: Path
    python: Path
    cache: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables for a program of this commit."""
        inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return {**inherited, "HILGATE_CACHE": str(self.cache)}

    def beside(self) -> Checkout:
        """Return the same commit with another cache, and so with another device `local`."""
        cache = self.cache.with_name(f"{self.cache.name}-beside")
        _give(cache)
        return replace(self, cache=cache)


@contextmanager
def checked_out(place: Path, name: str, commit: str) -> Iterator[Checkout]:
    """Check a commit out into a folder of ``place``, and remove it at the end.

    Its environment is this one, but for `harness`: a virtual environment whose only content is a .pth file that names
    the checkout, then this environment's packages. An editable install among these does not count, for .pth files are
    not followed from there.

    Raises:
        CalledProcessError: git knows no such commit.
    """
    folder, environment, cache = place / name, place / f"{name}-environment", place / f"{name}-cache"
    _forget(folder)
    _git("worktree", "add", "--detach", "--force", str(folder), commit)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--clear", str(environment)], check=True)
        (site,) = environment.glob("lib/python3*/site-packages")
        (site / "checkout.pth").write_text(f"{folder}\n{sysconfig.get_path('purelib')}\n", encoding="utf-8")
        _give(cache)
        yield Checkout(folder, environment / "bin" / "python", cache)
    finally:
        _forget(folder)


def _give(cache: Path) -> None:
    """Link into a side's new cache what the present one, or the user's, has of the network."""
    cache.mkdir(mode=0o700, exist_ok=True)
    for name in GIVEN:
        sources = [folder / name for folder in (cache_folder(), Path.home() / ".cache/hilgate")]
        source = next((source for source in sources if source.exists()), None)
        if source is not None and not (cache / name).exists():
            shutil.copytree(source, cache / name, symlinks=True, copy_function=os.link)


def _forget(folder: Path) -> None:
    """Remove a worktree, or what an interrupted run has left of one."""
    if folder.exists():
        shutil.rmtree(folder)
    _git("worktree", "prune")


def _git(*words: str) -> None:
    subprocess.run(["git", *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
