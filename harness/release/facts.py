"""What a release says of itself, beside its files: for the texts in it and for its own check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ReleaseFacts:
    """What the gate knows of a release.

    Attributes:
        name: its folder's name on the robot.
        device: the device that it was tested on.
        created: when it was made, ISO 8601.
        commit: of the user's repository, as the evidence has it; "" without one.
        devices: where it may go, by the names of devices.
        same: what the robot must have in common with the device that was tested: values by the fingerprint's keys.
        p50_ms: the median latency on the device that was tested; None if it was not measured.
        p50_ratio_max: how often that it may take on the robot; None where it is told only.
        python: the Python that ran the agent on the device, its path there; "" of a C++ backend.
        key_fingerprints: SHA-256 of the public keys that signed it, in DER.
        revision: of the policy, its SHA-256; "" for none.
    """

    name: str
    model: str
    device: str
    backend: str
    created: str
    commit: str = ""
    devices: tuple[str, ...] = ()
    same: Mapping[str, Any] = field(default_factory=dict)
    p50_ms: float | None = None
    p50_ratio_max: float | None = None
    python: str = ""
    key_fingerprints: tuple[str, ...] = ()
    revision: str = ""
