"""Comparing a cell with another build of its model: both deployed on the cell's device, and timed in pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..bundle import make_bundle
from ..cell import Cell
from ..checks.finding import Finding
from ..deploy.deployer import Deployer
from ..errors import ExportError, HilgateError, InputError, StorageError
from ..export import Artifact
from ..host.progress import Update
from ..host.progress_log import progress_logger
from ..measure.against import OVER_OTHER, against, raw_durations, undecided
from ..measure.pairs import Plan, take_pairs
from .other_build import OtherBuild
from .run import Run

LOG = progress_logger(__name__)

# What takes longer than this is announced.
ANNOUNCE_ABOVE_S = 10.0
RAW = "against"
SAME = "both builds have the same artifact, to the byte: what differs between them is not in what is deployed"


def compare_builds(run: Run, cell: Cell, other: OtherBuild, artifact: Artifact, deployer: Deployer) -> Finding:
    """Compare a cell with the other build, on the cell's device, with its runtime and its inputs.

    Args:
        run: the run.
        cell: the cell that is judged.
        other: the build to compare it with.
        artifact: the cell's own.
        deployer: starts the cell's own processes.

    Raises:
        DeploymentError: the cell's own model cannot be run.
        LinkError, StorageError: the device cannot be used any more.
    """
    limit = cell.limit_value(OVER_OTHER.limit_key)
    details = _described(other, cell, None)
    try:
        with run.progress.task(f"the other build of {cell.id}"):
            compared = other.artifact(cell)
    except (InputError, ExportError, StorageError) as error:
        return undecided(f"the other build cannot be exported: {_said(error)}", limit, details)
    details = _described(other, cell, compared)
    if compared.exporter != artifact.exporter:
        reason = (
            f"another exporter made the other build: {compared.exporter}, and this one {artifact.exporter}. "
            "Model(exporter=…) chooses one for both"
        )
        return undecided(reason, limit, details)
    beside = run.damage_watch.add(_deployer(run, cell, compared, deployer))
    with run.progress.task(f"sending the other build to {cell.device.name}") as sent:
        beside.board.put(beside.bundle, lambda done, total: sent(done >> 20, total >> 20, "MiB"))
    content = run.models.content(cell.file)
    with run.progress.task(f"comparing {cell.id}") as update:
        pairs = take_pairs(beside, deployer, content, run.options.time_limit_s, _reporting(cell, other, update))
    record = run.evidence[cell]
    record.add_notes(f"the other build: {note}" for note in beside.notes if note not in record.notes)
    if compared.sha256 == artifact.sha256:
        record.add_notes([SAME])
    raw = run.evidence.save_samples(cell, raw_durations(pairs), RAW) if pairs.done else ""
    return against(
        pairs,
        limit,
        raw=raw,
        label=other.label,
        artifact_bytes=(compared.bytes, artifact.bytes),
        board_mib=deployer.board.facts.memory_mib or None,
        details=details,
    )


def _deployer(run: Run, cell: Cell, artifact: Artifact, deployer: Deployer) -> Deployer:
    """Make what starts the other build's processes: like the cell's own in all but the artifact."""
    bundle = make_bundle(artifact, cell.backend, deployer.bundle.runtime)
    return Deployer(
        cell=cell, board=deployer.board, bundle=bundle, timeouts=deployer.timeouts, device_time=run.device_time
    )


def _described(other: OtherBuild, cell: Cell, artifact: Artifact | None) -> dict[str, Any]:
    """Describe the other build for the evidence."""
    described = {"path": str(other.path), **other.described.get(cell.backend.name, {})}
    if artifact is not None:
        described |= {"sha256": artifact.sha256, "exporter": artifact.exporter}
    return {"other": described}


def _reporting(cell: Cell, other: OtherBuild, update: Update) -> Callable[[int, Plan], None]:
    def report(done: int, plan: Plan) -> None:
        if done == 0 and plan.expected_s > ANNOUNCE_ABOVE_S:
            LOG.info(f"{cell.id}: {plan.pairs} pairs with {other.label}, about {plan.expected_s:.0f} s")
        update(done, plan.pairs, "pairs")

    return report


def _said(error: HilgateError) -> str:
    return "; ".join(filter(None, [error.what, error.found.strip().partition("\n")[0], error.where]))
