"""What a test's error says about its cell: FAIL is a word about the model, and not every error is."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest

from ..cell import Cell
from ..errors import (
    UNDECIDED,
    DeploymentError,
    DeviceError,
    EmulatorError,
    HilgateError,
    LinkError,
    LinkLost,
    StorageError,
)
from ..printable import printable, printable_lines
from .run import Run


def record_error(report: pytest.TestReport, item: pytest.Item, error: BaseException, run: Run, cell: Cell) -> None:
    """Record why a test of a cell came to no check, and have its report say so in hilgate's own words.

    A device that cannot be used and an interruption leave the cell INCONCLUSIVE; any other error makes it FAIL. A
    check's own outcome has been recorded already.
    """
    if report.when == "teardown" and cell.device.name in run.devices.unavailable:
        return  # what earlier tests have set up is ended in the name of one that is left out
    is_checked = item.nodeid not in run.evidence[cell].pending and "record_check" in getattr(item, "fixturenames", ())
    if isinstance(error, (pytest.skip.Exception, KeyboardInterrupt, pytest.exit.Exception)) or (
        isinstance(error, pytest.fail.Exception) and is_checked
    ):
        return
    if isinstance(error, HilgateError) and is_of_the_device(error, run, cell):
        report.longrepr = str(error)
        with contextlib.suppress(StorageError):
            run.devices.give_up(cell.device, error)
        return
    if isinstance(error, DeploymentError):
        error = run.damage_watch.explain(cell, error)
    if isinstance(error, UNDECIDED):  # says nothing about the model: what was being checked stays open
        report.longrepr = _shown(error, run.evidence[cell].interruptions)
        is_noted = error.found in run.evidence[cell].notes
        with contextlib.suppress(StorageError):
            run.evidence.add_interruption(cell, error.what if is_noted else str(error))
        return
    run.evidence[cell].pending.discard(item.nodeid)
    if isinstance(error, HilgateError):
        report.longrepr = _shown(error, run.evidence[cell].errors)
    text = str(error) if isinstance(error, HilgateError) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(StorageError):  # said at the end, and below
        run.evidence.add_error(cell, text)
    if run.evidence.unwritable:
        item.session.shouldstop = "the evidence cannot be written"


def is_of_the_device(error: HilgateError, run: Run, cell: Cell) -> bool:
    """Tell whether an error says that the device cannot be used: in use, unreachable, or not what its file says."""
    kinds = (LinkError, DeviceError, EmulatorError)
    is_known = run.devices.unavailable.get(cell.device.name) is error
    return is_known or (isinstance(error, kinds) and not isinstance(error, LinkLost))


def _shown(error: HilgateError, before: Sequence[str]) -> str:
    """Show an error as a whole the first time, and in a line where the cell has had it before."""
    notes = "".join("\n" + printable_lines(note, indent="  ") for note in getattr(error, "__notes__", []))
    return f"{printable(error.what)} (as above)" if str(error) in before else f"{error}{notes}"
