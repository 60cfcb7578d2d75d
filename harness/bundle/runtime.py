"""What a backend needs on a device, planned: see ``planning``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .archive import Archive


@dataclass(frozen=True)
class Runner:
    """A C++ runner, by paths from the bundle's folder on the device, or absolute ones there."""

    program: str
    engine: str
    library: str


@dataclass(frozen=True)
class Runtime:
    """What a backend needs on a device.

    Attributes:
        described: its part of the bundle's manifest.
        packages: what it has, NAME: VERSION.
        archives: what has to be unpacked there, in this order; none where an environment is used.
        wheels: (file, SHA-256) of those that are wheels, or whose libraries are sent.
        runner: the program, where it is none of Python's.
        libraries: those of the wheels that are sent, by their paths; None where all are.
        operators: what registers operators before an artifact is loaded: modules for the agent, libraries for a runner.
    """

    described: Mapping[str, Any]
    packages: Mapping[str, str]
    archives: tuple[Archive, ...] = ()
    wheels: tuple[tuple[Path, str], ...] = ()
    runner: Runner | None = None
    libraries: frozenset[str] | None = None
    operators: tuple[str, ...] = ()
