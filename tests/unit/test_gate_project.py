"""The project that tests of the gate start from is whole: its evidence contradicts nothing, its hashes are right."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.decision.consistency import contradictions
from harness.evidence.folder import FILE, SIGNATURE
from harness.evidence.reading import read_evidence
from harness.evidence.samples import read_samples
from harness.host.cache import file_sha256
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.model.process import read_hosted
from harness.release.committed import committed_files
from harness.release.committed_limits import limits_of
from harness.release.conditions import cells_of, refusals_of
from harness.release.parts import collect
from harness.release.rejudge import rejudge
from harness.signing.envelope import read_sealed
from harness.signing.keys import load_public
from harness.signing.statement import EVIDENCE_PREDICATE, subjects_of
from tests.support.gate_bundle import INPUT, OUTPUT, answer, onnx_bytes
from tests.support.gate_files import LIMITS
from tests.support.gate_project import GateProject, make_cells, make_project

BACKENDS = ("onnxruntime", "onnxruntime-cpp", "libtorch", "torchscript")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="default"),
        pytest.param({"backends": BACKENDS, "devices": ("rig", "other"), "samples": 600}, id="cells"),
        pytest.param({"emulated": True}, id="emulated"),
        pytest.param({"shipped": False, "backends": BACKENDS}, id="installed"),
    ],
)
def test_evidence_is_consistent(tmp_path: Path, options: dict[str, object]) -> None:
    """Verdicts follow, every file has the hash that is said of it, and the tree is that of the commit."""
    project = make_project(tmp_path, **options)  # type: ignore[arg-type]  # each case has its own
    evidence = read_evidence(project.evidence / "evidence.json")
    assert (evidence.lacks, evidence.run.verdict, project.git("status", "--porcelain")) == ((), "PASS", "")
    assert evidence.run.commit == project.git("rev-parse", "HEAD")
    for cell in evidence.run.cells:
        assert contradictions(cell) == {}
        assert cell.bundle is not None
        manifest = project.evidence / "bundles" / f"{cell.bundle.sha256}.json"
        assert file_sha256(manifest) == cell.bundle.sha256
        for check in cell.checks:
            assert read_samples(project.evidence, check).problem in ("", "The check has no raw samples.")
            if check.raw_inputs is not None:
                assert file_sha256(project.evidence / check.raw_inputs) == check.raw_inputs_sha256
        assert cell.answers is not None
        assert file_sha256(project.evidence / cell.answers.path) == cell.answers.sha256
    for file in evidence.run.files:
        is_shipped = file.path.startswith("hilgate:")
        path = DEVICES / f"{file.name}.toml" if is_shipped else project.root / file.path
        assert file_sha256(path) == file.sha256
    assert oct(project.key.stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize("emulated", [False, True])
def test_everything_can_be_judged_again(tmp_path: Path, emulated: bool) -> None:
    """What is made again of samples, by the limits of the project's files, is what stands there."""
    project = make_project(tmp_path, backends=BACKENDS, samples=600, emulated=emulated)
    run = read_evidence(project.evidence / "evidence.json").run
    limits = {cell.key: cell for cell in make_cells(project.root, BACKENDS, ("rig",), LIMITS)}
    for entry in run.cells:
        cell = limits[entry.model, entry.device, entry.backend]
        again = rejudge(project.evidence, run, entry, cell.limits, cell.file.model.parity_limit)
        assert [(each.metric, each.problem) for each in again if each.problem] == []
        assert [each.check.verdict for each in again] == [check.verdict for check in entry.checks]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"backends": BACKENDS, "devices": ("rig", "other")}, id="cells"),
        pytest.param({"emulated": True}, id="emulated"),
        pytest.param({"shipped": False}, id="installed"),
    ],
)
def test_policy_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    """No condition refuses it, its files are those of the commit, and their limits are those that it was judged by."""
    project = make_project(tmp_path, samples=600, **options)
    monkeypatch.setenv("HILGATE_CACHE", str(project.cache))
    read, policy = read_evidence(project.evidence / "evidence.json"), project.load_policy()
    cells, refusals = cells_of(policy, read.run)
    assert (sorted(cells), refusals) == (sorted(options.get("devices", ("rig",))), [])
    assert refusals_of(policy, read.run, cells, now=datetime.now(UTC), lacks=read.lacks) == []
    files, refusals = committed_files(project.root, read.run, policy)
    assert (len(files), refusals) == (len(read.run.files), [])
    metrics = list(known_metrics().values())
    limits, refusals = limits_of(project.root, read.run, policy, cells, files, metrics=metrics)
    assert (sorted(limits), refusals) == (sorted(cells), [])
    for name, cell in cells.items():
        again = rejudge(project.evidence, read.run, cell, limits[name].limits, limits[name].parity_limit)
        assert [each.problem for each in again if each.problem] == []
        assert collect(project.evidence, cell).backend == cell.backend


def test_signature_of_the_evidence_is_the_boards(tmp_path: Path) -> None:
    """It is of the evidence as it is, by the key that the policy names."""
    project = make_project(tmp_path, samples=600, signed=True)
    (board,) = project.load_policy().evidence.signed_by
    opened = read_sealed(project.evidence / SIGNATURE, [load_public(board)], EVIDENCE_PREDICATE)
    assert subjects_of(opened.statement)[FILE] == file_sha256(project.evidence / FILE)
    assert opened.statement["predicate"]["result"] == "PASSED"


def test_everything_sent_is_in_the_cache(tmp_path: Path) -> None:
    """Archives lie where the cache has them, under the hash of their content."""
    project = make_project(tmp_path, backends=BACKENDS, samples=600)
    stored = [path for path in project.cache.glob("*/files/*/*") if path.is_file()]
    assert stored
    assert all(file_sha256(path) == path.parent.name for path in stored)


def test_model_file_declares_what_was_judged(tmp_path: Path) -> None:
    """The limits of the evidence are those that the committed model file has, when it is run."""
    project = make_project(tmp_path)
    file = read_hosted(project.root / "net.py", list(known_metrics().values()))
    file.process.close()
    limits = {limit.key: limit.value for limit in file.limits}
    for check in project.read()["cells"][0]["checks"]:
        assert limits.get(check["metric"], check["limit"]) == check["limit"]


def test_onnx_file_runs(tmp_path: Path) -> None:
    """ONNX Runtime gives the reference's answers."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_bytes())
    state = np.random.default_rng(1).uniform(-1, 1, (3, 16)).astype(np.float32)
    (scores,) = session.run([OUTPUT], {INPUT: state})
    assert np.allclose(scores, answer(state), atol=1e-5, rtol=1e-5)
    assert (scores.dtype, onnx_bytes()) == (np.float32, onnx_bytes())


def test_change_and_commit(tmp_path: Path) -> None:
    """Evidence can be changed, and the tree committed again under the same name of a person."""
    project: GateProject = make_project(tmp_path)
    before = project.read()["commit"]
    (project.root / "net.py").write_text((project.root / "net.py").read_text() + "\n")
    assert project.commit() == project.read()["commit"] != before
