"""From a model file to a process on a device: the export, the bundle, and what starts it there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..agent.remote.credentials import Credentials
from ..board.preflight import check_inputs
from ..bundle import Bundle, make_bundle
from ..bundle.planning import plan_runtime
from ..bundle.runtime import Runtime
from ..cell import Cell
from ..cloud import Granted, Supplier
from ..deploy.deployer import Deployer
from ..deploy.deployment import LoadReport, Timeouts
from ..deploy.packet_loss import PacketLoss
from ..endpoint import Endpoint
from ..errors import BuildError, ExportError, HilgateError
from ..evidence.parts import (
    describe_artifact,
    describe_device,
    describe_endpoint,
    describe_fallback,
    describe_load,
    describe_network,
    describe_scan,
)
from ..evidence.schema import InstructionScan
from ..export import Artifact, export_artifact
from ..export.endpoint import make_description
from ..host.progress_log import progress_logger
from ..isa.wheel_scans import scan_wheels
from ..links import LinkType
from ..measure.accuracy import sample_notes
from ..measure.schedule import REMOTE_S
from ..model.build import BuiltModel
from ..network import Network
from ..parity.rule.reference import Reference
from ..protocol import BoardFacts, Packets
from .fallback import fallback_artifact, fallback_notes
from .measuring import MEMORY_SETS, SERVICE_EMULATED_S
from .run import Run

LOG = progress_logger(__name__)

# As the client has it: see harness.agent.remote.client.
JSON, ANSWERED_IN_JSON = "json", ", answered in JSON"
UNIDENTIFIED = "the model's weights and code cannot be hashed, so nobody can tell other builds of it from this one"


def export_cell(run: Run, cell: Cell) -> Artifact:
    """Export a cell's model in its backend's format, or take the export of an earlier run from the cache.

    Raises:
        ExportError: no exporter takes the model; with the reason, where the module has state.
        ModelError: the model file's samples cannot be read.
    """
    built, reference = run.models.build(cell.file), run.models.reference(cell.file)
    record = run.evidence[cell]
    _identify(run, cell)
    record.add_notes(built.ask(sample_notes))
    reference.release()  # twice the model's size, and the export's own process holds the model again
    if not cell.service_emulated:
        run.services.close()  # one of a cell before, which must not be in the way of what is measured now
    endpoint = run.services.endpoint(cell, built) if cell.endpoint is not None else None
    start = time.monotonic()
    with run.progress.task(f"exporting {cell.file.name} as {cell.backend.artifact}"):
        try:
            artifact = _made(cell, built, endpoint)
            near = fallback_artifact(cell, built)
        except ExportError as error:
            _explain_by_state(error, reference)
            raise
    if not artifact.cached or (near is not None and not near.cached):
        run.export_s += time.monotonic() - start
    record.artifact = describe_artifact(artifact)
    record.fallback = describe_fallback(cell, near) if near is not None else None
    record.add_notes(fallback_notes(cell))
    record.endpoint = describe_endpoint(endpoint) if endpoint is not None else None
    if cell.network is not None:
        record.network = describe_network(cell.network)
        record.add_notes(network_notes(cell.network, SERVICE_EMULATED_S if cell.service_emulated else REMOTE_S))
    record.notes += [f"{artifact.exporter}: {warning}" for warning in artifact.warnings]
    return artifact


def _made(cell: Cell, built: BuiltModel, endpoint: Endpoint | None) -> Artifact:
    """Export a cell's model; or, where another computer has it, make the description of the endpoint."""
    if endpoint is None:
        return export_artifact(built, cell.backend.artifact)
    return make_description(built, endpoint, cell.calls)


def credentials_for(run: Run, cell: Cell) -> Callable[[], Credentials] | None:
    """Return what supplies the credentials that a cell's calls are signed with; None where they are not.

    An emulated service issues its own: the user's are not looked at for it.
    """
    endpoint = cell.endpoint
    if endpoint is None or endpoint.kind == "oip":
        return None
    if endpoint.kind == "sagemaker":
        return Supplier(endpoint)
    return Supplier(endpoint, lambda _: Granted(run.services.credentials(), "", "")) if cell.backend.cloud else None


def _identify(run: Run, cell: Cell) -> None:
    """Record which model the cell is of: its hash, or a note that it has none.

    All cells of the model have it, also one that comes to nothing because its device cannot be used.
    """
    identity = run.models.identity(cell.file)
    for other in run.cells:
        if other.file.path == cell.file.path:
            run.evidence[other].model_sha256 = identity.sha256
    if identity.problem:
        run.evidence[cell].add_notes([f"{UNIDENTIFIED}: {identity.problem}"])


def _explain_by_state(error: ExportError, reference: Reference) -> None:
    """Add to an export's error that the module has state, if it has: that is the reason more often than not."""
    with contextlib.suppress(HilgateError):
        if (impurity := reference.impurity) is not None:
            error.hint = "; ".join(filter(None, [f"{impurity.found}: {impurity.hint}", error.hint]))


def network_notes(network: Network, span_s: float = REMOTE_S) -> list[str]:
    """Say through which network calls go, that it is nobody's measurement, and that its outages may not be seen.

    Args:
        network: the cell's.
        span_s: for how long calls are made.
    """
    said = "" if network.measured else "; it is no measurement of anybody's"
    makers = ["a proxy on the device"] if network.is_shaping else []
    makers += ["the emulated board's kernel"] if network.loss_percent else []
    made = f"which {' and '.join(makers)} {'make' if len(makers) > 1 else 'makes'}: {network.described}{said}"
    notes = [f"calls go through the network {network.name}, {made}"]
    if not makers:
        notes = [f"network {network.name}: {network.described}"]
    return notes + [
        f"network {network.name}: an outage every {each.every_s:g} s is rarer than a measurement of {span_s:g} s is "
        "sure to see"
        for each in network.outages
        if each.every_s > span_s
    ]


def wire_notes(settings: Mapping[str, Any]) -> list[str]:
    """Say where tensors do not travel as bytes, which takes longer.

    Args:
        settings: what the device's client reports once it has an answer.
    """
    wire = str(settings.get("wire", ""))
    if wire.startswith(JSON):
        return ["the server takes no binary tensors: inputs and outputs travel as JSON"]
    return ["the server takes binary tensors, and answers in JSON"] if wire.endswith(ANSWERED_IN_JSON) else []


def put_bundle(run: Run, cell: Cell, artifact: Artifact) -> Bundle:
    """Make the bundle that is deployed for a cell, and put it on the cell's device.

    Raises:
        BackendError: the backend's packages are neither there nor can they be shipped.
        BuildError: its runner cannot be built; of an optional backend the evidence has it.
        ModelError: its inputs have no room there, at the sizes that are measured.
        LinkError, StorageError, DeviceError, DeploymentError: it cannot be put there.
    """
    board = run.devices.board(cell.device)
    check_inputs(cell.device, cell.file.model, board.facts, MEMORY_SETS)
    with run.progress.task(f"runtime of {cell.backend.name} for {cell.device.name}"):
        try:
            runtime = plan_runtime(cell.device, cell.backend, board.facts, cell.file.model.imports, cell.fallback)
        except BuildError as error:
            if cell.optional:  # nothing of it has run yet: it says nothing about the model (issue 16)
                run.evidence.add_not_built(cell, error)
            raise
    _scan_instructions(run, cell, runtime, board.facts)
    near = fallback_artifact(cell, run.models.build(cell.file)) if cell.fallback is not None else None
    fallback = (cell.fallback, near) if cell.fallback is not None and near is not None else None
    bundle = make_bundle(artifact, cell.backend, runtime, fallback)
    run.evidence.add_bundle(cell, bundle)
    with run.progress.task(f"sending to {cell.device.name}") as update:
        board.put(bundle, lambda done, total: update(done >> 20, total >> 20, "MiB"))
    return bundle


def _scan_instructions(run: Run, cell: Cell, runtime: Runtime, facts: BoardFacts) -> None:
    """Look in the libraries, before they are sent, for instructions that the board's CPU lacks, and warn of them.

    A warning and no error: whether the instructions are reached, only the run can tell.
    """
    record = run.evidence[cell]
    if cell.backend.remote and cell.fallback is None:
        record.instructions = InstructionScan(
            not_done="the model runs on another computer; the device has a client only"
        )
        return
    if not runtime.wheels:
        record.instructions = InstructionScan(not_done="the libraries are the board's own, and stay there")
        return
    with run.progress.task(f"looking for instructions that {cell.device.name} lacks"):
        scan = scan_wheels(runtime.wheels, facts, runtime.packages, only=runtime.libraries)
    record.instructions = describe_scan(scan)
    for warning in scan.warnings:
        LOG.warning(f"{cell.id}: {warning}")
        record.notes.append(warning)


def make_deployer(run: Run, cell: Cell, artifact: Artifact, bundle: Bundle) -> Deployer:
    """Make what starts the cell's processes on its device; its instructions begin to be counted, if a test asks.

    Raises:
        LinkError, DeviceError, StorageError: the device cannot be used.
    """
    board = run.devices.board(cell.device)
    record = run.evidence[cell]
    packages = bundle.runtime.packages
    providers = [*cell.backend.providers, *(cell.fallback.providers if cell.fallback is not None else ())]
    fingerprint = describe_device(
        board.facts,
        link=board.link.described,
        settings=cell.device.settings,
        packages={name: packages[name] for names in providers for name in names if name in packages},
    )
    record.device_facts = fingerprint
    record.add_notes(board.notes)
    run.counter.begin(cell, bundle, run.models.content, fingerprint, artifact.exporter)

    loss = _packet_loss(run, cell, board.link)

    def note_load(load: LoadReport) -> None:
        record.load = describe_load(
            bundle,
            inputs=load.file_inputs,
            outputs=load.file_outputs,
            settings=cell.device.settings,
            options=cell.options,
        )
        if cell.endpoint is not None:
            endpoint = run.services.endpoint(cell, run.models.build(cell.file))
            record.endpoint = describe_endpoint(endpoint, load.settings)
            record.add_notes(wire_notes(load.settings))
        if cell.network is not None:
            record.network = describe_network(cell.network, load.settings, loss.packets if loss is not None else None)

    # An inference that takes longer than the whole cell may take is not worth waiting for.
    timeouts = Timeouts(call_s=run.options.time_limit_s)
    return run.damage_watch.add(
        Deployer(
            cell=cell,
            board=board,
            bundle=bundle,
            timeouts=timeouts,
            device_time=run.device_time,
            notes=record.notes,
            loaded=note_load,
            credentials=credentials_for(run, cell),
            reachable=run.services.check,
            loss=loss,
        )
    )


def _packet_loss(run: Run, cell: Cell, link: LinkType) -> PacketLoss | None:
    """Make what loses packets on a cell's way to its server; None where none are lost."""
    if cell.network is None or not cell.network.loss_percent:
        return None
    record = run.evidence[cell]

    def url() -> str:
        return run.services.endpoint(cell, run.models.build(cell.file)).url

    def note(packets: Packets | None, problem: str) -> None:
        if record.network is not None and packets is not None:
            counts = {"packets": packets.sent, "packets_lost": packets.lost}
            record.network = record.network.model_copy(update=counts)
        record.add_notes([problem] if problem else [])

    return PacketLoss(link=link, percent=cell.network.loss_percent, url=url, noted=note)
