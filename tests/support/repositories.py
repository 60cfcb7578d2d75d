"""Real git repositories for tests: a project in a folder of one, and the evidence of a run in it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.device import Device, load_device
from harness.evidence.schema import RunEntry
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.release.policy import Policy, load_policy

from .evidences import make_cell, make_check, make_run, read

METRICS = known_metrics()
MODEL = b"""
from shared import LIMITS
from harness import Input, Model

model = Model(build=dict, inputs=[Input("x", shape=(2,))], limits=LIMITS)
"""
SHARED = b"LIMITS = {'latency_p99_ms': 10}\n"
RIG = b'extends = "local"\n[limits]\nload_time_s = 9\n[limits.onnxruntime]\nmemory_peak_mib = 50\n'
POLICY = """
[release]
name = "net"
model = "net"
backend = "onnxruntime"
[evidence]
devices = ["{device}"]
require = ["parity", "latency_p99_ms"]
commit = "{commit}"
emulated = true
[target]
devices = ["{device}"]
[signers]
keys = ["key.pub"]
"""


class Project:
    """A project in the folder "robot" of a repository, whose model is in "models" beside it; committed, and clean.

    Attributes:
        top: the repository's folder.
        root: the project's.
    """

    def __init__(self, top: Path) -> None:
        self.top, self.root = top, top / "robot"
        self.root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        for name, value in (("user.name", "Test"), ("user.email", "test@example.invalid"), ("core.autocrlf", "false")):
            self.git("config", name, value)
        self.write({"../models/net.py": MODEL, "../models/shared.py": SHARED, "devices/rig.toml": RIG, "key.pub": b"k"})
        self.commit()

    def git(self, *words: str, folder: Path | None = None) -> str:
        """Run git in the repository; files over the file protocol may be cloned."""
        command = ["git", "-C", str(folder or self.top), "-c", "protocol.file.allow=always", *words]
        done = subprocess.run(command, check=True, capture_output=True, env={**os.environ, "LC_ALL": "C"})
        return done.stdout.decode().strip()

    def write(self, files: Mapping[str, bytes]) -> Project:
        """Write files, by their paths from the project's folder; returns the project."""
        for name, content in files.items():
            place = self.root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return self

    def commit(self) -> str:
        """Commit everything; returns the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a commit")
        return self.git("rev-parse", "HEAD")

    def entry(self, kind: str, name: str, path: str, sha256: str = "") -> dict[str, str]:
        """Describe a file as the evidence does, with the hash of what lies there now."""
        shipped = DEVICES / f"{path.removeprefix('hilgate:')}.toml"
        place = shipped if path.startswith("hilgate:") else self.root / path
        found = sha256 or hashlib.sha256(place.read_bytes()).hexdigest()
        return {"kind": kind, "name": name, "path": path, "sha256": found}

    def files(self, *more: dict[str, str]) -> list[dict[str, str]]:
        """Describe the project's files, and further ones."""
        return [
            self.entry("model", "net", "../models/net.py"),
            self.entry("device", "rig", "devices/rig.toml"),
            self.entry("device", "local", "hilgate:local"),
            *more,
        ]

    def run(self, *, without: str = "", **keys: Any) -> RunEntry:
        """Return evidence of a run on what is there now, without the check of one metric."""
        checks = [make_check("parity", 0.5, 30.0), make_check("latency_p99_ms", 3.0, 10.0)]
        checks += [make_check("load_time_s", 1.0, 9.0), make_check("memory_peak_mib", 40.0, 50.0)]
        checks = [check for check in checks if check["metric"] != without]
        cell = make_cell("onnxruntime", checks, device="rig")
        return read(make_run([cell], **{"commit": self.git("rev-parse", "HEAD"), "files": self.files(), **keys}))

    def policy(self, commit: str = "HEAD", device: str = "rig") -> Policy:
        """Return a policy, whose file is no part of the project."""
        path = self.top.parent / "gate.toml"
        path.write_text(POLICY.format(commit=commit, device=device))
        (self.top.parent / "key.pub").write_text("k")
        names = ["onnxruntime", "torchscript"]
        return load_policy(path, devices=self.device, metrics=[*METRICS, "parity"], backends=names)

    def device(self, name: str) -> Device:
        """Load a device as the project has it now."""
        return load_device(name, (self.root / "devices", DEVICES), METRICS.values())
