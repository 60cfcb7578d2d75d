"""What a policy asks of a cell that is to be released: whole, passed, on a real device, with what is required."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..backends import load_backend
from ..checks.check import Verdict
from ..device import Device
from ..errors import BackendError
from ..evidence.schema import CellEntry, CheckEntry
from ..export.endpoint import LABEL as DESCRIPTION
from .policy import Policy
from .refusal import AGAIN, Refusal

_BAD = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INELIGIBLE)
# What a release is made of, and why it may not be there.
_PARTS = {
    "fingerprint": "which device it was",
    "artifact": "which artifact was tested",
    "bundle": "which bundle was tested",
    "load": "how the artifact was loaded",
    "answers": "what it should answer (as after a parity that passed)",
}


def name_of(cell: CellEntry) -> str:
    """Name a cell: "digits/rig/onnxruntime"."""
    return f"{cell.model}/{cell.device}/{cell.backend}"


def cell_refusals(policy: Policy, cell: CellEntry, *, lacks: Sequence[str]) -> Iterator[Refusal]:
    """Find what of a cell keeps it from being released.

    Args:
        policy: the policy.
        cell: the cell.
        lacks: its keys that an older hilgate did not write; they are told elsewhere.
    """
    if is_remote(cell):
        where = f" ({cell.endpoint.url})" if cell.endpoint is not None else ""
        reason = f"{name_of(cell)}: the model is not on the device, {cell.backend} calls another computer{where}"
        yield Refusal(reason, "name a backend that runs on the device: what is released is put on it")
    if cell.service_emulated:
        reason = f"{name_of(cell)}: its service was emulated by the run: nothing of a cloud was measured"
        yield Refusal(reason, "run the tests with the endpoint that the robot will call")
    yield from _emulated(policy, cell)
    yield from _not_passed(cell)
    for metric in policy.evidence.require:
        yield from _required(cell, metric)
    yield from _incomplete(cell, lacks)


def is_remote(cell: CellEntry) -> bool:
    """Tell whether another computer has a cell's model, by its evidence or by its backend."""
    if (
        cell.endpoint is not None
        or cell.fallback is not None
        or (cell.artifact is not None and cell.artifact.exporter == DESCRIPTION)
    ):
        return True
    try:
        return load_backend(cell.backend).remote
    except BackendError:  # said elsewhere
        return False


def _incomplete(cell: CellEntry, lacks: Sequence[str]) -> Iterator[Refusal]:
    """Refuse a cell without what a release is made of; why it has none may have been told already."""
    without = [part for part in _PARTS if getattr(cell, part) is None and part not in lacks]
    if any(check.metric == "parity" and check.verdict in _BAD for check in cell.checks):
        without = [part for part in without if part != "answers"]
    if without and not cell.error:
        words = "; ".join(_PARTS[part] for part in without)
        yield Refusal(f"{name_of(cell)}: the evidence does not say {words}", AGAIN)


def _emulated(policy: Policy, cell: CellEntry) -> Iterator[Refusal]:
    is_emulated = cell.emulated or (cell.fingerprint is not None and cell.fingerprint.emulator is not None)
    if is_emulated and not policy.evidence.emulated:
        remedy = "run the tests on a board, and name that; or write emulated = true into [evidence]"
        yield Refusal(f"{name_of(cell)}: {cell.device} was emulated, and a real device is asked for", remedy)
    yield from otherwise_linked(cell, policy.machines[cell.device])


def otherwise_linked(cell: CellEntry, device: Device) -> Iterator[Refusal]:
    """Refuse a cell that was emulated by its own account and not by its device's file, or the other way round."""
    if device.emulated is not cell.emulated:
        kinds = ("real", "emulated")
        said, known = kinds[cell.emulated], kinds[device.emulated]
        reason = (
            f"{name_of(cell)}: {device.name} is {said} by the evidence, and {known} by its file (link {device.link})"
        )
        yield Refusal(reason, f"do not change evidence; {AGAIN}")


def _not_passed(cell: CellEntry) -> Iterator[Refusal]:
    """Tell everything for which a cell is not PASS: what --allow-inconclusive lets through in a run does not pass."""
    name, found = name_of(cell), list[Refusal]()
    for check in cell.checks:
        if check.verdict in _BAD:
            reason = f": {check.reason}" if check.reason else _figures(check)
            found.append(Refusal(f"{name}: {check.metric} is {check.verdict}{reason}", _mend(check)))
    for text in dict.fromkeys(filter(None, [cell.error, *_apart(cell)])):
        found.append(Refusal(f"{name}: it could not run to its end: {text}", f"mend that, and {AGAIN}"))
    if cell.unfinished:
        more = f" and {len(cell.unfinished) - 5} more" if len(cell.unfinished) > 5 else ""
        tests = ", ".join(cell.unfinished[:5])
        found.append(Refusal(f"{name}: tests came to no check: {tests}{more}", f"{AGAIN}, without skipping them"))
    if cell.forbidden is not None:
        found.append(Refusal(f"{name}: {cell.forbidden}", "name a backend that the rules allow"))
    if cell.not_built is not None:
        found.append(Refusal(f"{name}: its backend was not built: {cell.not_built}", f"mend that, and {AGAIN}"))
    if not found and cell.verdict is Verdict.MEASURED:
        found.append(Refusal(f"{name}: it had no limit to keep", f"set limits in the model file, and {AGAIN}"))
    if not found and cell.verdict is not Verdict.PASS:
        found.append(Refusal(f"{name}: its verdict is {cell.verdict}", AGAIN))
    yield from found


def _apart(cell: CellEntry) -> list[str]:
    """Return interruptions that the cell's error does not tell already."""
    return [each for each in cell.interruptions if each not in (cell.error or "")]


def _figures(check: CheckEntry) -> str:
    return f", {check.bound} against a limit of {check.limit}" if check.limit is not None else ""


def _mend(check: CheckEntry) -> str:
    if check.verdict is Verdict.FAIL:
        return f"have it keep its limit, and {AGAIN}"
    return (
        f"give it what it takes to be decided, such as --time-limit, and {AGAIN}; --allow-inconclusive does not count"
    )


def _required(cell: CellEntry, metric: str) -> Iterator[Refusal]:
    """Refuse a required metric that is not PASS; what failed or stayed open is told with the cell's checks."""
    name, checks = name_of(cell), [check for check in cell.checks if check.metric == metric]
    if not checks:
        reason = f"{name}: {metric} is required, and was not checked"
        yield Refusal(reason, f"set a limit on it, so that a test that is left out is missed, and {AGAIN}")
    for check in checks:
        if check.verdict is Verdict.MEASURED:
            unit = f" {check.unit}" if check.unit else ""
            reason = f"{name}: {metric} is required to PASS, and is only MEASURED ({check.value}{unit})"
            key = f"{metric}_min" if check.better == "higher" else metric
            yield Refusal(reason, f"set a limit on it in the model file, limits={{{key!r}: …}}, and {AGAIN}")
        elif check.verdict is Verdict.NOT_APPLICABLE:
            reason = f"{name}: {metric} is required to PASS, and is NOT_APPLICABLE: {check.reason}"
            yield Refusal(reason, "take it out of evidence.require, or run the tests where it can be measured")
