"""What benchmarks there are: each is a module of the package, and says itself what it needs.

A benchmark has ``run(options)``, which yields rows, and may have these constants, as literals. They are read from its
source: nothing is imported to list it, so that one that is broken keeps no other from running.

    NEEDS    what it needs beside a Python environment, of KINDS; () without
    IS_QUICK whether it is one of `make bench-quick`; False without
    LIMIT_S  how long it may take, in seconds; USUAL_LIMIT_S without
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = {
    "browser": "chromium-headless-shell",
    "commit": "another commit (--commit)",
    "emulator": "QEMU, and Debian's packages for an image",
    "network": "packages from an index",
    "runners": "a C++ compiler, and the runtimes' headers",
    "sshd": "a loopback OpenSSH server, in namespaces",
}
USUAL_LIMIT_S = 3600.0
CONSTANTS = ("NEEDS", "IS_QUICK", "LIMIT_S")


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: its module's name within the package.
        module: its module's whole name.
        summary: what it measures, in a line.
        needs: what it needs, of KINDS.
        is_quick: whether `make bench-quick` runs it.
        limit_s: how long it may take, in seconds.
    """

    name: str
    module: str
    summary: str
    needs: tuple[str, ...] = ()
    is_quick: bool = False
    limit_s: float = USUAL_LIMIT_S


class RegistryError(Exception):
    """A benchmark is not what it must be, or what was asked for is none."""


def find_benchmarks(folder: Path, package: str) -> dict[str, Benchmark]:
    """Return the benchmarks of a package's folder by name, in order.

    Args:
        folder: where the modules are.
        package: the package's name.

    Raises:
        RegistryError: a module is no Python, or its constants are not what they must be.
    """
    paths = sorted(path for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return {path.stem: _read(path, package) for path in paths}


def _read(path: Path, package: str) -> Benchmark:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = _constants(tree)
    except (SyntaxError, ValueError) as error:
        raise RegistryError(f"{path}: {error}") from error
    needs, is_quick = constants.get("NEEDS", ()), constants.get("IS_QUICK", False)
    limit_s = constants.get("LIMIT_S", USUAL_LIMIT_S)
    if not isinstance(needs, tuple) or not set(needs) <= set(KINDS):
        raise RegistryError(f"{path}: wanted NEEDS to be a tuple of {', '.join(KINDS)}; found {needs!r}")
    if not isinstance(is_quick, bool):
        raise RegistryError(f"{path}: wanted IS_QUICK to be True or False; found {is_quick!r}")
    if type(limit_s) not in (int, float) or not limit_s > 0:
        raise RegistryError(f"{path}: wanted LIMIT_S to be seconds > 0; found {limit_s!r}")
    summary = (ast.get_docstring(tree) or path.stem).splitlines()[0]
    return Benchmark(path.stem, f"{package}.{path.stem}", summary, needs, is_quick, float(limit_s))


def _constants(tree: ast.Module) -> dict[str, Any]:
    assigned = [node for node in tree.body if isinstance(node, ast.Assign) and len(node.targets) == 1]
    named = [(node.targets[0].id, node.value) for node in assigned if isinstance(node.targets[0], ast.Name)]
    return {name: ast.literal_eval(value) for name, value in named if name in CONSTANTS}


def choose(
    known: Mapping[str, Benchmark], only: Collection[str], without: Collection[str], *, quick: bool, commit: str
) -> list[Benchmark]:
    """Choose the benchmarks of a run, in their order.

    Args:
        known: those that there are.
        only: the names that were asked for; empty for all, or with a commit for `house` alone.
        without: kinds of needs: what needs one of these is left out.
        quick: whether only the quick ones run, where none was asked for.
        commit: the commit to compare with; "" for none: what needs one is left out then.

    Raises:
        RegistryError: one that was asked for is left out, or none is left.
    """
    absent = {*without, *([] if commit else ["commit"])}
    for name in only:
        if lacking := sorted(absent.intersection(known[name].needs)):
            raise RegistryError(f"{name} needs {', '.join(KINDS[kind] for kind in lacking)}")
    chosen = [
        one
        for one in known.values()
        if not absent.intersection(one.needs)
        and (one.name in only if only else "commit" in one.needs if commit else one.is_quick or not quick)
    ]
    if not chosen:
        raise RegistryError("no benchmark is left to run")
    return chosen
