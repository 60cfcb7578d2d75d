"""hilgate doctor: the way to a device, then the device. What depends on a check that failed is skipped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..board.daemon_client import DaemonClient
from ..board.trial import Trial, try_board
from ..device.device import Device
from ..errors import HilgateError
from ..links import WayCheck, WayStatus, link_class, open_link
from ..protocol import BoardFacts
from ..protocol import daemon as answers
from . import board_checks, endpoint_checks, runtime_checks
from .doctor_check import FAILED, OK, SKIPPED, WARNING, Check, failed, skipped

MARKS = {WayStatus.OK: OK, WayStatus.FAILED: FAILED, WayStatus.WARNING: WARNING, WayStatus.SKIPPED: SKIPPED}


def examine(device: Device, folders: Sequence[Path] = (), *, offline: bool) -> Iterator[Check]:
    """Yield every check of a device as soon as it is made.

    Args:
        device: the device.
        folders: those of device files, the user's first; endpoint files are beside them.
        offline: skip what may have to download something.
    """
    runtimes = [*runtime_checks.names(device), *endpoint_checks.names(device)]
    link, broken = link_class(device.link), ""
    for check in link.check_way(device) if link is not None else ():
        stops = check.status is WayStatus.FAILED or check.is_last
        broken = broken or (check.name if stops else "")
        yield from _check_of(check)
    if broken:
        yield from skipped(("Python", *board_checks.NAMES, *runtimes), broken)
        return
    try:
        facts, look, trial, behind_s, endpoints = _ask(device, folders)
    except HilgateError as error:
        yield failed("Python", error)
        yield from skipped((*board_checks.NAMES, *runtimes), "Python")
        return
    yield board_checks.python(device, facts)
    yield from board_checks.board(device, facts)
    yield from board_checks.store(device, look, trial)
    yield from runtime_checks.runtimes(device, facts, offline=offline)
    yield from endpoints
    yield from board_checks.condition(facts, look, behind_s)


def _ask(device: Device, folders: Sequence[Path]) -> tuple[BoardFacts, answers.Look, Trial, float, list[Check]]:
    """Ask a device what it is and how it is, try what a run does there, and compare its clock with the host's.

    The daemon is closed before anything else is done, because it ends when it hears nothing for a while.

    Returns:
        The board's facts; its state; what it refused to do; how many seconds its clock is behind the host's; and what
        it has seen of the endpoints of its remote backends.
    """
    link = open_link(device)
    try:
        daemon = DaemonClient.start(link, device)
        try:
            facts = daemon.request(answers.Facts, packages=[] if device.runtime.packages else None)
            look = daemon.request(answers.Look, store=device.store or link.store)
            behind_s = time.time() - look.time
            trial = try_board(link, daemon, device)
        finally:
            daemon.close()
        return facts, look, trial, behind_s, list(endpoint_checks.endpoints(link, device, facts, folders))
    finally:
        link.close()
        link.power_off()


def _check_of(check: WayCheck) -> Iterator[Check]:
    """Turn a check of the way into one of doctor's own."""
    if check.error is not None:
        yield failed(check.name, check.error)
    elif check.failed_before:
        yield from skipped((check.name,), check.failed_before)
    else:
        yield Check(check.name, MARKS[check.status], check.found, check.hint)
