"""The project that a command works in: its device files, those that hilgate brings, and its folder of plug-ins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import iniconfig

from ..errors import InputError
from ..host.shipped import DEVICES

if TYPE_CHECKING:
    from ..device.device import Device


@dataclass(frozen=True)
class Project:
    """A project, by the folder of its device files and its known_hosts; the folder need not exist.

    Attributes:
        is_named: whether --devices names the folder.
    """

    folder: Path
    is_named: bool = False

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders in which a device is looked for, in order, as `pytest -m hil` does."""
        return (self.folder, DEVICES)

    @property
    def known_hosts(self) -> Path:
        """The pinned host keys."""
        from ..device.device import KNOWN_HOSTS

        return self.folder / KNOWN_HOSTS

    def device(self, name: str) -> Device:
        """Load a device by its name.

        Raises:
            DeviceError: there is none, or its file is wrong.
        """
        from ..device import load_device
        from ..measure import known_metrics

        return load_device(name, self.folders, known_metrics().values())


def find_project(here: Path, named: Path | None) -> Project:
    """Find the project that a folder belongs to: that of the nearest pytest.ini, here or above, as for pytest.

    Args:
        here: the folder.
        named: its folder of devices, where that is not ``devices`` beside pytest.ini.
    """
    if named is not None:
        return Project(here / named, is_named=True)
    return Project((_root(here) or here) / "devices")


def find_plugins(here: Path) -> Path | None:
    """Find the folder of plug-ins that the nearest pytest.ini names (``hil_plugins``); None where none does.

    Raises:
        InputError: that pytest.ini cannot be read.
    """
    root, named = _setting(here, "hil_plugins")
    return root / named if root is not None and named else None


def find_results(here: Path) -> Path:
    """Return the folder where a run leaves its evidence: build/hil beside the nearest pytest.ini, or else here."""
    return (_root(here) or here) / "build" / "hil"


def find_preferred(here: Path) -> list[str]:
    """Find the metrics that the nearest pytest.ini prefers (``hil_prefer``); empty where none does.

    Raises:
        InputError: that pytest.ini cannot be read.
    """
    return _setting(here, "hil_prefer")[1].split()


def _setting(here: Path, key: str) -> tuple[Path | None, str]:
    """Read a setting of the nearest pytest.ini; return the file's folder, too."""
    if (root := _root(here)) is None:
        return None, ""
    path = root / "pytest.ini"
    try:
        return root, (iniconfig.IniConfig(path).get("pytest", key, "") or "").strip()
    except (iniconfig.ParseError, OSError, ValueError) as error:
        raise InputError(
            "pytest.ini cannot be read", wanted="an INI file", found=str(error), where=str(path)
        ) from error


def _root(here: Path) -> Path | None:
    return next((folder for folder in (here, *here.parents) if (folder / "pytest.ini").is_file()), None)
