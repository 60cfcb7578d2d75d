"""The private key and its passphrase are in nothing that gate, verify and key print, write, start or raise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.signing.keys import make_key
from tests.support.gate_project import GateProject, make_project
from tests.support.gating import hilgate

PASSPHRASE = "correct horse battery staple"  # noqa: S105  # of a key that is made here


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    """A project whose key has a passphrase; the model file writes down what it inherits."""
    project = make_project(tmp_path, samples=600)
    monkeypatch.setenv("HILGATE_CACHE", str(project.cache))
    monkeypatch.chdir(project.root)
    project.key.unlink()
    make_key(project.key, PASSPHRASE.encode())
    project.public.write_bytes(project.key.with_name("team.pub").read_bytes())
    project.commit()
    return project


def secrets(project: GateProject) -> list[bytes]:
    """The passphrase, and every line of the key but its frame."""
    lines = project.key.read_bytes().splitlines()
    return [PASSPHRASE.encode(), *(line for line in lines if not line.startswith(b"-----"))]


def leaks(project: GateProject, *texts: str) -> list[str]:
    """Name where a secret is: in a text, or in a file of the project, its cache, or the folder of all that."""
    hidden = secrets(project)
    found = [f"text {number}" for number, text in enumerate(texts) if any(each in text.encode() for each in hidden)]
    for path in project.root.parent.rglob("*"):
        if path.is_file() and path != project.key and any(each in path.read_bytes() for each in hidden):
            found.append(str(path))
    return found


@pytest.mark.parametrize("way", ["file", "variable", "terminal"])
def test_gate_and_verify(project: GateProject, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """However key and passphrase come, neither is printed, written, or inherited by the model file's process."""
    if way == "terminal":
        monkeypatch.setattr("harness.cli.gating.terminal_prompt", lambda: lambda: PASSPHRASE)
    else:
        monkeypatch.setenv("HILGATE_SIGNING_PASSPHRASE", PASSPHRASE)
    key = [] if way == "variable" else ["--key", str(project.key)]
    if way == "variable":
        monkeypatch.setenv("HILGATE_SIGNING_KEY", project.key.read_text())
    inherited: list[dict[str, str]] = []
    from harness.release import committed_limits

    ask = committed_limits._declared

    def note_and_ask(*given: Any) -> Any:
        inherited.append(dict(os.environ))
        return ask(*given)

    monkeypatch.setattr(committed_limits, "_declared", note_and_ask)
    made = hilgate("gate", "build/hil", "--policy", "gate.toml", *key, "--write-predicate", "build/predicate.json")
    assert made.exit_code == 0, made.output
    verified = hilgate("verify", "build/release", "--policy", "gate.toml")
    assert verified.exit_code == 0
    assert leaks(project, made.output, made.stderr, verified.output, str(inherited)) == []
    assert len(inherited) == 1
    assert not {"HILGATE_SIGNING_KEY", "HILGATE_SIGNING_PASSPHRASE"}.intersection(os.environ)


@pytest.mark.parametrize("key", [False, True])
def test_dry_run_lets_nobody_inherit(project: GateProject, monkeypatch: pytest.MonkeyPatch, key: bool) -> None:
    """A key in the environment that is not asked for is taken out of it all the same."""
    monkeypatch.setenv("HILGATE_SIGNING_KEY", project.key.read_text())
    monkeypatch.setenv("HILGATE_SIGNING_PASSPHRASE", PASSPHRASE)
    more = ["--key", str(project.key)] if key else []
    done = hilgate("gate", "build/hil", "--policy", "gate.toml", "--dry-run", *more)
    assert done.exit_code == 0
    assert not {"HILGATE_SIGNING_KEY", "HILGATE_SIGNING_PASSPHRASE"}.intersection(os.environ)
    assert leaks(project, done.output, done.stderr) == []


@pytest.mark.parametrize("wrong", ["passphrase", "key", "argument", "evidence", "full disk"])
def test_failures(project: GateProject, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """Nor is either in what is said, or raised with all its causes, when something goes wrong."""
    monkeypatch.setenv("HILGATE_SIGNING_PASSPHRASE", PASSPHRASE + "!" if wrong == "passphrase" else PASSPHRASE)
    key, text = str(project.key), project.key.read_text()
    if wrong == "key":
        key = str(project.key.with_name("damaged"))
        lines = text.splitlines()
        Path(key).touch(mode=0o600)
        Path(key).write_text("\n".join([lines[0], *lines[2:]]))
    if wrong == "argument":
        key = text
    if wrong == "evidence":
        project.change(lambda content: content.update(verdict="FAIL"))
    if wrong == "full disk":
        monkeypatch.setattr("harness.release.gate._write", lambda *given: (_ for _ in ()).throw(OSError(28, "full")))
    done = CliRunner().invoke(cli, ["gate", "build/hil", "--policy", "gate.toml", "--key", key])
    assert done.exit_code == 1
    error: BaseException | None = done.exception
    raised = []
    while error is not None:
        raised.append(f"{error!r} {error}")
        error = error.__context__ or error.__cause__
    if wrong == "key":
        Path(key).unlink()
    assert leaks(project, done.output, done.stderr, *raised) == []


def test_key_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`hilgate key` says nothing of what it has made but its place."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["key", "team", "--no-passphrase"])
    assert done.exit_code == 0, done.output
    lines = [line for line in (tmp_path / "team").read_text().splitlines() if not line.startswith("-----")]
    assert lines
    assert [line for line in lines if line in done.output + (tmp_path / "team.pub").read_text()] == []
