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
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from harness.agent import facts
from harness.backends import backend_names, load_backend
from harness.cell import Cell
from harness.device import Device, load_device
from harness.evidence.commit import find_commit
from harness.evidence.folder import FILE, SIGNATURE
from harness.evidence.reading import read_evidence
from harness.evidence.schema import FileEntry, Fingerprint
from harness.host.cache import file_sha256
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.model.model import Input, Model
from harness.model.model_file import ModelFile, checked_limits
from harness.parity import PARITY
from harness.release.policy import Policy, load_policy
from harness.run.signing import describe_result
from harness.signing.envelope import seal
from harness.signing.keys import load_signer
from harness.signing.statement import EVIDENCE_PREDICATE, make_statement

from .gate_bundle import INPUT, WIDTHS, CachedParts
from .gate_evidence import Tested, write_evidence
from .gate_files import DEVICE_LIMITS, EMULATED_REQUIRE, LIMITS, MODEL, REQUIRE, SAME, policy_text, write_files

WHO = {
    **{f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in (("NAME", "A Builder"),)},
    **{f"GIT_{role}_EMAIL": "builder@example.org" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_DATE": "2026-11-01T12:00:00Z" for role in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


@dataclass(frozen=True, kw_only=True)
class GateProject:
    """A project, and what lies around it.

    Attributes:
        root: the project's folder, a git repository with a clean tree.
        evidence: the folder of evidence.json, below ``root``, ignored by git.
        policy: gate.toml in ``root``, committed.
        key: the private key, PEM, mode 0600, outside the repository; its public half is keys/team.pub in ``root``.
        board_key: the private key of the machine that has the board, likewise; its public half is keys/board.pub.
        cache: what $HILGATE_CACHE is to name.
    """

    root: Path
    evidence: Path
    policy: Path
    key: Path
    board_key: Path
    cache: Path

    @property
    def public(self) -> Path:
        """The public key, as the policy names it."""
        return self.root / "keys" / "team.pub"

    @property
    def environment(self) -> dict[str, str]:
        """Variables for a command that is run on the project."""
        return {"HILGATE_CACHE": str(self.cache)}

    def load_policy(self) -> Policy:
        """Load the policy, as the command does."""
        metrics = known_metrics()
        return load_policy(
            self.policy,
            devices=lambda name: load_device(name, [self.root / "devices", DEVICES], metrics.values()),
            metrics=[*metrics, PARITY.name],
            backends=backend_names(),
        )

    def read(self) -> dict[str, Any]:
        """Read evidence.json as JSON's types."""
        content: dict[str, Any] = json.loads((self.evidence / FILE).read_text(encoding="utf-8"))
        return content

    def write(self, content: Mapping[str, Any]) -> None:
        """Replace evidence.json."""
        text = json.dumps(content, indent=1) + "\n"
        (self.evidence / FILE).write_text(text, encoding="utf-8")

    def change(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change evidence.json in place."""
        content = self.read()
        change(content)
        self.write(content)

    def sign_evidence(self, private: Path | None = None) -> Path:
        """Sign the evidence as it is now, as ``pytest --sign KEY`` does; return the signature's file.

        Args:
            private: the key; None for that of the machine that has the board.
        """
        content = (self.evidence / FILE).read_bytes()
        run = read_evidence(self.evidence / FILE).run
        subjects = {FILE: hashlib.sha256(content).hexdigest()}
        subjects |= {f"bundles/{cell.bundle.sha256}.json": cell.bundle.sha256 for cell in run.cells if cell.bundle}
        statement = make_statement(subjects, EVIDENCE_PREDICATE, describe_result(run, allow_inconclusive=False))
        path = self.evidence / SIGNATURE
        path.write_text(seal(statement, load_signer(str(private or self.board_key))), encoding="utf-8")
        return path

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
    more_bytes: int = 0,
    signed: bool = False,
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
        more_bytes: the size of a second file of each artifact; 0 for none.
        signed: whether the evidence is signed by the machine that has the board, and the policy wants that.
    """
    root = tmp_path / "project"
    project = GateProject(
        root=root,
        evidence=root / "build" / "hil",
        policy=root / "gate.toml",
        key=tmp_path / "secret" / "team",
        board_key=tmp_path / "secret" / "board",
        cache=tmp_path / "cache",
    )
    for folder in (root / "devices", root / "keys", project.key.parent, project.cache):
        folder.mkdir(parents=True, mode=0o700)
    make_key(project.key, project.public)
    make_key(project.board_key, root / "keys" / "board.pub")
    write_files(root, backends, devices, limits, device_limits, emulated=emulated, shipped=shipped)
    required = (EMULATED_REQUIRE if emulated else REQUIRE) if require is None else require
    signers = ("keys/board.pub",) if signed else ()
    text = policy_text(
        backend=backend, devices=devices, require=required, same=same, emulated=emulated, signed_by=signers
    )
    project.policy.write_text(text, encoding="utf-8")
    project.git("init", "--quiet", "--initial-branch=main")
    project.commit(also_evidence=False)
    cells = make_cells(root, backends, devices, limits)
    python = "3.11.2" if emulated else platform.python_version()
    parts = CachedParts(project.cache, shipped, python, more_bytes)
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
    if signed:
        project.sign_evidence()
    return project


def make_key(private: Path, public: Path) -> None:
    """Make a P-256 key pair: PKCS#8 without a passphrase, mode 0600, and its public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


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
