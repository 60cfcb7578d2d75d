"""The runtime of a backend on a device, as ``planning`` decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .archive import Archive


@dataclass(frozen=True)
class Runner:
    """A C++ runner: paths on the device, absolute or relative to the bundle's folder.

    Attributes:
        program: the runner.
        engine: the engine, which it opens.
        library: the runtime's main library.
    """

    program: str
    engine: str
    library: str


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The libraries that a backend needs on a device.

    Attributes:
        described: its part of the bundle's manifest.
        packages: the versions of its packages by name.
        archives: archives that have to be unpacked there, in this order; none where an environment is used.
        wheels: (file, SHA-256) of the wheels that are sent, or whose libraries are.
        runner: the runner of a C++ backend; None for one in Python.
        libraries: the paths of those of the wheels' libraries that are sent; None where all are.
        operators: what must be loaded before the artifact, to register its operators: modules for the agent, libraries
            for a runner.
    """

    described: Mapping[str, Any]
    packages: Mapping[str, str]
    archives: tuple[Archive, ...] = ()
    wheels: tuple[tuple[Path, str], ...] = ()
    runner: Runner | None = None
    libraries: frozenset[str] | None = None
    operators: tuple[str, ...] = ()
