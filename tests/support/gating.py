"""Gate and verify, run in this process on projects of tests; what costs most, a model file's process, runs once.

What is shared is what a model file declared, by the content of everything that the process could read: the commit as it
was written out. Another byte in it, and another process is asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.backends import backend_names
from harness.bundle import file_store
from harness.checks.limits import Metric
from harness.cli import cli
from harness.cli.project import Project
from harness.measure import known_metrics
from harness.parity import PARITY
from harness.release import committed_limits, parts
from harness.release.examine import Examined, examine
from harness.release.gate import Release, make_release
from harness.release.policy import Policy, load_policy
from harness.signing.envelope import seal
from harness.signing.keys import Signer

from .gate_project import GateProject

_DECLARED: dict[tuple[str, str], Any] = {}


def share_model_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a model file's process once for each content of the commit that it is read in; and pin nothing.

    A pin is a descriptor that is open until the process ends: those of a thousand gates are more than select takes.
    """
    for module in (parts, file_store):
        monkeypatch.setattr(module, "pin", Path.is_dir)
    ask = committed_limits._declared

    def declared(path: Path, metrics: Sequence[Metric], copy: Any, top: Path | None = None) -> Any:
        if copy is None:
            return ask(path, metrics, copy, top)
        key = str(path.relative_to(copy.folder)), _hash_of(copy.folder)
        if key not in _DECLARED:
            _DECLARED[key] = ask(path, metrics, copy, top)
        return _DECLARED[key]

    monkeypatch.setattr(committed_limits, "_declared", declared)


def _hash_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = b"" if path.is_dir() else path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def copy_project(project: GateProject, folder: Path) -> GateProject:
    """Copy a project and all that lies around it into an empty folder."""
    old = project.root.parent
    shutil.copytree(old, folder, symlinks=True, dirs_exist_ok=True)
    places = ("root", "evidence", "policy", "key", "cache")
    return replace(project, **{name: folder / getattr(project, name).relative_to(old) for name in places})


def put_behind_link(path: Path) -> None:
    """Move something away, and leave a link to it."""
    away = path.with_name(f"{path.name}.away")
    path.rename(away)
    path.symlink_to(away.name)


def load(project: GateProject, path: Path | None = None) -> Policy:
    """Load a project's policy, or another one."""
    metrics = [*known_metrics(), PARITY.name]
    devices = Project(project.root / "devices").device
    return load_policy(path or project.policy, devices=devices, metrics=metrics, backends=backend_names())


def examined(project: GateProject, policy: Policy | None = None, *, now: datetime | None = None) -> Examined:
    """Examine a project's evidence."""
    metrics = list(known_metrics().values())
    moment = now or datetime.now(UTC)
    return examine(project.evidence, policy or load(project), project.root, metrics=metrics, now=moment)


def release(project: GateProject, signer: Signer, output: Path, *, now: datetime | None = None) -> Release:
    """Make a release of a project."""
    moment = now or datetime.now(UTC)
    return make_release(examined(project, now=moment), signer, output, now=moment)


def hilgate(*words: str | Path) -> Result:
    """Run the program in this process; whatever it raises unasked is raised here."""
    result = CliRunner().invoke(cli, [str(word) for word in words], prog_name="hilgate")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def gate(project: GateProject, *words: str | Path, output: str = "build/release") -> Result:
    """Run `hilgate gate` on a project, in the folder that the test is in."""
    place = project.root / output
    return hilgate("gate", project.evidence, "--policy", project.policy, "--key", project.key, "-o", place, *words)


def statement_of(path: Path) -> dict[str, Any]:
    """Read what is signed in a bundle."""
    payload = json.loads(path.read_text(encoding="utf-8"))["dsseEnvelope"]["payload"]
    content: dict[str, Any] = json.loads(base64.b64decode(payload))
    return content


def sign_again(path: Path, signer: Signer, change: Callable[[dict[str, Any]], Any] = lambda statement: None) -> None:
    """Change what is signed in a bundle, and sign it."""
    statement = statement_of(path)
    change(statement)
    path.write_text(seal(statement, signer), encoding="utf-8")
