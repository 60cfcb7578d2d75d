"""hilgate doctor: the way to a device, then the device. What depends on a check that failed is skipped."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import fabric
import paramiko

from ..board.keeper import Keeper
from ..board.trial import Trial, try_board
from ..device.device import Device
from ..emulator import host
from ..emulator.image import find_image, image_folder
from ..emulator.machine import machine_of
from ..emulator.sealed import damage
from ..errors import HilgateError, HostKeyError
from ..links import open_link
from ..links.ssh.connection import connect
from ..links.ssh.route import find_route
from ..protocol import BoardFacts
from ..protocol import keeper as answers
from . import board_checks, runtime_checks
from .doctor_check import FAILED, OK, SKIPPED, WARNING, Check, failed, skipped
from .trust_host import host_keys

TCP_S = 5.0
NETWORK = ("name", "TCP", "host key", "login")


def examine(device: Device, *, offline: bool) -> Iterator[Check]:
    """Yield every check of a device as soon as it is made.

    Args:
        device: the device.
        offline: skip what may have to download something.
    """
    runtimes = runtime_checks.names(device)
    ways: dict[str, Callable[[Device], Iterator[Check]]] = {"ssh": _network, "qemu": _emulator}
    broken = ""
    for check in ways[device.link](device) if device.link in ways else ():
        stops = check.mark == FAILED or (check.mark == WARNING and device.emulated)
        broken = broken or (check.name if stops else "")
        yield check
    if broken:
        yield from skipped(("Python", *board_checks.NAMES, *runtimes), broken)
        return
    try:
        facts, look, trial, behind_s = _ask(device)
    except HilgateError as error:
        yield failed("Python", error)
        yield from skipped((*board_checks.NAMES, *runtimes), "Python")
        return
    yield board_checks.python(device, facts)
    yield from board_checks.board(device, facts)
    yield from board_checks.store(device, look, trial)
    yield from runtime_checks.runtimes(device, facts, offline=offline)
    yield from board_checks.condition(facts, look, behind_s)


def _ask(device: Device) -> tuple[BoardFacts, answers.Look, Trial, float]:
    """Ask a device what it is and how it is, try what a run does there, and compare its clock with the host's.

    The keeper is closed before anything else is done, because it ends when it hears nothing for a while.

    Returns:
        The board's facts; its state; what it refused to do; and how many seconds its clock is behind the host's.
    """
    link = open_link(device)
    try:
        keeper = Keeper(link, device)
        try:
            facts = keeper.request(answers.Facts, packages=[] if device.runtime.packages else None)
            look = keeper.request(answers.Look, store=device.store or link.store)
            behind_s = time.time() - look.time
            return facts, look, try_board(link, keeper, device), behind_s
        finally:
            keeper.close()
    finally:
        link.close()
        link.power_off()


def _emulator(device: Device) -> Iterator[Check]:
    try:
        machine = machine_of(device)
    except HilgateError as error:
        yield failed("QEMU", error)
        yield from skipped(("image",), "QEMU")
        return
    yield Check("QEMU", OK, f"{host.qemu_version()}: {machine.cpu}, {machine.memory_mib} MiB")
    image = find_image()
    if image is None:
        yield _unbuilt(device)
        return
    yield Check("image", OK, f"{image.name}, kernel {image.record['kernel']}")


def _unbuilt(device: Device) -> Check:
    if missing := host.missing({**host.TO_RUN, **host.TO_BUILD}):
        hint = f"sudo apt-get install {' '.join(host.install_line(missing))}"
        return Check("image", FAILED, f"not built yet, and cannot be: not installed: {', '.join(missing)}", hint)
    folder = image_folder()
    why = f"damaged: {damage(folder)}" if folder.exists() else "not built yet"
    return Check(
        "image", WARNING, f"{why}; the next run builds it", f"for a look at the rest: hilgate image build {device.name}"
    )


def _network(device: Device) -> Iterator[Check]:
    try:
        with closing(find_route(device.host or "", {})) as route:
            first, by_command = route.hops[0], route.command is not None
    except HilgateError as error:  # a ~/.ssh/config that cannot be understood
        yield failed("name", error)
        yield from skipped(NETWORK[1:], "name")
        return
    if by_command:
        for name in NETWORK[:2]:
            yield Check(name, SKIPPED, "a ProxyCommand finds the way")
    else:
        for name, look in (("name", _resolve), ("TCP", _answer)):
            check = look(first)
            yield check
            if check.mark == FAILED:
                yield from skipped(NETWORK[NETWORK.index(name) + 1 :], name)
                return
    yield from _log_in(device)


def _resolve(first: fabric.Connection) -> Check:
    try:
        found = socket.getaddrinfo(first.host, first.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        hint = "name an address, or a host of ~/.ssh/config, as device.host"
        return Check("name", FAILED, f"{first.host} does not resolve: {error}", hint)
    return Check("name", OK, f"{first.host} is {found[0][4][0]}")


def _answer(first: fabric.Connection) -> Check:
    where = f"{first.host}, port {first.port}"
    try:
        socket.create_connection((first.host, first.port), timeout=TCP_S).close()
    except ConnectionRefusedError:
        return Check("TCP", FAILED, f"{where} refuses: nothing listens there", "start its SSH server; is it this port?")
    except OSError as error:
        reason = f"no answer in {TCP_S:g} s" if isinstance(error, TimeoutError) else str(error)
        hint = "is it switched on, in this network, and not behind a firewall?"
        return Check("TCP", FAILED, f"{where}: {reason}", hint)
    return Check("TCP", OK, f"{where} answers")


def _log_in(device: Device) -> Iterator[Check]:
    try:
        route = connect(device)
    except HostKeyError as error:
        yield failed("host key", error)
        yield from skipped(("login",), "host key")
        return
    except HilgateError as error:
        # The server's key is verified before anyone logs in.
        verified = isinstance(error.__cause__, paramiko.AuthenticationException)
        yield Check("host key", OK, "as known") if verified else Check("host key", SKIPPED, "it did not come to that")
        yield failed("login", error)
        return
    with closing(route):
        keys = host_keys(route, device)
        way = [f"{hop.user}@{hop.host}" for hop in route.hops]
    yield Check("host key", OK, "\n".join(f"{key.key.get_name()} {key.fingerprint} ({key.name})" for key in keys))
    yield Check("login", OK, " → ".join(way))
