"""Instructions per inference, counted by a second board beside the run's own: what gates, and what disturbs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.judged_again import check_hashes

from .boards import wait_for
from .conftest import Outcome, Project
from .emulated import NAME, hosted_by
from .test_emulated_run import DIGITS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("users_cache")]

RUN_S = 300.0
# Of a hundred layers one more costs 0.93 %, three more 2.80 %, each inference with an input of its own; on separately
# prepared boards that was up to 0.3 % off.
LAYERS = """
    import torch
    from harness import Input, Model

    def build():
        torch.manual_seed(0)
        parts = [part for _ in range({layers}) for part in (torch.nn.Linear(64, 64), torch.nn.ReLU())]
        return torch.nn.Sequential(*parts).eval()

    model = Model(
        build=build, name="layers", inputs=[Input("x", shape=({rows}, 64), min_value=-1.0, max_value=1.0)],
        limits={limits},
    )
"""
ONLY = ("--device", NAME, "--backend", "onnxruntime", "-k", "instructions", "--model", "layers.py")


@pytest.fixture
def layers(project: Project) -> Project:
    """A project with the model of a hundred layers, whose baseline is written."""
    write(project)
    done = count(project, "--write-baseline")
    assert done.status == 0, done.output
    assert f"baselines/{NAME}.json (1 counted now); commit it" in done.output
    return project


def write(project: Project, layers: int = 100, rows: int = 1, limits: dict[str, float] | None = None) -> None:
    project.write("layers.py", LAYERS.format(layers=layers, rows=rows, limits=limits or {}))


def count(project: Project, *arguments: str) -> Outcome:
    return project.run_command(project.command(*ONLY, *arguments), timeout=RUN_S)


def counted(done: Outcome, cell: int = 0) -> dict[str, Any]:
    return done.check("instructions_per_inference", cell)


@contextmanager
def busy_host() -> Iterator[None]:
    """Both of its cores have something else to do."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def test_a_model_that_costs_3_percent_more_fails_and_one_of_1_percent_does_not(layers: Project) -> None:
    write(layers, layers=101)
    done = count(layers)
    assert (done.status, counted(done)["verdict"]) == (0, "PASS"), done.output
    assert 0.6 < counted(done)["baseline"]["over_percent"] < 1.3
    write(layers, layers=103)
    done = count(layers)
    assert (done.status, counted(done)["verdict"]) == (1, "FAIL"), done.output
    assert 2.4 < counted(done)["baseline"]["over_percent"] < 3.2
    write(layers, layers=103, limits={"instructions_over_baseline_percent": 5})
    done = count(layers)
    assert (done.status, counted(done)["verdict"]) == (0, "PASS"), done.output


def test_a_baseline_of_another_model_or_another_version_is_refused(layers: Project) -> None:
    write(layers, rows=2)
    done = count(layers)
    assert (done.status, counted(done)["verdict"]) == (1, "INCONCLUSIVE"), done.output
    assert 'inputs: x ["float32", [1, 64]] → ["float32", [2, 64]]' in counted(done)["reason"]
    path = layers.folder / "baselines" / f"{NAME}.json"
    content = json.loads(path.read_text())
    content["cells"][0]["runtime"]["onnxruntime"] = "1.31.0"
    path.write_text(json.dumps(content))
    write(layers)
    done = count(layers)
    assert (done.status, counted(done)["verdict"]) == (1, "INCONCLUSIVE"), done.output
    assert "versions: onnxruntime 1.31.0 → 1.32.0" in counted(done)["reason"]


def test_a_count_is_the_same_beside_a_busy_host(layers: Project) -> None:
    with busy_host():
        done = count(layers)
    assert done.status == 0, done.output
    assert abs(counted(done)["baseline"]["over_percent"]) <= 0.1


def test_all_backends_are_counted_and_their_operators_named(project: Project) -> None:
    done = project.run_command(
        project.command("--device", NAME, "--model", DIGITS, "-k", "instructions", "--profile"), timeout=RUN_S
    )
    assert done.status == 0, done.output
    torch, libtorch, onnx, native = (counted(done, cell) for cell in range(4))
    convolution = "aten::_slow_conv2d_forward"
    for check, most in ((torch, convolution), (libtorch, convolution), (onnx, "FusedConv"), (native, "FusedConv")):
        assert check["samples"] == 300
        assert check["operators"][0]["operator"] == most
        assert sum(one["share"] for one in check["operators"]) == pytest.approx(1.0)
    check_hashes(project.folder)
    assert onnx["operators"][0]["module"] == native["operators"][0]["module"] == "2"  # the second convolution
    assert 1e5 < native["value"] < onnx["value"] < libtorch["value"] < torch["value"] < 1e7


def test_of_a_run_that_is_killed_no_counting_board_is_left(project: Project) -> None:
    with project.start("--device", NAME, "--model", DIGITS) as process:
        try:
            boards = [hosted_by(process.pid, counting=counting) for counting in (False, True)]
        finally:
            os.kill(process.pid, signal.SIGKILL)
    for board in boards:
        board.wait_gone()


def test_a_run_goes_on_without_the_board_that_counts(project: Project) -> None:
    """Which says nothing against the model, and is no PASS."""
    with project.start("--device", NAME, "--model", DIGITS, "-k", "instructions or memory") as process:
        try:
            board = hosted_by(process.pid, counting=True)
            evidence = project.folder / "build/hil/evidence.json"
            wait_for(lambda: True if evidence.exists() and '"metric"' in evidence.read_text() else None)
            os.kill(board.qemu, signal.SIGKILL)
            done = project.finish(process, RUN_S)
        finally:
            process.kill()
    assert done.status == 1, done.output
    assert done.evidence["cells"][1]["verdict"] == "INCONCLUSIVE"  # the first one's count may have been done by then
    assert "the board that counts is not there" in counted(done, 1)["reason"]
    assert done.check("memory_peak_mib", 1)["verdict"] == "MEASURED"


@pytest.mark.parametrize("option", ["--write-baseline", "--profile"])
def test_what_needs_a_board_that_counts_is_refused_without_one(project: Project, option: str) -> None:
    done = project.run_command(project.command(option))
    assert done.status == 4
    assert f"{option} is of counted instructions, and none of the devices counts them" in done.output


def test_a_damaged_baseline_is_said_before_anything_is_started(project: Project) -> None:
    path = project.write(f"baselines/{NAME}.json", "<<<<<<< ours")
    done = project.run_command(project.command("--device", NAME))
    assert done.status == 4
    assert "a baseline cannot be read" in done.output
    assert str(Path(path)) in done.output
