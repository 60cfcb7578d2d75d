"""The machine under test, as its device file describes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..checks.limits import Limit
from ..host.extending import NAME, file_names
from .link_facts import LinkFacts, link_class
from .tables import Measure, Rules, Runtime

__all__ = ["KNOWN_HOSTS", "Device", "DeviceFile", "Measure", "Rules", "Runtime", "device_names"]

KNOWN_HOSTS = "known_hosts"  # in the user's folder of devices
DEVICE_NAME = NAME


@dataclass(frozen=True, kw_only=True)
class DeviceFile:
    """A file that describes a device, as it was read.

    Attributes:
        name: the device's that it is named after.
        path: resolved.
        sha256: of its bytes.
    """

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """A machine under test, as its file and the files that it extends describe it. Its keys: docs/device-file.md.

    Attributes:
        path: the device's own file, the first of the chain.
        files: the chain: its own file and those that it extends; empty of a device that was made by hand.
        link: the name of the link that reaches it.
        backends: the names of the backends that it is tested with.
        host: its SSH name, [user@]address[:port].
        arch: its architecture, "x86_64" or "aarch64".
        cpu: the name of its CPU.
        memory_mib: its memory in MiB.
        optional: those of the backends that a run may leave out where the host cannot build them.
        store: the folder that hilgate uses on the machine; None for the link's default.
        known_hosts: the file of pinned host keys.
        limits: limits that hold with every backend.
        backend_limits: further limits by backend.
        options: the options of each backend, as the file has them.
        counting: whether it is the guest that counts instructions; no file says so (harness.instructions.counting).
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
    # Mappings cannot be hashed; devices that differ only in these are still unequal.
    backend_limits: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict, hash=False)
    options: Mapping[str, Mapping[str, object]] = field(default_factory=dict, hash=False)
    rules: Rules = field(default_factory=Rules)
    measure: Measure = field(default_factory=Measure)
    counting: bool = False
    files: tuple[DeviceFile, ...] = ()

    @cached_property
    def emulated(self) -> bool:
        """Whether its CPU is emulated, as the class of its link says."""
        return self._is(lambda link: link.emulated)

    @cached_property
    def can_count(self) -> bool:
        """Whether it can count instructions, as the class of its link says."""
        return self._is(lambda link: link.can_count)

    @cached_property
    def is_this_machine(self) -> bool:
        """Whether it is the host itself, as the class of its link says."""
        return self._is(lambda link: link.is_this_machine)

    @cached_property
    def tunnels_back(self) -> bool:
        """Whether its programs can be given a way to a port of the host's, as the class of its link says."""
        return self._is(lambda link: link.tunnels_back)

    @cached_property
    def loses_packets(self) -> bool:
        """Whether it can be made to lose packets, as the class of its link says."""
        return self._is(lambda link: link.loses_packets)

    def _is(self, says: Callable[[LinkFacts], bool]) -> bool:
        """Ask the class of its link; a link that nobody has is nothing of the kind."""
        link = link_class(self.link)
        return link is not None and says(link)

    @property
    def settings(self) -> dict[str, int | bool]:
        """The settings that every backend must apply alike, so that their figures can be compared."""
        return {
            "threads": self.threads,
            "interop_threads": self.interop_threads,
            "flush_denormals": self.flush_denormals,
        }

    def limits_for(self, backend: str) -> tuple[Limit, ...]:
        """Return the limits that hold with a backend: the general ones and its own, all of which count."""
        return self.limits + self.backend_limits.get(backend, ())


def device_names(folders: Sequence[Path]) -> list[str]:
    """List the names of the devices in these folders, sorted; a folder that does not exist has none."""
    return file_names(folders)
