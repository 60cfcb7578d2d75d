"""hilgate devices: a line for each device; all are looked at together."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Mapping, Sequence

import paramiko

from ..board.daemon_client import DaemonClient
from ..board.preflight import differences
from ..device.device import Device, device_names
from ..errors import DeviceError, HilgateError, HostKeyError, LinkError
from ..links import link_class, open_link
from ..links.ssh.hostkeys import Unverified
from ..protocol import daemon as answers
from .project import Project
from .text import table

# For all devices together: one that has not answered by then is shown as not reachable.
PROBE_S = 12.0


def overview(project: Project, *, probe: bool) -> list[str]:
    """Make the table of all devices, as lines; below it what is wrong with device files.

    Args:
        project: the project.
        probe: whether to look which devices can be reached.
    """
    found: dict[str, Device | DeviceError] = {}
    for name in device_names(project.folders):
        try:
            found[name] = project.device(name)
        except DeviceError as error:
            found[name] = error
    states = _states([device for device in found.values() if isinstance(device, Device)]) if probe else {}
    head = ("NAME", "LINK", "HOST", "BACKENDS", "FROM", *(["STATE"] if probe else []))
    rows = [head, *(_row(project, name, device, states)[: len(head)] for name, device in found.items())]
    wrong = [f"{name}: {device}" for name, device in found.items() if isinstance(device, DeviceError)]
    return [*table(rows), *(line for text in wrong for line in ("", *text.splitlines()))]


def _row(project: Project, name: str, device: Device | DeviceError, states: Mapping[str, str]) -> tuple[str, ...]:
    origin = "project" if (project.folder / f"{name}.toml").exists() else "hilgate"
    if isinstance(device, DeviceError):
        return (name, "?", "?", "the file is wrong, see below", origin, "")
    return (name, device.link, device.host or "", ", ".join(device.backends), origin, states.get(name, ""))


def _states(devices: Sequence[Device]) -> dict[str, str]:
    """Say in a few words how each device is, by its name; each has a thread and a connection of its own."""
    answers: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    for device in devices:
        # A daemon: one that hangs in a name server or a dead network must not keep the program.
        work = threading.Thread(
            target=lambda one=device: answers.put((one.name, _state(one))), name=f"look-at-{device.name}", daemon=True
        )
        work.start()
    states, end = dict[str, str](), time.monotonic() + PROBE_S
    while len(states) < len(devices):
        try:
            name, state = answers.get(timeout=max(end - time.monotonic(), 0.0))
        except queue.Empty:
            break
        states[name] = state
    return {device.name: states.get(device.name, f"not reachable: no answer in {PROBE_S:g} s") for device in devices}


def _state(device: Device) -> str:
    try:
        return _look(device)
    except HilgateError as error:
        return _brief(error, device)
    except Exception as error:  # noqa: BLE001  # one device's trouble is no other's
        return f"{type(error).__name__}: {error}"


def _look(device: Device) -> str:
    kind = link_class(device.link)
    if kind is not None and (described := kind.describe_unopened(device)) is not None:
        return described
    link = open_link(device)
    try:
        daemon = DaemonClient.start(link, device)
        try:
            facts = daemon.request(answers.Facts, packages=[])
            holder = daemon.request(answers.Look, store=device.store or link.store).holder
        finally:
            daemon.close()
    finally:
        link.close()
    if wrong := differences(device, facts):
        return "another board than its file says: " + ", ".join(f"{key} {there}" for key, _, there in wrong)
    if holder is not None:
        return f"busy: held by {holder.who} since {holder.since}"
    return "reachable"


def _brief(error: HilgateError, device: Device) -> str:
    cause = error.__cause__
    if isinstance(error, HostKeyError):
        if error.shown is None:
            return error.what  # revoked
        changed = isinstance(cause, Unverified) and cause.identity.keys
        return f"host key {'has CHANGED' if changed else 'unknown'}: hilgate trust {device.name}"
    if isinstance(cause, socket.gaierror):
        return "not reachable: name does not resolve"
    if isinstance(cause, paramiko.AuthenticationException):
        return "refuses our keys"
    if isinstance(error, LinkError):
        reason = (error.found or error.what).splitlines()[0]
        return f"not reachable: {reason}"
    return error.what
