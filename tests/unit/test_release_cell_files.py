"""What a cell says of how it was measured, beside what its model and device files say: no word of it is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.checks.limits import Limit
from harness.device import Device, load_device
from harness.evidence.schema import CellEntry
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.model.model import Input, Model
from harness.release.cell_files import file_refusals
from tests.support.evidences import make_cell, make_check

METRICS = list(known_metrics().values())
NAME = "net/rig/torchscript"


def build() -> Any:
    raise AssertionError("a model that is only declared is not built")


MODEL = Model(build=build, inputs=[Input("x", shape=("n", 2))], dims={"n": (1, 8)}, rate_hz=50)
LIMITS = (Limit("parity", 30.0, "net.py: tolerance"), Limit("deadline_ms", 5.0, "net.py: limits"))
FINGERPRINT: dict[str, Any] = {"arch": "aarch64", "cpu": "Cortex-A72", "memory_mib": 3792, "python": "3.11.2"}
SET: dict[str, Any] = {"threads": 2, "interop_threads": 1, "flush_denormals": False}
LOAD: dict[str, Any] = {"artifact": "a", "inputs": ["x"], "outputs": ["y"], **SET}


@pytest.fixture
def device(tmp_path: Path) -> Device:
    text = 'extends = "pi4"\n[device]\nthreads = 2\n[options.torchscript]\noptimize = "freeze"\n'
    (tmp_path / "rig.toml").write_text(text)
    return load_device("rig", (tmp_path, DEVICES), METRICS)


def found(device: Device, **keys: Any) -> list[str]:
    load, fingerprint = keys.pop("load", LOAD), keys.pop("fingerprint", FINGERPRINT)
    checks = keys.pop("checks", [make_check("parity", 0.5, 30.0)])
    given: dict[str, Any] = {
        "device": "rig",
        "measure": {"n": 8},
        "clock": {"rate_hz": 50.0, "late": "drop"},
        "load": {"options": {"optimize": "freeze"}, **load},
        "fingerprint": {**SET, **fingerprint},
        **keys,
    }
    cell = CellEntry.model_validate(make_cell("torchscript", checks, **given))
    refusals = list(file_refusals(cell, device, MODEL, LIMITS, METRICS, required=[]))
    assert all(each.remedy for each in refusals)
    return [each.reason for each in refusals]


def test_what_agrees_with_its_files_is_not_refused(device: Device) -> None:
    assert found(device) == []


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"checks": []}, "parity has a limit (net.py: tolerance), and was not checked"),
        ({"emulated": True}, "rig is emulated by the evidence, and real by its file (link ssh)"),
        ({"measure": {"n": 1}}, "the evidence has measure {'n': 1}, and its files say {'n': 8}"),
        ({"clock": None}, "the evidence has clock None, and its files say (50.0, 'drop')"),
        (
            {"clock": {"rate_hz": 5.0, "late": "drop"}},
            "the evidence has clock (5.0, 'drop'), and its files say (50.0, 'drop')",
        ),
        ({"load": {**LOAD, "threads": 4}}, "the evidence has load.threads 4, and its files say 2"),
        (
            {"load": {**LOAD, "options": {"optimize": "inference"}}},
            "the evidence has load.options {'optimize': 'inference'}, and its files say {'optimize': 'freeze'}",
        ),
        (
            {"fingerprint": {**FINGERPRINT, "flush_denormals": True}},
            "the evidence has flush_denormals True, and its files say False",
        ),
        (
            {"fingerprint": {**FINGERPRINT, "arch": "x86_64"}},
            "arch is x86_64 by the evidence, and aarch64 by the file of rig",
        ),
        (
            {"fingerprint": {**FINGERPRINT, "python": "3.1"}},
            "python is 3.1 by the evidence, and 3.11 by the file of rig",
        ),
        (
            {"fingerprint": {**FINGERPRINT, "memory_mib": 8000}},
            "memory_mib is 8000 by the evidence, and 4096 by the file of rig",
        ),
    ],
)
def test_each_thing_that_does_not_is_one_reason(device: Device, keys: dict[str, Any], reason: str) -> None:
    assert found(device, **keys) == [f"{NAME}: {reason}"]
