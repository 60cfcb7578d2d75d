"""evidence.json: what it says while a run goes on and when it has ended, and what an earlier run may leave in it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import Input, Model, __version__
from harness.backends import load_backend
from harness.bundle import Bundle
from harness.bundle.runtime import Runtime
from harness.cell import Cell
from harness.checks.check import Check, Verdict
from harness.checks.finding import Finding
from harness.checks.limits import Metric
from harness.device.device import Device
from harness.errors import BackendError, InputError, StorageError
from harness.evidence.cell_record import CellRecord
from harness.evidence.commit import find_commit
from harness.evidence.reading import read_evidence
from harness.evidence.samples import read_raw_inputs, read_samples
from harness.evidence.schema import ArtifactFacts, BundleFacts, Fingerprint
from harness.evidence.writer import Evidence
from harness.host.cache import file_sha256
from harness.model.model_file import ModelFile

P99 = Metric("latency_p99_ms", "ms", "99th percentile", wall_clock=True)
PARITY = Metric("parity", "", "worst error ratio")


def build() -> Any:
    """What a model file has; never called here."""


def make_cell(backend: str) -> Cell:
    model = Model(build=build, inputs=[Input("x", shape=(1,))], name="net")
    device = Device(
        name="pi4",
        path=Path("pi4.toml"),
        description="a board",
        link="ssh",
        host="h",
        backends=("torchscript", "onnxruntime"),
    )
    return Cell(ModelFile(Path("net.py"), model, ()), device, load_backend(backend))


TORCH, ONNX = make_cell("torchscript"), make_cell("onnxruntime")
BUNDLE = Bundle(backend="onnxruntime", agent={}, artifact={}, runtime=Runtime(described={"python": "3"}, packages={}))


def check(verdict: Verdict, metric: Metric = P99, value: float = 1.5) -> Check:
    return Check(Finding(metric, value, value), None, verdict, "")


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """Evidence of two cells, begun."""
    begun = Evidence(tmp_path / "hil", [TORCH, ONNX])
    begun.begin()
    return begun


def written(evidence: Evidence) -> dict[str, Any]:
    content = json.loads((evidence.folder / "evidence.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


# While a run goes on


def test_a_run_that_has_begun_is_inconclusive_and_has_its_cells(evidence: Evidence) -> None:
    content = written(evidence)
    assert (content["schema"], content["tool"]) == (1, f"hilgate {__version__}")
    assert (content["verdict"], content["finished"]) == ("INCONCLUSIVE", None)
    assert [(cell["model"], cell["device"], cell["backend"]) for cell in content["cells"]] == [TORCH.key, ONNX.key]


def test_a_run_is_inconclusive_until_its_end_whatever_has_passed(evidence: Evidence) -> None:
    evidence.add_check(TORCH, check(Verdict.PASS))
    evidence.add_check(ONNX, check(Verdict.PASS))
    content = written(evidence)
    assert content["verdict"] == "INCONCLUSIVE"
    assert [cell["verdict"] for cell in content["cells"]] == ["PASS", "PASS"]


def test_a_check_is_written_at_once(evidence: Evidence) -> None:
    evidence.add_check(ONNX, check(Verdict.MEASURED))
    assert [len(cell["checks"]) for cell in written(evidence)["cells"]] == [0, 1]


def test_an_error_is_written_at_once_and_once(evidence: Evidence) -> None:
    for text in ("killed\nby the kernel", "killed\nby the kernel", "another"):
        evidence.add_error(TORCH, text)
    cell = written(evidence)["cells"][0]
    assert (cell["verdict"], cell["error"]) == ("FAIL", "killed\nby the kernel\nanother")


@pytest.mark.parametrize(
    ("checks", "pending", "verdict", "error"),
    [
        pytest.param([], set(), "INCONCLUSIVE", "nothing was measured: in use", id="nothing-yet"),
        pytest.param([], {"test"}, "INCONCLUSIVE", "nothing was measured: in use", id="a-test-to-come"),
        pytest.param([Verdict.PASS], {"test"}, "INCONCLUSIVE", "the rest was not measured: in use", id="half"),
        pytest.param([Verdict.FAIL], {"test"}, "FAIL", "the rest was not measured: in use", id="half-and-failed"),
        pytest.param([Verdict.PASS], set(), "PASS", None, id="whole"),
    ],
)
def test_a_device_that_cannot_be_used_leaves_its_cells_open_and_what_was_measured_stays(
    evidence: Evidence, checks: list[Verdict], pending: set[str], verdict: str, error: str | None
) -> None:
    evidence[TORCH].pending |= pending
    for one in checks:
        evidence.add_check(TORCH, check(one))
    evidence.add_unavailable("pi4", "in use")
    cell = written(evidence)["cells"][0]
    assert (cell["verdict"], cell["error"], cell["unfinished"]) == (verdict, error, [])
    assert evidence[TORCH].has_outcome


def test_of_a_device_that_cannot_be_used_another_ones_cells_know_nothing(evidence: Evidence) -> None:
    evidence.add_unavailable("pi5", "in use")
    assert [cell["error"] for cell in written(evidence)["cells"]] == [None, None]


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        pytest.param([], "NOT_APPLICABLE", id="nothing"),
        pytest.param([Verdict.PASS], "NOT_APPLICABLE", id="what-needs-no-build-is-no-pass"),
        pytest.param([Verdict.MEASURED, Verdict.FAIL], "FAIL", id="a-fail-stays"),
        pytest.param([Verdict.INCONCLUSIVE], "INCONCLUSIVE", id="doubt-stays"),
    ],
)
def test_a_backend_that_was_not_built_is_never_a_pass(evidence: Evidence, checks: list[Verdict], verdict: str) -> None:
    for one in checks:
        evidence.add_check(TORCH, check(one))
    evidence[TORCH].pending.add("test")
    evidence.add_not_built(TORCH, BackendError("no compiler", hint="install g++"))
    cell = written(evidence)["cells"][0]
    assert (cell["verdict"], cell["error"], cell["unfinished"]) == (verdict, None, [])
    assert cell["not_built"] == "no compiler\n  next:   install g++"


@pytest.mark.parametrize(
    ("built", "verdict"), [pytest.param(True, "PASS", id="one"), pytest.param(False, "INCONCLUSIVE", id="none")]
)
def test_a_run_passes_without_a_backend_only_where_another_was_measured(
    evidence: Evidence, built: bool, verdict: str
) -> None:
    evidence.add_not_built(TORCH, BackendError("no compiler"))
    if built:
        evidence.add_check(ONNX, check(Verdict.PASS))
    else:
        evidence.add_not_built(ONNX, BackendError("no compiler"))
    evidence.finish(keep=[TORCH, ONNX])
    evidence.write()
    assert written(evidence)["verdict"] == verdict


def test_a_value_that_json_lacks_is_written_as_text(evidence: Evidence) -> None:
    evidence.add_check(TORCH, check(Verdict.FAIL, PARITY, float("inf")))
    assert written(evidence)["cells"][0]["checks"][0]["value"] == "inf"


def test_what_is_known_of_a_cell_is_written(evidence: Evidence) -> None:
    record, sums = evidence[ONNX], ("a" * 64, "b" * 64)
    record.artifact, record.bundle = ArtifactFacts(sha256=sums[0]), BundleFacts(sha256=sums[1])
    record.device_facts = Fingerprint(threads=1)
    record.notes.append("größer")
    evidence.write()
    entry = written(evidence)["cells"][1]
    assert (entry["artifact"], entry["bundle"]) == ({"sha256": sums[0]}, {"sha256": sums[1]})
    assert (entry["fingerprint"], entry["notes"]) == ({"threads": 1}, ["größer"])


def test_the_parts_of_a_fingerprint_may_come_in_any_order(evidence: Evidence) -> None:
    record = evidence[ONNX]
    reached = Fingerprint(cpu="cortex-a72", runtime={"numpy": "2.0", "torch": "2.10"})
    measured = Fingerprint(runtime={"torch": "2.10.0+cpu"}, settings={"threads": 1})
    record.measured_facts = measured
    assert record.fingerprint == measured
    record.device_facts = reached
    evidence.write()
    assert written(evidence)["cells"][1]["fingerprint"] == {
        "cpu": "cortex-a72",
        "runtime": {"numpy": "2.0", "torch": "2.10.0+cpu"},
        "settings": {"threads": 1},
    }


@pytest.mark.parametrize(
    "details",
    [
        {"samples": "many"},
        {"processes": [np.int64(3)]},
        {"verdict": "PASSED"},
        {"spread": np.float32(2)},
        {"each_ms": np.zeros(3)},
        {"nested": {"deep": [1.0, float("inf")]}},
        {"what": object()},
    ],
)
def test_a_finding_that_the_evidence_does_not_take_is_refused_and_keeps_no_other_from_it(
    evidence: Evidence, details: dict[str, Any]
) -> None:
    (key,) = details
    with pytest.raises(InputError, match=f"latency_p99_ms: {key}"):
        evidence.add_check(ONNX, Check(Finding(P99, 1.5, details=details), None, Verdict.MEASURED, ""))
    evidence.add_check(ONNX, check(Verdict.PASS))
    assert len(written(evidence)["cells"][1]["checks"]) == 1


def test_raw_samples_are_kept_beside_it(evidence: Evidence) -> None:
    durations = np.array([3, 1, 2], np.int64)
    path = evidence.save_samples(ONNX, durations)
    assert path == "samples/net-pi4-onnxruntime.npy"
    np.testing.assert_array_equal(np.load(evidence.folder / path), durations)


def sums(evidence: Evidence) -> list[str | None]:
    return [check["raw_sha256"] for cell in written(evidence)["cells"] for check in cell["checks"]]


def test_every_check_has_the_hash_of_the_raw_samples_that_are_there(evidence: Evidence) -> None:
    """Also where they are saved once more, and at once: whoever reads before the next check is not misled."""
    raw = evidence.save_samples(ONNX, np.array([3, 1, 2], np.int64))
    for metric in (P99, Metric("latency_p50_ms", "ms", "median")):
        entry = evidence.add_check(ONNX, Check(Finding(metric, 1.5, 1.5, raw=raw), None, Verdict.PASS, ""))
    evidence.add_check(ONNX, check(Verdict.PASS, PARITY))
    first = file_sha256(evidence.folder / raw)
    assert sums(evidence) == [entry.raw_sha256, first, None]
    assert evidence.save_samples(ONNX, np.array([4], np.int64)) == raw
    again = file_sha256(evidence.folder / raw)
    assert (sums(evidence), again != first) == ([again, again, None], True)
    kind = evidence.save_samples(ONNX, np.array([5], np.int64), "instructions")
    evidence.add_check(ONNX, Check(Finding(P99, 1.5, 1.5, raw=kind), None, Verdict.PASS, ""))
    evidence.finish(keep=[ONNX])
    evidence.write()
    assert sums(evidence) == [again, again, None, file_sha256(evidence.folder / kind)]
    (cell,) = read_evidence(evidence.folder / "evidence.json").run.cells
    values = [read_samples(evidence.folder, each.model_copy(update={"samples": 1})) for each in cell.checks]
    assert [(each.is_verified, each.values is None) for each in values] == [(True, False)] * 2 + [
        (False, True),
        (True, False),
    ]


def test_which_input_each_raw_sample_had_is_kept_once_for_all_checks_that_name_them(evidence: Evidence) -> None:
    raw = evidence.save_samples(ONNX, np.array([3, 1, 2], np.int64), inputs=np.array([7, 8, 7]))
    for metric in (P99, Metric("latency_p50_ms", "ms", "median")):
        evidence.add_check(ONNX, Check(Finding(metric, 1.5, 1.5, raw=raw, samples=3), None, Verdict.PASS, ""))
    counts = evidence.save_samples(ONNX, np.array([5], np.int64), "against")
    evidence.add_check(ONNX, Check(Finding(PARITY, 1.5, 1.5, raw=counts), None, Verdict.PASS, ""))
    evidence.finish(keep=[ONNX])
    evidence.write()
    (cell,) = read_evidence(evidence.folder / "evidence.json").run.cells
    first, second, third = cell.checks
    assert (first.raw_inputs, first.raw_inputs_sha256) == (second.raw_inputs, second.raw_inputs_sha256)
    assert first.raw_inputs == "samples/net-pi4-onnxruntime.inputs.npy"
    assert third.raw_inputs is None
    found = read_raw_inputs(evidence.folder, first)
    assert (found.is_verified, found.values is not None and found.values.tolist()) == (True, [7, 8, 7])
    assert read_raw_inputs(evidence.folder, third).problem == "The check has no raw samples' inputs."
    wrong = first.model_copy(update={"raw_inputs_sha256": "0" * 64})
    assert "are not those of the evidence" in read_raw_inputs(evidence.folder, wrong).problem


def test_raw_samples_that_this_run_did_not_write_have_no_hash(evidence: Evidence) -> None:
    (evidence.folder / "samples").mkdir()
    (evidence.folder / "samples/mine.npy").touch()
    evidence.add_check(ONNX, Check(Finding(P99, 1.5, 1.5, raw="samples/mine.npy"), None, Verdict.PASS, ""))
    assert sums(evidence) == [None]


def test_a_bundles_manifest_lies_beside_the_evidence_under_its_name(evidence: Evidence) -> None:
    evidence.add_bundle(ONNX, BUNDLE)
    sha256 = written(evidence)["cells"][1]["bundle"]["sha256"]
    manifest = evidence.folder / "bundles" / f"{sha256}.json"
    assert (file_sha256(manifest), manifest.read_text()) == (sha256, BUNDLE.manifest)


# At its end


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        pytest.param([Verdict.PASS, Verdict.MEASURED], "PASS", id="pass"),
        pytest.param([Verdict.MEASURED, Verdict.MEASURED], "MEASURED", id="measured"),
        pytest.param([Verdict.PASS, Verdict.INCONCLUSIVE], "INCONCLUSIVE", id="inconclusive"),
        pytest.param([Verdict.PASS, Verdict.FAIL], "FAIL", id="fail"),
        pytest.param([Verdict.PASS, Verdict.NOT_APPLICABLE], "INCONCLUSIVE", id="a-cell-with-nothing-that-applies"),
    ],
)
def test_at_its_end_the_runs_verdict_is_its_cells_worst(
    evidence: Evidence, verdicts: list[Verdict], verdict: str
) -> None:
    for cell, one in zip((TORCH, ONNX), verdicts, strict=True):
        evidence.add_check(cell, check(one))
    evidence.finish(keep=[TORCH, ONNX])
    evidence.write()
    content = written(evidence)
    assert content["verdict"] == verdict
    assert content["finished"] >= content["started"]


def test_that_a_run_has_ended_is_written_by_the_last_write_only(evidence: Evidence) -> None:
    evidence.add_check(TORCH, check(Verdict.PASS))
    evidence.finish(keep=[TORCH])
    assert evidence.verdict is Verdict.PASS
    before = written(evidence)
    evidence.write()
    after = written(evidence)
    assert (before["verdict"], before["finished"]) == ("INCONCLUSIVE", None)
    assert (after["verdict"], after["finished"] is None) == ("PASS", False)


def test_cells_that_were_not_selected_are_left_out(evidence: Evidence) -> None:
    evidence.add_check(TORCH, check(Verdict.PASS))
    evidence.finish(keep=[TORCH])
    evidence.write()
    content = written(evidence)
    assert [cell["backend"] for cell in content["cells"]] == ["torchscript"]
    assert content["verdict"] == "PASS"


def test_a_run_of_no_cell_is_no_pass(evidence: Evidence) -> None:
    evidence.finish(keep=[])
    evidence.write()
    assert written(evidence)["verdict"] == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("checks", "errors", "said"),
    [
        pytest.param([], [], False, id="nothing"),
        pytest.param([Verdict.NOT_APPLICABLE], [], False, id="nothing-applies"),
        pytest.param([Verdict.NOT_APPLICABLE, Verdict.INCONCLUSIVE], [], True, id="inconclusive"),
        pytest.param([], ["killed"], True, id="error"),
    ],
)
def test_a_cell_came_to_something_or_not(checks: list[Verdict], errors: list[str], said: bool) -> None:
    record = CellRecord(TORCH, checks=[check(verdict) for verdict in checks], errors=errors)
    assert record.has_outcome is said


# What an earlier run left


def test_samples_and_replays_of_an_earlier_run_go(evidence: Evidence, tmp_path: Path) -> None:
    fill(evidence)
    evidence.release()
    again = Evidence(evidence.folder, [ONNX])
    again.begin()
    again.release()
    assert files(evidence.folder) == [".gitignore", "evidence.json"]
    assert not (evidence.folder / "samples").exists()
    assert not (evidence.folder / "replay").exists()
    assert not (evidence.folder / "bundles").exists()
    assert [cell["backend"] for cell in written(evidence)["cells"]] == ["onnxruntime"]


def fill(evidence: Evidence) -> None:
    """What a run leaves: samples, a replay and a manifest, and what names them."""
    evidence.add_bundle(TORCH, BUNDLE)
    raw = evidence.save_samples(TORCH, np.zeros(3, np.int64), inputs=np.arange(3))
    (evidence.folder / "replay" / "net").mkdir(parents=True)
    (evidence.folder / "replay" / "net" / "case.json").touch()
    evidence.add_check(TORCH, Check(Finding(P99, 1.5, 1.5, raw=raw), None, Verdict.PASS, ""))
    evidence.add_check(TORCH, Check(Finding(PARITY, details={"replay": "replay/net"}), None, Verdict.FAIL, ""))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_samples_and_replays_that_no_evidence_names_stay(evidence: Evidence, tmp_path: Path) -> None:
    fill(evidence)
    mine = ["bundles/of-sticks.txt", "replay/of-a-game.mp4", "samples/cat.png", "samples/net-pi4-onnxruntime.npy"]
    for name in mine:
        (evidence.folder / name).write_text("mine")
    evidence.release()
    for _ in range(2):
        again = Evidence(evidence.folder, [ONNX])
        again.begin()
        assert files(evidence.folder) == sorted([".gitignore", ".hilgate.lock", "evidence.json", *mine])
        raw = again.save_samples(ONNX, np.zeros(3, np.int64))
        assert raw == again.save_samples(ONNX, np.zeros(3, np.int64)) == "samples/net-pi4-onnxruntime-2.npy"
        again.add_check(ONNX, Check(Finding(P99, 1.5, 1.5, raw=raw), None, Verdict.PASS, ""))
        assert (evidence.folder / mine[-1]).read_text() == "mine"
        again.release()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("no json", id="no-json"),
        pytest.param("[]", id="no-object"),
        pytest.param('{"schema": 2, "cells": [{"checks": [{"raw": "samples/a.npy"}]}]}', id="another-schema"),
        pytest.param('{"schema": 1, "cells": [{"checks": [{"raw": 1, "replay": "samples/a.npy"}]}]}', id="other-keys"),
        pytest.param('{"schema": 1, "cells": [{"checks": [{"raw": "samples/../a.npy"}]}]}', id="elsewhere"),
        pytest.param('{"schema": 1, "cells": [{"checks": [{"replay": "replay/.."}]}]}', id="the-folder-itself"),
        pytest.param('{"schema": 1, "cells": [{"checks": [{"raw": "samples"}]}]}', id="all-samples"),
        pytest.param('{"schema": 1, "cells": [{"checks": [], "bundle": {"sha256": "a"}}]}', id="a-bundle-of-no-hash"),
        pytest.param('{"schema": 1, "cells": [{"checks": [], "bundle": {"sha256": "../a"}}]}', id="a-bundle-elsewhere"),
        pytest.param('{"schema": 1, "cells": [{"checks": [], "bundle": [3]}]}', id="a-bundle-of-another-type"),
    ],
)
def test_evidence_that_is_not_ours_has_nothing_removed(tmp_path: Path, content: str) -> None:
    for name in ("samples/a.npy", "a.npy", "a.json", "bundles/a.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "evidence.json").write_text(content)
    again = Evidence(tmp_path, [TORCH])
    again.begin()
    again.release()
    assert files(tmp_path) == ["a.json", "a.npy", "bundles/a.json", "evidence.json", "samples/a.npy"]


def test_what_lies_behind_a_link_is_not_removed(evidence: Evidence, tmp_path: Path) -> None:
    fill(evidence)
    evidence.release()
    for name in ("samples", "replay", "bundles"):
        (evidence.folder / name).rename(tmp_path / name)
        (evidence.folder / name).symlink_to(tmp_path / name)
    before = files(tmp_path)
    again = Evidence(evidence.folder, [ONNX])
    again.begin()
    again.release()
    assert files(tmp_path) == before


def test_a_folders_name_that_is_not_utf_8_is_written(evidence: Evidence) -> None:
    evidence.add_error(TORCH, "no such file: /home/gr\udcfcn")
    assert written(evidence)["cells"][0]["error"] == "no such file: /home/gr\udcfcn"
    assert read_evidence(evidence.folder / "evidence.json").run.cells[0].error == "no such file: /home/gr\udcfcn"


def test_the_keys_of_a_metric_stand_in_the_order_in_which_they_are_given(evidence: Evidence) -> None:
    details = {"missed": 3, "processes": [5], "content": "uniform", "inputs": 2}
    evidence.add_check(TORCH, Check(Finding(P99, 3, 4.0, details=details), None, Verdict.PASS, ""))
    entry = written(evidence)["cells"][0]["checks"][0]
    assert list(entry)[-5:] == ["reason", *details]
    assert list(entry)[:3] == ["metric", "value", "unit"]


def test_a_count_stays_a_whole_number(evidence: Evidence) -> None:
    evidence.add_check(TORCH, Check(Finding(P99, 3, 4.0), None, Verdict.PASS, ""))
    text = (evidence.folder / "evidence.json").read_text()
    assert '"value": 3,' in text
    assert '"bound": 4.0,' in text


def test_files_of_others_stay(tmp_path: Path) -> None:
    for name in ("notes.txt", "plots/samples/x.png", "junit.xml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    Evidence(tmp_path, [TORCH]).begin()
    assert (tmp_path / "notes.txt").exists()
    assert (tmp_path / "plots/samples/x.png").exists()
    assert (tmp_path / "junit.xml").exists()


# Two runs at once

HOLDER = """
import sys
from pathlib import Path
from harness.evidence.writer import Evidence
from tests.unit.test_evidence import ONNX
evidence = Evidence(Path(sys.argv[1]), [ONNX])
evidence.begin()
print("begun", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has begun its evidence in the folder ``hil``, and goes on until it is killed."""
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "hil")]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


def test_a_second_run_in_one_folder_is_refused_and_removes_nothing(
    holder: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    samples = tmp_path / "hil/samples/a.npy"
    samples.parent.mkdir()
    samples.touch()
    content = '{"schema": 1, "cells": [{"checks": [{"raw": "samples/a.npy"}]}]}'
    (tmp_path / "hil/evidence.json").write_text(content)
    with pytest.raises(InputError) as caught:
        Evidence(tmp_path / "hil", [TORCH]).begin()
    assert caught.value.found.startswith(f"pid {holder.pid}, on pi4, started 20")
    assert caught.value.where == str(tmp_path / "hil")
    assert caught.value.hint.endswith(" --evidence hil-pi4")
    assert (samples.exists(), (tmp_path / "hil/evidence.json").read_text()) == (True, content)


def test_the_folder_of_a_run_that_was_killed_is_simply_taken(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    lock = tmp_path / "hil/.hilgate.lock"
    assert json.loads(lock.read_text())["pid"] == holder.pid
    lock.write_text(lock.read_text() + " " * 1000)
    evidence = Evidence(tmp_path / "hil", [TORCH, ONNX])
    evidence.begin()
    assert json.loads(lock.read_text()).keys() == {"pid", "started", "devices"}
    assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert lock.stat().st_size < 1000
    evidence.release()


def test_two_runs_in_two_folders_know_nothing_of_each_other(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    before = (tmp_path / "hil/evidence.json").read_bytes()
    evidence = Evidence(tmp_path / "hil-other", [TORCH])
    evidence.begin()
    evidence.add_check(TORCH, check(Verdict.PASS))
    evidence.finish(keep=[TORCH])
    evidence.write()
    evidence.release()
    assert holder.poll() is None
    assert written(evidence)["verdict"] == "PASS"
    assert (tmp_path / "hil/evidence.json").read_bytes() == before


def test_a_holder_that_has_not_said_yet_who_it_is_is_respected_too(evidence: Evidence, tmp_path: Path) -> None:
    (evidence.folder / ".hilgate.lock").write_text("")
    with pytest.raises(InputError, match="just begun"):
        Evidence(evidence.folder, [TORCH]).begin()


@pytest.mark.parametrize("name", [pytest.param("gone", id="a-link-to-nothing"), pytest.param("file", id="a-file")])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "unmounted")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        Evidence(tmp_path / name, [TORCH]).claim()
    assert (caught.value.where, "free some space" in caught.value.hint) == (str(tmp_path / name), False)


def test_a_lock_that_its_holder_has_removed_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Evidence(tmp_path / "hil", [cell]) for cell in (TORCH, ONNX))
    first.begin()
    real = os.open

    def opened_just_before(*arguments: Any) -> int:
        descriptor = real(*arguments)
        first.release()
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opened_just_before)
        second.claim()
    with pytest.raises(InputError):
        first.begin()
    second.release()
    assert files(tmp_path) == ["hil/.gitignore", "hil/evidence.json"]


# Whose it is


def test_the_commit_is_that_of_the_users_repository(tmp_path: Path) -> None:
    def commit() -> str | None:
        return find_commit(tmp_path)

    def git(*words: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert commit() is None
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "x")
    assert commit() == git("rev-parse", "HEAD")
    Evidence(tmp_path / "build" / "hil", []).begin()
    assert commit() == git("rev-parse", "HEAD")
    (tmp_path / "net.py").touch()
    assert commit() == git("rev-parse", "HEAD") + "+changes"
