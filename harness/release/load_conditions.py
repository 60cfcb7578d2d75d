"""How the bundle was loaded, by the evidence: it must follow from the manifest, and from the device file as committed.

A release loads its artifact as the evidence says: with another number of threads it would be something else than what
was measured, and with another library something else than what was tested.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..backends import load_backend
from ..device import Device
from ..evidence.schema import CellEntry
from .cell_conditions import name_of
from .parts import Parts
from .paths import RUNTIME
from .refusal import AGAIN, Refusal


def load_refusals(cell: CellEntry, device: Device, parts: Parts) -> Iterator[Refusal]:
    """Find what a cell says of its runtime, and how it was set, that does not follow.

    Args:
        cell: the cell; its bundle is that of the parts.
        device: its device, as committed.
        parts: what was collected by the manifest.
    """
    runtime = json.loads(parts.manifest)["runtime"]
    for key, said, follows, of in (*_of_device(cell, device), *_of_manifest(cell, runtime)):
        if said != follows:
            reason = f"{name_of(cell)}: {key} is {said!r:.200} by the evidence, and {follows!r:.200} by {of}"
            yield Refusal(reason, f"do not change evidence; {AGAIN}")


_Compared = tuple[str, Any, Any, str]


def _of_device(cell: CellEntry, device: Device) -> Iterator[_Compared]:
    """Yield what the device file sets: each key, what the evidence says, what follows, and from what."""
    of = f"the device file {device.name}.toml"
    load, fingerprint, backend = cell.load, cell.fingerprint, load_backend(cell.backend)
    for key, value in device.settings.items():
        if load is not None:
            yield f"load.{key}", getattr(load, key), value, of
        if fingerprint is not None:
            yield f"fingerprint.{key}", getattr(fingerprint, key), value, of
        if fingerprint is not None and fingerprint.settings:  # of a device that was not timed there are none
            yield f"fingerprint.settings.{key}", fingerprint.settings.get(key), value, of
    if load is not None:
        options = {**backend.defaults, **device.options.get(backend.name, {})}
        yield "load.options", load.options, json.loads(json.dumps(options)), of


def _of_manifest(cell: CellEntry, runtime: Mapping[str, Any]) -> Iterator[_Compared]:
    """Yield what the bundle's manifest says of its runtime, likewise."""
    of, is_native = "the bundle's manifest", "runner" in runtime
    if cell.bundle is not None:
        said = {key: value for key, value in cell.bundle.as_json().items() if key != "sha256"}
        for key in sorted({*said, *runtime}):
            yield f"bundle.{key}", said.get(key), runtime.get(key), of
    if cell.fingerprint is not None and "python" in runtime:
        yield "fingerprint.python", cell.fingerprint.python, runtime["python"], of
    if cell.load is not None and "libraries" in runtime:  # those of an installed runtime the device alone knows
        yield "load.operators", cell.load.operators, _operators(cell.load.operators, runtime), of
    if cell.load is not None and not is_native:
        yield "load.library", cell.load.library, None, of


def _operators(said: list[str], runtime: Mapping[str, Any]) -> list[str]:
    """Return those of the libraries, loaded for their operators, that a C++ backend's runtime has."""
    named = runtime.get("operators") or []
    sent = (runtime.get("libraries") or {}).get("libraries") or {}
    known = {*named, *(f"{RUNTIME}/{path}" for path in (*sent, *named))}
    return [each for each in said if each in known] if named else []
