"""The files of a project that tests of the gate start from: model file, device files, policy."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from .gate_bundle import WIDTHS

MODEL = "net"
LIMITS: Mapping[str, float] = {"deadline_ms": 60, "deadline_miss_rate": 0.02, "latency_p99_ms": 60}
DEVICE_LIMITS: Mapping[str, float] = {"memory_peak_mib": 256, "load_time_s": 10}
REQUIRE = ("parity", "latency_p99_ms", "memory_peak_mib")
EMULATED_REQUIRE = ("parity", "memory_peak_mib")
SAME = ("arch", "cpu", "memory_mib", "libc", "python")
MODEL_TEXT = '''"""A small network, which scores four actions from a robot's state."""

from harness import Input, Model


def build():
    """Return the network; the same weights at every call."""
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear({0}, {1}), torch.nn.ReLU(), torch.nn.Linear({1}, {2})).eval()


model = Model(
    build=build,
    inputs=[Input("state", shape=("batch", {0}), min_value=-1.0, max_value=1.0)],
    dims={{"batch": (1, 8)}},
    measure={{"batch": 1}},
    limits={limits},
)
'''
BOARD_TEXT = """[device]
description = "the board on the bench"
link = "ssh"
host = "rig.example"
arch = "{arch}"
backends = {backends}
threads = 1
{runtime}
[measure]
block_ms = 20

[limits]
{limits}
"""
EMULATED_TEXT = """extends = "qemu-pi4"

[device]
description = "an emulated board"
backends = {backends}

[limits]
{limits}
"""


def policy_text(
    *,
    backend: str = "decision",
    devices: Sequence[str] = ("rig",),
    require: Sequence[str] = REQUIRE,
    same: Sequence[str] = SAME,
    emulated: bool = False,
    signed_by: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
) -> str:
    """Write a policy.

    Args:
        backend: ``release.backend``.
        devices: ``evidence.devices``.
        require: ``evidence.require``.
        same: ``target.same``.
        emulated: ``evidence.emulated``.
        signed_by: ``evidence.signed_by``.
        more: further lines, TOML, by the table that they end.
    """
    tables = {
        "release": f'name = "{MODEL}"\nmodel = "{MODEL}"\nbackend = "{backend}"\n',
        "evidence": f"devices = {json.dumps(list(devices))}\nrequire = {json.dumps(list(require))}\n"
        f'max_age_days = 14\ncommit = "HEAD"\nsigned_by = {json.dumps(list(signed_by))}\n'
        + ("emulated = true\n" if emulated else ""),
        "target": f'devices = ["robot"]\nsame = {json.dumps(list(same))}\nlatency_p50_ratio_max = 1.25\n',
        "signers": 'keys = ["keys/team.pub"]\nrevoked = []\n',
    }
    lines = more or {}
    return "\n".join(f"[{name}]\n{text}{lines.get(name, '')}" for name, text in tables.items())


def write_files(
    root: Path,
    backends: Sequence[str],
    devices: Sequence[str],
    limits: Mapping[str, float],
    device_limits: Mapping[str, float],
    *,
    emulated: bool,
    shipped: bool,
) -> None:
    """Write the model file, device files and pytest.ini of a project; make_project says what the arguments are."""
    (root / ".gitignore").write_text("build/\n", encoding="utf-8")
    (root / "pytest.ini").write_text(f"[pytest]\nhil_model = {MODEL}.py\nhil_device = {devices[0]}\n", encoding="utf-8")
    text = MODEL_TEXT.format(*WIDTHS, limits=dict(limits))
    (root / f"{MODEL}.py").write_text(text, encoding="utf-8")
    pins = [f"{name}=={version(name).partition('+')[0]}" for name in ("numpy", "onnxruntime", "torch")]
    runtime = f"[runtime]\npackages = {json.dumps(pins)}\n" if shipped else ""
    for name in devices:
        text = (EMULATED_TEXT if emulated else BOARD_TEXT).format(
            arch=platform.machine(),
            backends=json.dumps(list(backends)),
            runtime=f"\n{runtime}" if runtime else "",
            limits="\n".join(f"{key} = {value}" for key, value in device_limits.items()),
        )
        (root / "devices" / f"{name}.toml").write_text(text, encoding="utf-8")
    robot = f'extends = "{devices[0]}"\n\n[device]\ndescription = "the robot"\n'
    (root / "devices" / "robot.toml").write_text(robot, encoding="utf-8")
