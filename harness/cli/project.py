"""The project that a command works in: where its device files are, and those that hilgate brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..host.shipped import DEVICES

if TYPE_CHECKING:
    from ..device.device import Device


@dataclass(frozen=True)
class Project:
    """``folder`` holds the project's device files and its known_hosts; it need not exist."""

    folder: Path

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where a device is looked for, as `pytest -m hil` does."""
        return (self.folder, DEVICES)

    @property
    def known_hosts(self) -> Path:
        """The pinned host keys."""
        from ..device.device import KNOWN_HOSTS

        return self.folder / KNOWN_HOSTS

    def device(self, name: str) -> Device:
        """A device by its name.

        Raises:
            DeviceError: there is none, or its file is wrong.
        """
        from ..device import load_device
        from ..measure import known_metrics

        return load_device(name, self.folders, known_metrics().values())


def find_project(here: Path, named: Path | None) -> Project:
    """The project of a folder: that of the nearest pytest.ini, as for pytest, unless its devices are named."""
    if named is not None:
        return Project(here / named)
    root = next((folder for folder in (here, *here.parents) if (folder / "pytest.ini").is_file()), here)
    return Project(root / "devices")
