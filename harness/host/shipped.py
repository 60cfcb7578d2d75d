"""Where hilgate's own fixtures, suite, devices, endpoints, networks are: in a wheel's package, or beside a clone's."""

from __future__ import annotations

from pathlib import Path

from .plugins import plugin_folder

PACKAGE = Path(__file__).parents[1]
# Told by the folder in our own package: PyPI also has a package called fixtures, which is not ours.
INSTALLED = (PACKAGE / "fixtures").is_dir()
FIXTURES = "harness.fixtures" if INSTALLED else "fixtures"
SUITE = PACKAGE / "suite" if INSTALLED else PACKAGE.parent / "tests" / "hil"
DEVICES = PACKAGE / "devices" if INSTALLED else PACKAGE.parent / "devices"
ENDPOINTS = PACKAGE / "endpoints" if INSTALLED else PACKAGE.parent / "endpoints"
NETWORKS = PACKAGE / "networks" if INSTALLED else PACKAGE.parent / "networks"


def room_sources(*rooms: str) -> list[Path]:
    """Return every source file of whole rooms of this package, plug-ins' too, sorted: what a cached thing depends on.

    A whole room rather than a list of its files, so that none that is added is forgotten.
    """
    folders = [PACKAGE / room for room in rooms]
    folders += filter(None, (plugin_folder(f"{PACKAGE.name}.{room}") for room in rooms))
    found = (path for folder in folders for path in folder.rglob("*"))
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)
