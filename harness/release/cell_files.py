"""What a cell says of itself, beside what its committed model and device files say of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..backends import load_backend
from ..checks.limits import Limit, Metric
from ..device import Device
from ..device.memory_size import memory_fits
from ..errors import BackendError
from ..evidence.schema import CellEntry, Fingerprint
from ..parity import PARITY
from .cell_conditions import name_of, otherwise_linked
from .refusal import AGAIN, Refusal

if TYPE_CHECKING:
    from ..model.model import Model

_UNCHANGED = f"do not change evidence; {AGAIN}"


def file_refusals(
    cell: CellEntry,
    device: Device,
    model: Model,
    limits: Sequence[Limit],
    metrics: Sequence[Metric],
    *,
    required: Sequence[str],
) -> Iterator[Refusal]:
    """Find what a cell says that cannot be of a run on these files.

    Args:
        cell: the cell.
        device: its device, as committed.
        model: its model, as committed.
        limits: all that count in it.
        metrics: those that limits may be set on.
        required: the metrics that a policy requires: of these it is told elsewhere that they were not checked.
    """
    yield from otherwise_linked(cell, device)
    yield from _unchecked(cell, limits, [metric for metric in (*metrics, PARITY) if metric.name not in required])
    if cell.fingerprint is not None:
        for key, written, found in board_misfits(device, cell.fingerprint):
            reason = f"{name_of(cell)}: {key} is {found} by the evidence, and {written} by the file of {device.name}"
            yield Refusal(reason, f"correct the file, or the host that it names, and {AGAIN}")
    for what, said, meant in _stated(cell, device, model):
        if said != meant:
            reason = f"{name_of(cell)}: the evidence has {what} {said!r:.200}, and its files say {meant!r:.200}"
            yield Refusal(reason, _UNCHANGED)


def _unchecked(cell: CellEntry, limits: Sequence[Limit], metrics: Sequence[Metric]) -> Iterator[Refusal]:
    """Refuse a limit that no check was judged by: a whole run has one of each, be it INCONCLUSIVE."""
    by_key = {metric.limit_key: metric.name for metric in metrics}
    checked = {check.metric for check in cell.checks}
    for limit in limits:
        if limit.key in by_key and by_key[limit.key] not in checked:
            reason = f"{name_of(cell)}: {by_key[limit.key]} has a limit ({limit.source}), and was not checked"
            yield Refusal(reason, f"{AGAIN}, the whole suite: pytest -m hil")


def board_misfits(device: Device, fingerprint: Fingerprint) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what a device file says, what a fingerprint says) where they differ, as at a run's beginning."""
    python = device.runtime.python or "/"
    written: dict[str, Any] = {"arch": device.arch, "cpu": device.cpu, "memory_mib": device.memory_mib}
    written |= {} if python.startswith("/") else {"python": python}
    for key, value in written.items():
        found = getattr(fingerprint, key)
        if value is not None and found not in ("", 0) and not _fits(key, value, found):
            yield key, str(value), str(found)


def _fits(key: str, written: Any, found: Any) -> bool:
    if key == "memory_mib":
        return memory_fits(written, found)
    if key == "python":
        return f"{found}.".startswith(f"{written}.")
    return str(written).lower() == str(found).lower()


def _stated(cell: CellEntry, device: Device, model: Model) -> Iterator[tuple[str, Any, Any]]:
    """Yield what the evidence says of how it was measured, and what the files have it be."""
    yield "measure", dict(cell.measure), dict(model.described_sizes)
    clock = None if cell.clock is None else (cell.clock.rate_hz, cell.clock.late)
    yield "clock", clock, None if model.clock is None else (model.clock.rate_hz, model.clock.late)
    for key, value in device.settings.items():
        if cell.fingerprint is not None:
            yield key, getattr(cell.fingerprint, key), value
        if cell.load is not None:
            yield f"load.{key}", getattr(cell.load, key), value
    if cell.load is not None:
        yield "load.options", dict(cell.load.options), _options(cell, device)


def _options(cell: CellEntry, device: Device) -> dict[str, Any]:
    given = dict(device.options.get(cell.backend, {}))
    try:
        return {**load_backend(cell.backend).defaults, **given}
    except BackendError:  # as a plug-in's that is not here
        return given
