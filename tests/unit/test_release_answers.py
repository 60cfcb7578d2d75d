"""What the gate asks of the answers that a release compares its own with, and of who signed the evidence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.evidence.folder import SIGNATURE
from harness.evidence.schema import CellEntry
from harness.model.model import Closeness
from harness.release.answer_conditions import answer_refusals
from tests.support.gate_project import GateProject, make_project
from tests.support.gating import gate, share_model_processes

REASON = "net/rig/onnxruntime: answers.allowed"


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> GateProject:
    return make_project(tmp_path_factory.mktemp("honest"), samples=600)


def _refusals(project: GateProject, change: Callable[[Any], None], closeness: Closeness | None = None) -> list[str]:
    """Ask of the project's answers, each one's allowance changed before."""
    entry = project.read()["cells"][0]
    for outputs in entry["answers"]["allowed"]:
        for allowed in outputs:
            change(allowed)
    content = (project.evidence / entry["answers"]["path"]).read_bytes()
    return [each.reason for each in answer_refusals(CellEntry.model_validate(entry), content, closeness)]


def test_honest_answers(honest: GateProject) -> None:
    """As a run writes them, by either kind of tolerance."""
    assert _refusals(honest, lambda allowed: None) == []
    close = Closeness(rtol=0.01, atol=0.5)
    assert _refusals(honest, lambda allowed: allowed.update(rtol=0.01, atol=0.5), close) == []


def test_allowed_so_much_that_zeros_pass(honest: GateProject) -> None:
    (reason,) = _refusals(honest, lambda allowed: allowed.update(atol=1e30))
    assert reason.startswith(f"{REASON} is so wide that zeros would be right answers")


@pytest.mark.parametrize(
    ("said", "closeness", "meant"),
    [
        ({"atol": 0.6, "rtol": 0.01}, Closeness(rtol=0.01, atol=0.5), "0.5 and 0.01 by the model file's tolerance"),
        ({"atol": 0.5, "rtol": 0.02}, Closeness(rtol=0.01, atol=0.5), "0.5 and 0.01 by the model file's tolerance"),
        ({"rtol": 1.0}, None, "no rtol by the model file's tolerance, which is a number"),
    ],
    ids=["atol", "rtol", "a number"],
)
def test_allowed_that_does_not_follow(
    honest: GateProject, said: dict[str, float], closeness: Closeness | None, meant: str
) -> None:
    (reason,) = _refusals(honest, lambda allowed: allowed.update(said), closeness)
    assert reason.startswith(f"{REASON}: 0.out.0 may be off by atol ")
    assert reason.endswith(meant)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dtype": "int32", "atol": 0.0}, "are of another type than the outputs: <f8 for an output of int32"),
        ({"dtype": "complex64"}, "are of a type that no check compares: 'complex64'"),
    ],
    ids=["another type", "no type"],
)
def test_answers_that_cannot_be_laid_out(honest: GateProject, change: dict[str, Any], text: str) -> None:
    """With --dry-run, too, which lays nothing out."""
    (reason,) = _refusals(honest, lambda allowed: allowed.update(change))
    assert text in reason


def test_no_answers(honest: GateProject) -> None:
    entry = honest.read()["cells"][0]
    entry["answers"]["allowed"] = []
    content = (honest.evidence / entry["answers"]["path"]).read_bytes()
    (refusal,) = answer_refusals(CellEntry.model_validate(entry), content, None)
    assert "the reference's answers are not those of the evidence: none" in refusal.reason


def test_damaged_answers(honest: GateProject) -> None:
    """Told by the gate with its other reasons, and not only once it lays them out."""
    cell = CellEntry.model_validate(honest.read()["cells"][0])
    (refusal,) = answer_refusals(cell, b"PK", None)
    assert "the reference's answers cannot be read" in refusal.reason


def test_answers_of_zeros(honest: GateProject, tmp_path: Path) -> None:
    """A model that answers nothing but zeros is not refused for them."""
    cell = CellEntry.model_validate(honest.read()["cells"][0])
    assert cell.answers is not None
    with np.load(honest.evidence / cell.answers.path) as stored:
        zeros = {name: np.zeros_like(stored[name]) for name in stored.files}
    np.savez(tmp_path / "zeros.npz", allow_pickle=False, **zeros)
    assert list(answer_refusals(cell, (tmp_path / "zeros.npz").read_bytes(), None)) == []


def test_gate_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence in which a release's own check was made to accept anything; and a release's attestation in the place
    of the evidence's signature, by a key that both may be signed with."""
    share_model_processes(monkeypatch)
    project = make_project(tmp_path, samples=600)
    monkeypatch.setenv("HILGATE_CACHE", str(project.cache))
    monkeypatch.chdir(project.root)
    assert gate(project).exit_code == 0
    text = project.policy.read_text()
    text = text.replace("signed_by = []", 'signed_by = ["keys/team.pub"]').replace('commit = "HEAD"', 'commit = "any"')
    project.policy.write_text(text)
    shutil.copyfile(project.root / "build/release/net.sigstore.json", project.evidence / SIGNATURE)
    result = gate(project, output="build/second")
    assert result.exit_code == 1, result.output
    assert f"{SIGNATURE} is the attestation of a release, not the signature of a run" in result.output
    project.change(lambda content: content["cells"][0]["answers"]["allowed"][0][0].update(rtol=9.0))
    project.sign_evidence(project.key)
    result = gate(project, output="build/second")
    assert f"{REASON}: 0.out.0 may be off by atol" in result.output, result.output
    assert not (project.root / "build/second").exists()
