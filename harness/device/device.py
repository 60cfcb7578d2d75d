"""The machine under test, as its device file describes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..checks.limits import Limit
from .tables import Rules, Runtime

__all__ = ["KNOWN_HOSTS", "Device", "Rules", "Runtime", "device_names"]

KNOWN_HOSTS = "known_hosts"  # in the user's folder of devices
DEVICE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class Device:
    """The machine under test, as its file and those that the file extends describe it.

    ``path`` is the file that was named; ``optional`` are those of the ``backends`` that a run may leave out where the
    host cannot build them; ``store`` is the folder that hilgate uses on the machine, where it is not the link's own;
    ``known_hosts`` the file of pinned host keys; ``limits`` hold under every backend, ``backend_limits`` under one.
    ``counting`` is no file's: see harness.instructions.counting.
    """

    name: str
    path: Path
    description: str
    link: str
    backends: tuple[str, ...]
    host: str | None = None
    arch: str | None = None
    cpu: str | None = None
    memory_mib: int | None = None
    optional: tuple[str, ...] = ()
    store: str | None = None
    threads: int = 1
    interop_threads: int = 1
    flush_denormals: bool = False
    known_hosts: Path | None = None
    runtime: Runtime = field(default_factory=Runtime)
    limits: tuple[Limit, ...] = ()
    # Mappings have no hash; devices that differ only in these are unequal all the same.
    backend_limits: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict, hash=False)
    options: Mapping[str, Mapping[str, object]] = field(default_factory=dict, hash=False)
    rules: Rules = field(default_factory=Rules)
    counting: bool = False

    @property
    def emulated(self) -> bool:
        """Whether its CPU is emulated: exactly when its link is ``qemu``."""
        return self.link == "qemu"

    @property
    def settings(self) -> dict[str, int | bool]:
        """What every backend is to set alike, or its figures say nothing beside another's."""
        return {
            "threads": self.threads,
            "interop_threads": self.interop_threads,
            "flush_denormals": self.flush_denormals,
        }

    def limits_for(self, backend: str) -> tuple[Limit, ...]:
        """The device's limits under this backend: the general ones and its own, all of which count."""
        return self.limits + self.backend_limits.get(backend, ())


def device_names(folders: Sequence[Path]) -> list[str]:
    """The names of the devices in these folders, sorted; a folder that is not there has none."""
    files = (path for folder in folders for path in folder.glob("*.toml"))
    return sorted({path.stem for path in files if path.is_file() and DEVICE_NAME.fullmatch(path.stem)})
