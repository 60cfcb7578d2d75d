"""What a release needs of a run: how the artifact was loaded, and a few right answers, in the engine's own order."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import Input, Model
from harness.backends import load_backend
from harness.bundle import Bundle
from harness.bundle.runtime import Runner, Runtime
from harness.cell import Cell
from harness.checks.check import Check, Verdict
from harness.checks.finding import Finding
from harness.device.device import Device
from harness.evidence.folder import SIGNATURE
from harness.evidence.parts import describe_device, describe_load
from harness.evidence.reading import read_evidence
from harness.evidence.schema import LoadEntry
from harness.evidence.writer import Evidence
from harness.export.binding import Binding, Pair
from harness.model.model_file import ModelFile
from harness.parity import PARITY
from harness.parity.answers import Allowance, Case
from harness.run.answers import keep_answers
from tests.support.facts import board_facts

SETTINGS: dict[str, int | bool] = {"threads": 2, "interop_threads": 1, "flush_denormals": True}
# A file that has the model's second input first, does not read its first one, and has two outputs the other way round.
BINDING = Binding(
    inputs=(Pair("b_0", "b", 1),), outputs=(Pair("out_1", "scores", 1), Pair("out_0", "boxes", 0)), width=2
)


def build() -> Any:
    """What a model file has; never called here."""


@pytest.fixture
def cell() -> Cell:
    """One of a model with two inputs."""
    inputs = [Input("a", shape=(1,)), Input("b", shape=(2,))]
    model = Model(build=build, inputs=inputs, name="net")
    keys: dict[str, Any] = {"description": "a board", "link": "ssh", "host": "h", "backends": ("onnxruntime",)}
    device = Device(name="pi4", path=Path("pi4.toml"), **keys)
    return Cell(ModelFile(Path("net.py"), model, ()), device, load_backend("onnxruntime"))


@pytest.fixture
def evidence(tmp_path: Path, cell: Cell) -> Evidence:
    """Evidence of the cell, begun; its artifact was loaded."""
    begun = Evidence(tmp_path / "hil", [cell])
    begun.begin()
    begun[cell].load = LoadEntry(artifact="artifact/model.onnx", inputs=["b_0"], outputs=["out_0", "out_1"])
    return begun


def judge(evidence: Evidence, cell: Cell, verdict: Verdict) -> None:
    evidence.add_check(cell, Check(Finding(PARITY, 1.0, 1.0), None, verdict, ""))


def made(value: float = 1.0) -> Case:
    allowed = {"scores": Allowance("float32", 1e-5, 0.0), "boxes": Allowance("int64", 0.0, 0.0)}
    return Case(
        inputs={"a": np.array([value], np.float32), "b": np.array([[value, 2]], np.float32).T},
        answers={"scores": np.array([value]), "boxes": np.array([3])},
        allowed=allowed,
        rank=0,
    )


def stored(evidence: Evidence) -> dict[str, Any] | None:
    content: dict[str, Any] = json.loads((evidence.folder / "evidence.json").read_text())
    answers: dict[str, Any] | None = content["cells"][0]["answers"]
    return answers


def test_answers_are_kept_in_the_order_of_the_engine(evidence: Evidence, cell: Cell) -> None:
    judge(evidence, cell, Verdict.PASS)
    keep_answers(evidence, cell, [made(), made(5)], BINDING)
    entry = stored(evidence)
    assert entry is not None
    assert entry["path"] == "answers/net-pi4-onnxruntime.npz"
    assert hashlib.sha256((evidence.folder / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    whole, float32 = {"dtype": "int64", "atol": 0.0, "rtol": 0.0}, {"dtype": "float32", "atol": 1e-5, "rtol": 0.0}
    assert entry["allowed"] == [[whole, float32]] * 2
    with np.load(evidence.folder / entry["path"]) as file:
        arrays = dict(file)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "0.in.0": [[1], [2]],
        "0.out.0": [3],
        "0.out.1": [1],
        "1.in.0": [[5], [2]],
        "1.out.0": [3],
        "1.out.1": [5],
    }
    assert all(array.flags.c_contiguous for array in arrays.values())
    assert read_evidence(evidence.folder / "evidence.json").run.cells[0].answers is not None


def test_equal_answers_make_equal_bytes(evidence: Evidence, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    judge(evidence, cell, Verdict.PASS)
    entries = []
    for now in (1e9, 1.7e9):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        keep_answers(evidence, cell, [made()], BINDING)
        entries.append(stored(evidence))
    assert entries[0] == entries[1] is not None


@pytest.mark.parametrize(
    ("verdicts", "cases", "kept"),
    [
        pytest.param([Verdict.PASS], [made()], True, id="passed"),
        pytest.param([Verdict.FAIL], [made()], False, id="failed"),
        pytest.param([Verdict.INCONCLUSIVE], [made()], False, id="open"),
        pytest.param([Verdict.PASS, Verdict.FAIL], [made()], False, id="failed elsewhere"),
        pytest.param([], [made()], False, id="not judged"),
        pytest.param([Verdict.PASS], [], False, id="none fits"),
    ],
)
def test_answers_are_kept_of_a_parity_that_passed(
    evidence: Evidence, cell: Cell, verdicts: list[Verdict], cases: list[Case], kept: bool
) -> None:
    for verdict in verdicts:
        judge(evidence, cell, verdict)
    keep_answers(evidence, cell, cases, BINDING)
    assert (stored(evidence) is not None) is kept
    assert (evidence.folder / "answers").exists() is kept


def test_answers_that_turn_out_to_be_wrong_are_removed(evidence: Evidence, cell: Cell) -> None:
    judge(evidence, cell, Verdict.PASS)
    keep_answers(evidence, cell, [made()], BINDING)
    judge(evidence, cell, Verdict.FAIL)
    keep_answers(evidence, cell, [made()], BINDING)
    assert (stored(evidence), [*(evidence.folder / "answers").iterdir()]) == (None, [])


def test_of_a_file_with_outputs_that_the_model_lacks_nothing_is_kept(evidence: Evidence, cell: Cell) -> None:
    judge(evidence, cell, Verdict.PASS)
    evidence[cell].load = LoadEntry(artifact="artifact/a", inputs=["b_0"], outputs=["out_0", "out_1", "more"])
    keep_answers(evidence, cell, [made()], BINDING)
    assert stored(evidence) is None


# What an earlier run left


def test_answers_of_an_earlier_run_go_and_those_of_others_stay(evidence: Evidence, cell: Cell) -> None:
    judge(evidence, cell, Verdict.PASS)
    keep_answers(evidence, cell, [made()], BINDING)
    (evidence.folder / "answers/mine.npz").touch()
    evidence.release()
    again = Evidence(evidence.folder, [cell])
    again.begin()
    assert [path.name for path in (evidence.folder / "answers").iterdir()] == ["mine.npz"]
    again.release()


@pytest.mark.parametrize("path", ["answers/../mine", "mine", "/etc/passwd", 3, None])
def test_a_path_of_answers_that_leads_elsewhere_is_not_followed(tmp_path: Path, cell: Cell, path: Any) -> None:
    (tmp_path / "answers").mkdir()
    (tmp_path / "mine").touch()
    content = {"schema": 1, "cells": [{"checks": [], "answers": {"path": path}}]}
    (tmp_path / "evidence.json").write_text(json.dumps(content))
    again = Evidence(tmp_path, [cell])
    again.begin()
    again.release()
    assert (tmp_path / "mine").exists()


def test_a_signature_of_an_earlier_run_goes_even_without_its_evidence(tmp_path: Path, cell: Cell) -> None:
    (tmp_path / SIGNATURE).write_text("{}")
    begun = Evidence(tmp_path, [cell])
    begun.begin()
    begun.release()
    assert not (tmp_path / SIGNATURE).exists()


# How it was loaded


@pytest.mark.parametrize(
    ("runner", "library"),
    [
        pytest.param(None, None, id="python"),
        pytest.param(Runner("runtime/r", "runtime/e", "runtime/lib/x.so"), "runtime/lib/x.so", id="shipped"),
        pytest.param(Runner("runtime/r", "runtime/e", "/opt/lib/x.so"), "/opt/lib/x.so", id="installed"),
    ],
)
def test_what_was_loaded_is_described_as_the_engine_was_told(runner: Runner | None, library: str | None) -> None:
    runtime = Runtime(described={}, packages={}, runner=runner, operators=("runtime/ops.so",))
    bundle = Bundle(backend="x", agent={}, artifact={}, runtime=runtime, entry="artifact/model.pt")
    load = describe_load(bundle, inputs=["b_0"], outputs=["out_0"], settings=SETTINGS, options={"optimize": "all"})
    assert load.as_json() == {
        "artifact": "artifact/model.pt",
        "inputs": ["b_0"],
        "outputs": ["out_0"],
        "operators": ["runtime/ops.so"],
        "options": {"optimize": "all"},
        **SETTINGS,
        "library": library,
    }


def test_the_fingerprint_has_the_c_library_and_the_python_of_the_board() -> None:
    described = describe_device(board_facts(), link={}, settings=SETTINGS, packages={})
    assert (described.libc, described.executable) == ("glibc-2.36", "/usr/bin/python3")
