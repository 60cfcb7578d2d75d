"""A project whose evidence a gate lets through: repository, policy, evidence and cache, all of one piece, in a second.

    project = make_project(tmp_path)
    monkeypatch.setenv("HILGATE_CACHE", str(project.cache))
    # hilgate gate {project.evidence} --policy {project.policy} --key {project.key}, in the folder project.root

Nothing was measured: the numbers are drawn by a seed, and bounds, verdicts and hashes follow from them. Tests change
one thing of it, and a gate must refuse.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from harness.agent import facts
from harness.backends import load_backend
from harness.cell import Cell
from harness.device import Device, load_device
from harness.evidence.commit import find_commit
from harness.evidence.schema import FileEntry, Fingerprint
from harness.host.cache import file_sha256
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.model.model import Input, Model
from harness.model.model_file import ModelFile, checked_limits

from .gate_bundle import INPUT, WIDTHS, CachedParts
from .gate_evidence import Tested, write_evidence

MODEL = "net"
LIMITS: Mapping[str, float] = {"deadline_ms": 60, "deadline_miss_rate": 0.02, "latency_p99_ms": 60}
DEVICE_LIMITS: Mapping[str, float] = {"memory_peak_mib": 256, "load_time_s": 10}
REQUIRE = ("parity", "latency_p99_ms", "memory_peak_mib")
EMULATED_REQUIRE = ("parity", "memory_peak_mib")
SAME = ("arch", "cpu", "memory_mib", "libc", "python")
WHO = {
    **{f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in (("NAME", "A Builder"),)},
    **{f"GIT_{role}_EMAIL": "builder@example.org" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_DATE": "2026-11-01T12:00:00Z" for role in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}
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


@dataclass(frozen=True, kw_only=True)
class GateProject:
    """A project, and what lies around it.

    Attributes:
        root: the project's folder, a git repository with a clean tree.
        evidence: the folder of evidence.json, below ``root``, ignored by git.
        policy: gate.toml in ``root``, committed.
        key: the private key, PEM, mode 0600, outside the repository; its public half is keys/team.pub in ``root``.
        cache: what $HILGATE_CACHE is to name.
    """

    root: Path
    evidence: Path
    policy: Path
    key: Path
    cache: Path

    @property
    def public(self) -> Path:
        """The public key, as the policy names it."""
        return self.root / "keys" / "team.pub"

    @property
    def environment(self) -> dict[str, str]:
        """Variables for a command that is run on the project."""
        return {"HILGATE_CACHE": str(self.cache)}

    def read(self) -> dict[str, Any]:
        """Read evidence.json as JSON's types."""
        content: dict[str, Any] = json.loads((self.evidence / "evidence.json").read_text(encoding="utf-8"))
        return content

    def write(self, content: Mapping[str, Any]) -> None:
        """Replace evidence.json."""
        text = json.dumps(content, indent=1) + "\n"
        (self.evidence / "evidence.json").write_text(text, encoding="utf-8")

    def change(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change evidence.json in place."""
        content = self.read()
        change(content)
        self.write(content)

    def git(self, *words: str) -> str:
        """Run git in the project's repository; return what it prints."""
        command = ["git", "-C", str(self.root), "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgsign=false", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **WHO})
        return done.stdout.strip()

    def commit(self, *, also_evidence: bool = True) -> str:
        """Commit all changes of the tree; return the commit.

        Args:
            also_evidence: whether the evidence then says that it is of this commit.
        """
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "A change")
        commit = self.git("rev-parse", "HEAD")
        if also_evidence:
            self.change(lambda content: content.update(commit=commit))
        return commit


def make_project(
    tmp_path: Path,
    *,
    backends: Sequence[str] = ("onnxruntime",),
    devices: Sequence[str] = ("rig",),
    samples: int = 2000,
    limits: Mapping[str, float] = LIMITS,
    device_limits: Mapping[str, float] = DEVICE_LIMITS,
    backend: str = "decision",
    require: Sequence[str] | None = None,
    same: Sequence[str] = SAME,
    age: timedelta = timedelta(hours=1),
    emulated: bool = False,
    shipped: bool = True,
) -> GateProject:
    """Make a project in a folder: see GateProject.

    Args:
        tmp_path: an empty folder.
        backends: of each device.
        devices: each is tested; the policy asks for all of them.
        samples: how many inferences of each cell were timed; from 600 on the limits of LIMITS are kept.
        limits: of the model.
        device_limits: of each device.
        backend: the policy's ``release.backend``.
        require: the policy's ``evidence.require``; None for what suits the devices.
        same: the policy's ``target.same``.
        age: how long ago the run ended.
        emulated: whether the devices are emulated, and the policy allows that.
        shipped: whether the bundle has the runtime; else it is that of this Python's environment, which can run it.
    """
    root = tmp_path / "project"
    project = GateProject(
        root=root,
        evidence=root / "build" / "hil",
        policy=root / "gate.toml",
        key=tmp_path / "secret" / "team",
        cache=tmp_path / "cache",
    )
    for folder in (root / "devices", root / "keys", project.key.parent, project.cache):
        folder.mkdir(parents=True, mode=0o700)
    make_key(project.key, project.public)
    _write_files(project, backends, devices, limits, device_limits, emulated=emulated, shipped=shipped)
    required = (EMULATED_REQUIRE if emulated else REQUIRE) if require is None else require
    text = policy_text(backend=backend, devices=devices, require=required, same=same, emulated=emulated)
    project.policy.write_text(text, encoding="utf-8")
    project.git("init", "--quiet", "--initial-branch=main")
    project.commit(also_evidence=False)
    cells = make_cells(root, backends, devices, limits)
    parts = CachedParts(project.cache, shipped, "3.11.2" if emulated else platform.python_version())
    tested = [_tested(cell, parts) for cell in cells]
    write_evidence(
        project.evidence,
        tested,
        _files(root, cells),
        commit=find_commit(root),
        samples=samples,
        age=age,
        model_sha256=hashlib.sha256(MODEL.encode()).hexdigest(),
    )
    return project


def make_key(private: Path, public: Path) -> None:
    """Make a P-256 key pair: PKCS#8 without a passphrase, mode 0600, and its public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def policy_text(
    *,
    backend: str = "decision",
    devices: Sequence[str] = ("rig",),
    require: Sequence[str] = REQUIRE,
    same: Sequence[str] = SAME,
    emulated: bool = False,
    more: Mapping[str, str] | None = None,
) -> str:
    """Write a policy.

    Args:
        backend: ``release.backend``.
        devices: ``evidence.devices``.
        require: ``evidence.require``.
        same: ``target.same``.
        emulated: ``evidence.emulated``.
        more: further lines, TOML, by the table that they end.
    """
    tables = {
        "release": f'name = "{MODEL}"\nmodel = "{MODEL}"\nbackend = "{backend}"\n',
        "evidence": f"devices = {json.dumps(list(devices))}\nrequire = {json.dumps(list(require))}\n"
        'max_age_days = 14\ncommit = "HEAD"\nsigned_by = []\n' + ("emulated = true\n" if emulated else ""),
        "target": f'devices = ["robot"]\nsame = {json.dumps(list(same))}\nlatency_p50_ratio_max = 1.25\n',
        "signers": 'keys = ["keys/team.pub"]\nrevoked = []\n',
    }
    lines = more or {}
    return "\n".join(f"[{name}]\n{text}{lines.get(name, '')}" for name, text in tables.items())


def make_cells(root: Path, backends: Sequence[str], devices: Sequence[str], limits: Mapping[str, float]) -> list[Cell]:
    """Make the cells of a project from its device files, and its model without running the model file."""
    metrics = known_metrics().values()
    path = root / f"{MODEL}.py"
    state = Input(INPUT, shape=("batch", WIDTHS[0]), min_value=-1.0, max_value=1.0)
    model = Model(
        build=lambda: None,  # type: ignore[arg-type,return-value]  # nobody builds it
        inputs=[state],
        dims={"batch": (1, 8)},
        measure={"batch": 1},
        limits=dict(limits),
        name=MODEL,
    )
    file = ModelFile(path.resolve(), model, checked_limits(path, model, metrics), sha256=file_sha256(path))
    loaded = [load_device(name, [root / "devices", DEVICES], metrics) for name in devices]
    return [Cell(file, device, load_backend(backend)) for device in loaded for backend in backends]


def _write_files(
    project: GateProject,
    backends: Sequence[str],
    devices: Sequence[str],
    limits: Mapping[str, float],
    device_limits: Mapping[str, float],
    *,
    emulated: bool,
    shipped: bool,
) -> None:
    root = project.root
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


def _tested(cell: Cell, parts: CachedParts) -> Tested:
    artifact = parts.artifact(cell.backend.artifact)
    bundle = parts.bundle(artifact, cell.backend)
    return Tested(
        cell=cell,
        artifact=artifact,
        bundle=bundle,
        fingerprint=_fingerprint(cell.device, bundle.runtime.packages, parts.python),
    )


def _fingerprint(device: Device, packages: Mapping[str, str], python: str) -> Fingerprint:
    """Describe the device: this machine, so that a release's own check finds what it wants; or a Pi."""
    keys: dict[str, Any] = {
        **{key: value for key, value in facts.facts([]).items() if key in Fingerprint.model_fields},
        **device.settings,
        "python": python,
        "executable": sys.executable,
        "runtime": dict(packages),
    }
    if device.emulated:
        pi = {"arch": "aarch64", "cpu": "cortex-a72", "cores": 4, "memory_mib": 1976, "libc": "glibc-2.36"}
        keys |= {**pi, "board": "linux,dummy-virt", "serial": "", "executable": "/usr/bin/python3.11"}
        keys["emulator"] = {"qemu": "7.2.22", "image": "pi4-bookworm", "state": None}
    return Fingerprint.model_validate(keys)


def _files(root: Path, cells: Sequence[Cell]) -> list[FileEntry]:
    """Describe the project's files as harness.run.files does, which wants a run's options."""
    entries = [FileEntry(kind="model", name=MODEL, path=f"{MODEL}.py", sha256=cells[0].file.sha256)]
    for file in {each.path: each for cell in cells for each in cell.device.files}.values():
        is_own = file.path.is_relative_to(root.resolve())
        path = file.path.relative_to(root.resolve()).as_posix() if is_own else f"hilgate:{file.name}"
        entries.append(FileEntry(kind="device", name=file.name, path=path, sha256=file.sha256))
    return entries
