"""Tries what a run needs of a board beyond reaching it: a second program, a connection for transfers, the store.

A run makes the same checks as it goes: the second session before it acquires the lock, the store while it does, and
whether programs can be started from there before anything is sent. So `hilgate doctor` and `hilgate add` agree with the
run (issue 16: 42, 43, 48).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..backends import Backend, load_backend
from ..device.device import Device
from ..errors import DeviceError, HilgateError, LinkError
from ..links import LinkType, stderr_of
from ..protocol import daemon as answers
from .daemon_client import DaemonClient

SESSION_S = 30.0


@dataclass(frozen=True)
class Trial:
    """What a trial found.

    Attributes:
        sessions: why a second program cannot be run, or a second connection not be made; None where they can.
        store: why the store cannot be used; None where it can.
    """

    sessions: HilgateError | None = None
    store: HilgateError | None = None

    @property
    def troubles(self) -> list[HilgateError]:
        """The errors with which a run would fail."""
        return [trouble for trouble in (self.sessions, self.store) if trouble is not None]


def try_board(link: LinkType, daemon: DaemonClient, device: Device) -> Trial:
    """Try everything on a board whose daemon runs; nothing of it stays there."""
    sessions = store = None
    try:
        check_second_program(link)
        try_transfer(link, device)
    except HilgateError as error:
        sessions = error
    try:
        try_store(daemon, device, device.store or link.store)
    except HilgateError as error:
        store = error
    return Trial(sessions, store)


def check_second_program(link: LinkType) -> None:
    """Check that the board allows a second program beside the daemon.

    Raises:
        LinkError: the board does not allow it.
    """
    channel = link.start("exit 0")
    status = channel.finish(SESSION_S)
    if status != 0:
        raise LinkError(
            "a second program cannot be run beside the first",
            wanted="exit status 0 of: exit 0",
            found=f"{status}; {stderr_of(channel)}",
            where=link.where,
        )


def try_transfer(link: LinkType, device: Device) -> None:
    """Make a connection of the kind that files are sent on, and close it.

    Raises:
        LinkError: the board takes no second connection.
    """
    DaemonClient.start(link, device, bulk=True).close()


def try_store(daemon: DaemonClient, device: Device, store: str) -> None:
    """Have the daemon write a file to the store, read it, and map it as a library is mapped.

    Raises:
        StorageError: it cannot be written.
        DeviceError: no program can be started from there, and one of the device's backends puts some there.
    """
    if daemon.request(answers.Tried, store=store).executable:
        return
    for name in device.backends:
        check_executable(device, load_backend(name), store)


def ships_programs(device: Device, backend: Backend) -> bool:
    """Whether libraries or a runner are put into the store for a backend; otherwise what it runs is there already."""
    return bool(device.runtime.packages) or backend.native is not None


def check_executable(device: Device, backend: Backend, store: str) -> None:
    """Refuse a backend that puts programs into a store from which none can be started.

    Raises:
        DeviceError: it puts some there.
    """
    if not ships_programs(device, backend):
        return
    raise DeviceError(
        f"no program can be started from the store on {device.name}: its file system is mounted noexec",
        wanted=f"a folder from which {backend.name}'s libraries can be loaded",
        found=f"a page of a file in {store} cannot be mapped to be executed",
        where=f"{store} on {device.name} ({device.path})",
        hint='name a folder on another file system: [device] store = "/…"; or have that one mounted with exec',
    )
