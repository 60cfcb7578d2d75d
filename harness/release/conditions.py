"""What a policy asks of evidence. Each condition that is not met is a refusal; all are found, and none twice.

Which cell is released on the word of which devices: of each of ``evidence.devices`` one cell, all with one backend. The
bundle that is released must have been tested on each of them, byte for byte: so their manifests must have one hash,
which names artifact, agent and runtime. Devices of another architecture, or of another Python, have another runtime and
therefore another bundle: each needs a policy, and a release, of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..decision import PREFER, WITHIN_PERCENT, decide
from ..decision.grouping import group
from ..device import Device
from ..errors import InputError
from ..evidence.decision_entry import DecisionEntry
from ..evidence.schema import CellEntry, Fingerprint, RunEntry
from ..host.suggestion import did_you_mean
from .cell_conditions import cell_refusals, name_of
from .cell_files import board_misfits
from .policy import DECISION, Policy
from .refusal import AGAIN, Refusal, each_once
from .run_conditions import run_refusals

# Keys of a fingerprint of which an empty value is a fact: a PC has no device tree, and so no board's name in it.
_MAY_BE_EMPTY = ("board",)
# As far apart as harness.agent.check allows.
_MEMORY_RATIO = 1.02


def cells_of(policy: Policy, run: RunEntry) -> tuple[dict[str, CellEntry], list[Refusal]]:
    """Find the cell of each of the policy's devices that is to be released.

    Where the decision chooses, it is made again of the cells, by the metrics that the evidence's own decision names;
    what that took must be what is taken now.

    Returns:
        The cells by device, of those that have one; and why the others have none.
    """
    cells, refusals = dict[str, CellEntry](), list[Refusal]()
    model = policy.release.model
    if not any(cell.model == model for cell in run.cells):
        names = sorted({cell.model for cell in run.cells})
        remedy = did_you_mean(model, names) or "run its tests, too: pytest -m hil"
        return {}, [Refusal(f"the model {model} did not run; {_listed(names)} did", remedy)]
    for device in policy.evidence.devices:
        of_device = [cell for cell in run.cells if (cell.model, cell.device) == (model, device)]
        if not of_device:
            names = sorted({cell.device for cell in run.cells if cell.model == model})
            reason = f"{model} did not run on {device}, only on {_listed(names)}"
            refusals.append(Refusal(reason, f"run it there, too: pytest -m hil {_options([*names, device])}"))
            continue
        cell, problem = _chosen(policy, run, of_device)
        if cell is not None:
            cells[device] = cell
        refusals += problem
    taken = {device: cell.backend for device, cell in cells.items()}
    if len(set(taken.values())) > 1:
        shown = ", ".join(f"{backend} on {device}" for device, backend in taken.items())
        reason = f"the decision takes another backend of {model} on each device: {shown}"
        refusals.append(Refusal(reason, "name one of them in release.backend, which passes on all of the devices"))
    return cells, each_once(refusals)


def _chosen(policy: Policy, run: RunEntry, cells: Sequence[CellEntry]) -> tuple[CellEntry | None, list[Refusal]]:
    """Choose among the cells of a model on one device."""
    backend, where = policy.release.backend, f"{cells[0].model} on {cells[0].device}"
    if backend != DECISION:
        found = [cell for cell in cells if cell.backend == backend]
        if len(found) == 1:
            return found[0], []
        names = sorted(cell.backend for cell in cells)
        if found:
            return None, [Refusal(f"the evidence has {where} with {backend} twice", AGAIN)]
        remedy = did_you_mean(backend, names) or f"run it there, or release one of these: {', '.join(names)}"
        return None, [Refusal(f"{where} did not run with {backend}, only with {_listed(names)}", remedy)]
    if len(group(cells)) > 1:
        kinds = sorted({f"{'emulated' if cell.emulated else 'real'} {_short(cell.model_sha256)}" for cell in cells})
        reason = f"the cells of {where} are not of one model and one kind of device: {', '.join(kinds)}"
        return None, [Refusal(reason, f"{AGAIN}, all backends in one run")]
    return _decided(run, cells, where)


def _decided(run: RunEntry, cells: Sequence[CellEntry], where: str) -> tuple[CellEntry | None, list[Refusal]]:
    key = cells[0].model, cells[0].device
    stored = [entry for entry in run.decision if (entry.model, entry.device) == key]
    try:
        again = _decide(cells, stored[0] if stored else None)
    except InputError as error:
        return None, [Refusal(f"the evidence's decision for {where} cannot be made again: {error}", AGAIN)]
    refusals = list[Refusal]()
    # An older hilgate made none: that is told with what else it lacks.
    if run.has_ended and "decision" in run.model_fields_set and [_said(each) for each in stored] != [_said(again)]:
        took = " and ".join(_taken(each) for each in stored) or "has no decision"
        reason = f"the evidence's decision for {where} {took}, and by its cells it {_taken(again)}"
        refusals.append(Refusal(reason, f"do not change evidence; {AGAIN}"))
    if again.taken is None:
        outs = "; ".join(f"{out.backend}: {out.reason}" for out in again.out)
        change = f"what would: {again.changes[0].text}" if again.changes else "have one of them keep its limits"
        return None, [*refusals, Refusal(f"the decision takes no backend of {where}: {outs}", f"{change}; {AGAIN}")]
    return next(cell for cell in cells if cell.backend == again.taken), refusals


def _decide(cells: Sequence[CellEntry], stored: DecisionEntry | None) -> DecisionEntry:
    prefer, within = (PREFER, WITHIN_PERCENT) if stored is None else (stored.prefer, stored.within_percent)
    return decide(cells, prefer=prefer, within_percent=within)


def _said(decision: DecisionEntry) -> tuple[object, ...]:
    """Return what of a decision does not depend on how one hilgate words it."""
    parts = decision.emulated, decision.model_sha256, decision.taken, decision.tied, decision.order
    return (*parts, decision.without_limit)


def _taken(decision: DecisionEntry) -> str:
    order = f" (its order: {', '.join(decision.order)})" if decision.order else ""
    return f"takes {decision.taken or 'none'}{order}"


def refusals_of(
    policy: Policy,
    run: RunEntry,
    cells: Mapping[str, CellEntry],
    *,
    now: datetime,
    lacks: Sequence[str] = (),
    signed_by: Path | None = None,
    unsigned: str = "",
) -> list[Refusal]:
    """Find every condition of a policy that evidence does not meet, but for what files, samples and git say.

    Args:
        policy: the policy.
        run: the evidence.
        cells: those that are to be released, by device, as ``cells_of`` returns them.
        now: the time, with its zone.
        lacks: keys that an older hilgate did not write (``ReadEvidence.lacks``).
        signed_by: which of the policy's ``evidence.signed_by`` has verified the evidence's signature; None for none.
        unsigned: why none has, where that is known.
    """
    found = [
        *run_refusals(policy, run, now=now, signed_by=signed_by, unsigned=unsigned),
        *_lacking(run, cells, lacks),
        *(refusal for cell in cells.values() for refusal in cell_refusals(policy, cell, lacks=_keys(run, cell, lacks))),
        *_apart(cells),
        *_target_refusals(policy, cells),
    ]
    return each_once(found)


def _lacking(run: RunEntry, cells: Mapping[str, CellEntry], lacks: Sequence[str]) -> Iterator[Refusal]:
    """Refuse evidence of an older hilgate, and name the keys; those of cells that are not released do not matter."""
    named = [key for key in lacks if not key.startswith("cells[")]
    for cell in cells.values():
        named += [f"{name_of(cell)}: {key}" for key in _keys(run, cell, lacks)]
    if named:
        reason = f"the evidence is of an older hilgate ({run.tool}), and lacks {', '.join(named)}"
        yield Refusal(reason, f"{AGAIN} with this hilgate")


def _keys(run: RunEntry, cell: CellEntry, lacks: Sequence[str]) -> list[str]:
    """Return the keys that a cell lacks, and its fingerprint, without the cell's own place in front."""
    names = [(each.model, each.device, each.backend) for each in run.cells]
    place = f"cells[{names.index((cell.model, cell.device, cell.backend))}]."
    keys = [key.removeprefix(place) for key in lacks if key.startswith(place)]
    if cell.fingerprint is not None and "libc" not in cell.fingerprint.model_fields_set:
        keys.append("fingerprint.libc")
    return keys


def _apart(cells: Mapping[str, CellEntry]) -> Iterator[Refusal]:
    """Refuse devices that did not test one build: see the module's text."""
    if len({cell.backend for cell in cells.values()}) > 1:  # said already: several decisions
        return
    remedy = f"{AGAIN} on all of these devices at once; or give each kind of device a policy of its own"
    for what, values in (
        ("model", {device: cell.model_sha256 for device, cell in cells.items()}),
        ("artifact", {device: cell.artifact.sha256 for device, cell in cells.items() if cell.artifact}),
        ("bundle", {device: cell.bundle.sha256 for device, cell in cells.items() if cell.bundle}),
    ):
        if len(set(values.values())) > 1:
            shown = ", ".join(f"{_short(value)} on {device}" for device, value in values.items())
            yield Refusal(f"the devices did not test one {what}: {shown}", remedy)
            return


def same_of(policy: Policy, cells: Mapping[str, CellEntry]) -> dict[str, Any]:
    """Return what a target must have in common with the devices of the evidence, by key of the fingerprint.

    Only of cells that ``refusals_of`` has no refusal for: then the devices agree.
    """
    fingerprint = next(cell.fingerprint for cell in cells.values() if cell.fingerprint is not None)
    return {key: getattr(fingerprint, key) for key in policy.target.same}


def _target_refusals(policy: Policy, cells: Mapping[str, CellEntry]) -> Iterator[Refusal]:
    """Refuse what no target can have in common with the evidence, and targets whose device file says another thing."""
    fingerprints = {device: cell.fingerprint for device, cell in cells.items() if cell.fingerprint is not None}
    for key in policy.target.same:
        values = {device: getattr(each, key) for device, each in fingerprints.items()}
        for device, value in values.items():
            if value in ("", 0, "unknown") and key not in _MAY_BE_EMPTY:
                reason = f"target.same has {key}, and {device} did not say its own"
                yield Refusal(reason, f"take {key} out of target.same, or run the tests on a device that says it")
        if not _alike(key, list(values.values())):
            shown = ", ".join(f"{value!r} of {device}" for device, value in values.items())
            remedy = f"take {key} out of target.same, or one of these out of evidence.devices"
            yield Refusal(f"no target can have the same {key} as all devices of the evidence: {shown}", remedy)
    for name in policy.target.devices:
        for device, fingerprint in fingerprints.items():
            yield from _misfits(policy.machines[name], device, fingerprint, policy.target.same)


def _alike(key: str, values: Sequence[Any]) -> bool:
    """Tell whether devices have a value in common; of memory, as far as kernels differ in what they keep of it."""
    if key == "memory_mib" and values:
        return bool(max(values) <= min(values) * _MEMORY_RATIO)
    return len(set(values)) <= 1


def _misfits(target: Device, device: str, fingerprint: Fingerprint, same: Sequence[str]) -> Iterator[Refusal]:
    """Compare a target's device file, where it says something, with a device of the evidence."""
    for key, written, found in board_misfits(target, fingerprint):
        # Nothing that was built for one architecture runs on another, whatever a policy asks for.
        if key in same or key == "arch":
            reason = f"the target {target.name} has {key} {written} by its device file, and {device} has {found}"
            remedy = f"name another target, correct {target.name}'s file, or run the tests on a device like it"
            yield Refusal(reason, remedy)


def _short(sha256: str | None) -> str:
    return "no hash" if sha256 is None else f"{sha256[:12]}…"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def _options(devices: Sequence[str]) -> str:
    return " ".join(f"--device {device}" for device in devices)
