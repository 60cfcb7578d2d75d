"""Parts of the evidence, made of what the rooms below return: the only place that knows both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from ..bundle import Bundle
from ..cell import Cell
from ..checks.check import Check
from ..checks.finding import Finding
from ..endpoint import Endpoint
from ..errors import InputError
from ..export import Artifact
from ..isa.wheel_scans import IsaReport
from ..network import Direction, Network
from ..protocol import BoardFacts, Packets
from .entry import as_figure
from .misfit import Misfit, first_misfit
from .schema import (
    ArtifactFacts,
    BundleFacts,
    CheckEntry,
    EndpointEntry,
    FallbackEntry,
    Fingerprint,
    InstructionScan,
    LoadEntry,
    NetworkEntry,
    NetworkWay,
    OutageEntry,
)

# What a board says of itself that two runs must have in common for their figures to be compared, or that the board of a
# release must have in common with it.
_OF_THE_BOARD = {"arch", "python", "cpu", "cores", "memory_mib", "board", "serial", "kernel", "libc", "executable"}


def describe_artifact(artifact: Artifact) -> ArtifactFacts:
    """Describe an exported or given file."""
    return ArtifactFacts(
        sha256=artifact.sha256, bytes=artifact.bytes, exporter=artifact.exporter, warnings=list(artifact.warnings)
    )


def describe_endpoint(endpoint: Endpoint, settings: Mapping[str, Any] = MappingProxyType({})) -> EndpointEntry:
    """Describe the server that has a cell's model.

    Args:
        endpoint: as its file has it.
        settings: what the device's client reports once it has an answer; empty before.
    """
    said = {key: settings[key] for key in ("wire", "request_bytes", "response_bytes") if key in settings}
    server = " ".join(str(settings[key]) for key in ("server", "server_version") if settings.get(key))
    content = {"name": endpoint.name, "url": endpoint.url, "model": endpoint.model, "version": endpoint.version, **said}
    keys = ("region", "endpoint_name", "target_variant")
    content |= {key: getattr(endpoint, key) for key in keys if getattr(endpoint, key)}
    return EndpointEntry.model_validate(content | ({"server": server} if server else {}))


def describe_fallback(cell: Cell, artifact: Artifact) -> FallbackEntry:
    """Describe the backend that answers on the device where a cell's calls fail, and what it runs."""
    name = cell.fallback.name if cell.fallback is not None else ""
    return FallbackEntry(backend=name, options=dict(cell.fallback_options), artifact=describe_artifact(artifact))


def describe_network(
    network: Network, settings: Mapping[str, Any] = MappingProxyType({}), packets: Packets | None = None
) -> NetworkEntry:
    """Describe what shapes a cell's calls.

    Args:
        network: as its file has it.
        settings: what the device's client reports once it has an answer; empty before.
        packets: what became of its packets, where some are lost.
    """
    sizes = [settings.get(key) for key in ("request_bytes", "response_bytes")]
    known = [size for size in sizes if isinstance(size, int) and size >= 0]
    return NetworkEntry(
        name=network.name,
        description=network.description,
        source=network.source,
        measured=network.measured,
        delay_ms=network.delay_ms,
        jitter_ms=network.jitter_ms,
        loss_percent=network.loss_percent,
        packets=packets.sent if packets is not None else None,
        packets_lost=packets.lost if packets is not None else None,
        up=_describe_way(network.up),
        down=_describe_way(network.down),
        outages=[OutageEntry(every_s=each.every_s, for_s=each.for_s) for each in network.outages],
        transfer_ms=network.transfer_ms(known[0], known[1]) if len(known) == len(sizes) else None,
    )


def _describe_way(way: Direction) -> NetworkWay:
    rate_mbit = way.bytes_per_s * 8 / 1e6 if way.trace is not None else way.rate_mbit
    return NetworkWay(rate_mbit=rate_mbit, trace_sha256=way.trace.sha256 if way.trace is not None else None)


def describe_bundle(bundle: Bundle) -> BundleFacts:
    """Describe what is deployed: the hash of its manifest, and what its runtime was made of."""
    return BundleFacts.model_validate({"sha256": bundle.sha256, **bundle.runtime.described})


def describe_load(
    bundle: Bundle,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    settings: Mapping[str, int | bool],
    options: Mapping[str, Any],
) -> LoadEntry:
    """Describe what the agent or the runner was told to load.

    Args:
        bundle: what was deployed.
        inputs: their names as the artifact has them, in its order.
        outputs: likewise.
        settings: how the device file has every backend set.
        options: the backend's own.
    """
    runtime = bundle.runtime
    content = {
        "artifact": bundle.entry,
        "inputs": [*inputs],
        "outputs": [*outputs],
        "operators": [*runtime.operators],
        "options": dict(options),
        **settings,
        "library": runtime.runner.library if runtime.runner is not None else None,
    }
    return LoadEntry.model_validate(content)


def describe_scan(scan: IsaReport) -> InstructionScan:
    """Describe a scan of the shipped libraries for instructions that the CPU lacks."""
    return InstructionScan.model_validate(dict(scan.described))


def describe_device(
    board: BoardFacts, *, link: Mapping[str, Any], settings: Mapping[str, int | bool], packages: Mapping[str, str]
) -> Fingerprint:
    """Describe a device that was reached.

    Args:
        board: what the board says of itself.
        link: what its link adds, such as the emulator.
        settings: how its device file has every backend set.
        packages: versions of the backend's packages, by name.
    """
    said = board.model_dump(include=_OF_THE_BOARD)
    return Fingerprint.model_validate({**said, **link, **settings, "runtime": dict(packages)})


def merge_fingerprints(*parts: Fingerprint | None) -> Fingerprint | None:
    """Join parts to one fingerprint; None where there are none.

    Where two parts set a key, the later one counts; versions under ``runtime`` are united.
    """
    present = [part for part in parts if part is not None]
    merged: dict[str, Any] = {}
    for part in present:
        versions = {**merged.get("runtime", {}), **part.runtime}
        merged |= {name: getattr(part, name) for name in part.model_fields_set}
        merged |= {"runtime": versions} if versions or "runtime" in merged else {}
    return Fingerprint.model_validate(merged) if present else None


def describe_check(
    check: Check,
    sums: Mapping[str, str] = MappingProxyType({}),
    beside: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> CheckEntry:
    """Make a check's entry in evidence.json. The finding's details are further keys of it.

    Args:
        check: the check.
        sums: the SHA-256 of each file of raw samples, and of each that goes with one, by its path in the evidence's
            folder.
        beside: the files that go with raw samples, by the path of these: each key of the check, such as "raw_inputs",
            and the path.

    Raises:
        InputError: the finding has a value that the evidence does not take, such as a number of numpy's.
    """
    finding = check.finding
    entry: dict[str, Any] = {
        "metric": finding.metric.name,
        "value": as_figure(finding.value),
        "unit": finding.metric.unit,
        "limit": as_figure(check.limit.value) if check.limit else None,
        "limit_source": check.limit.source if check.limit else None,
        "confidence": finding.confidence,
        "bound": as_figure(finding.bound),
        "bound_low": as_figure(finding.bound_low),
        "samples": finding.samples,
        "raw": finding.raw or None,
        "raw_sha256": sums.get(finding.raw),
        **_for_beside(beside.get(finding.raw, {}), sums),
        "better": "lower" if finding.metric.bound == "max" else "higher",
        "verdict": check.verdict,
        "reason": check.reason,
        **({"doubt": finding.invalid_reason} if finding.invalid_reason else {}),
        **_for_tables(finding),
    }
    content = {**entry, **finding.details}
    try:
        described = CheckEntry.model_validate(content)
        misfit = _first_unwritable(described)
    except ValidationError as error:
        misfit = first_misfit(error, content)
    if misfit is None:
        return described
    raise InputError(
        "a finding has a value that the evidence does not take",
        wanted=misfit.wanted,
        found=misfit.found,
        where=f"{finding.metric.name}: {misfit.key}",
        hint="see docs/evidence.md for what a check's keys hold",
    )


def _for_beside(paths: Mapping[str, str], sums: Mapping[str, str]) -> dict[str, Any]:
    """Return the keys that name which input each raw sample had, and which calls failed, as far as that was saved."""
    keys: dict[str, Any] = {}
    for key, path in paths.items():
        keys |= {key: path, f"{key}_sha256": sums.get(path)}
    return keys


def _for_tables(finding: Finding) -> dict[str, Any]:
    """Return the keys that only tables need, where they are not what the schema assumes."""
    keys: dict[str, Any] = {"asked": False} if finding.unasked else {}
    keys |= {"whole": True} if finding.metric.whole else {}
    keys |= {"counts": finding.metric.counts} if finding.metric.counts else {}
    return keys | ({"compared": finding.compared} if finding.compared else {})


def _first_unwritable(described: CheckEntry) -> Misfit | None:
    """Find the first key that JSON cannot hold: the schema takes any details, and a finding's may be anything."""
    for key, value in described.as_json().items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            wanted = "what JSON has: finite numbers, texts, booleans, null; lists and dicts with text keys of these"
            return Misfit(key, wanted, f"{value!r:.150} ({error})")
    return None
