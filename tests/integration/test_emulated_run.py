"""`pytest -m hil` on an emulated board: what is said of it, what it has no memory for, and what a run leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from harness.board import Board
from harness.emulator.faults import inject_from_outside
from harness.links import ChannelClosed
from harness.measure import known_metrics
from tests.support.judged_again import check_hashes

from .boards import wait_for
from .conftest import Outcome, Project
from .emulated import NAME, Hosted, hosted_by, opened
from .gated import Gated

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("users_cache")]

DIGITS = str(Path(__file__).parents[2] / "examples" / "digits.py")
ON_THE_CLOCK = {metric.name for metric in known_metrics().values() if metric.wall_clock}
RUN_S = 900.0
# Three numbers of each of 150 million, and their product: 2.4 GB of 2.
HUNGRY = """
    import torch
    from harness import Input, Model

    class Net(torch.nn.Module):
        def forward(self, x):
            one = x.reshape(-1)[:1].expand(150_000_000)
            a, b, c = one + 1, one * 2, one - 3
            return (a * b * c).sum().reshape(1) * 1e-9

    model = Model(build=lambda: Net().eval(), inputs=[Input("x", shape=(4,), min_value=-1.0, max_value=1.0)])
"""
OPEN = f"""
import time
from harness.board import open_board
from harness.device import load_device
from harness.measure import known_metrics
from harness.host.shipped import DEVICES

board = open_board(load_device("{NAME}", [DEVICES], known_metrics().values()))
print("open", flush=True)
time.sleep(600)
"""


def run(project: Project, *arguments: str, meanwhile: Callable[[Hosted], None] = lambda board: None) -> Outcome:
    """A run that leaves nothing of its board."""
    with project.start(*arguments) as process:
        try:
            board = hosted_by(process.pid)
            meanwhile(board)
            done = project.finish(process, RUN_S)
        finally:
            process.kill()
    board.wait_gone()
    return done


@pytest.fixture(scope="module")
def gated_run(users_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Gated, Outcome]:
    """A run of all that a test asks for, in all backends, with operators' shares; of a project under git."""
    project = Project(tmp_path_factory.mktemp("whole"))
    project.write("pytest.ini", "[pytest]\nhil_model = digits.py\n")
    project.write(f"devices/{NAME}.toml", f'extends = "{NAME}"\n[limits]\nmemory_peak_mib = 1500\n')
    for path in Path(DIGITS).parent.glob("digits*"):
        shutil.copy(path, project.folder)
    gated = Gated(project, "digits")
    gated.commit()
    return gated, run(project, "--device", NAME, "--profile")


@pytest.fixture(scope="module")
def whole(gated_run: tuple[Gated, Outcome]) -> Outcome:
    """What it came to."""
    return gated_run[1]


def test_a_run_judges_answers_and_memory_and_never_the_clock(whole: Outcome) -> None:
    """Although the model has limits for its latency."""
    assert whole.status == 0, whole.output
    cells = whole.evidence["cells"]
    backends = ["torchscript", "libtorch", "onnxruntime", "onnxruntime-cpp"]
    assert [(cell["backend"], cell["emulated"]) for cell in cells] == [(name, True) for name in backends]
    for cell in cells:
        checks = {check["metric"]: (check["verdict"], check["value"]) for check in cell["checks"]}
        assert {metric: checks.pop(metric) for metric in ON_THE_CLOCK} == dict.fromkeys(
            ON_THE_CLOCK, ("NOT_APPLICABLE", None)
        )
        assert {metric: verdict for metric, (verdict, _) in checks.items()} == {
            "parity": "PASS",
            "accuracy": "NOT_APPLICABLE",  # although it has a value: a limit is not judged on a part of the samples
            "memory_peak_mib": "PASS",
            "memory_growth_kib_per_1000": "NOT_APPLICABLE",  # nobody asked: an emulated board would need minutes
            "artifact_mib": "MEASURED",
            "instructions_per_inference": "MEASURED",
            "cost_per_hour_usd": "NOT_APPLICABLE",
            "cost_per_million_usd": "NOT_APPLICABLE",
        }
        assert (cell["verdict"], cell["error"]) == ("PASS", None)
        assert cell["instructions"]["at_load"] == []  # no false alarm
    runtimes = [cell["fingerprint"]["runtime"] for cell in cells]
    assert {runtime["torch"].partition("+")[0] for runtime in runtimes if "torch" in runtime} == {"2.9.1"}
    assert "illegal instruction" not in whole.output


def test_all_backends_are_counted_and_their_operators_named(whole: Outcome) -> None:
    assert whole.status == 0, whole.output
    torch, libtorch, onnx, native = (whole.check("instructions_per_inference", cell) for cell in range(4))
    convolution = "aten::_slow_conv2d_forward"
    for check, most in ((torch, convolution), (libtorch, convolution), (onnx, "FusedConv"), (native, "FusedConv")):
        assert check["samples"] == 300
        assert check["operators"][0]["operator"] == most
        assert sum(one["share"] for one in check["operators"]) == pytest.approx(1.0)
        assert (whole.folder / "build/hil" / check["raw"]).exists()
    check_hashes(whole.folder)
    assert onnx["operators"][0]["module"] == native["operators"][0]["module"] == "2"  # the second convolution
    assert 1e5 < native["value"] < onnx["value"] < libtorch["value"] < torch["value"] < 1e7


def test_what_an_emulated_board_has_shown_is_released_where_the_policy_takes_that(
    gated_run: tuple[Gated, Outcome],
) -> None:
    """And checks itself there, in Python and in C++, whose time nobody judges."""
    gated, done = gated_run
    assert done.status == 0, done.output
    needs = ("parity", "memory_peak_mib")
    reasons = gated.refused(gated.policy(NAME, backend="onnxruntime", require=needs))
    assert f"{NAME} was emulated, and a real device is asked for" in reasons
    policies = [
        gated.policy(
            NAME, backend=backend, require=needs, more="emulated = true", target="latency_p50_ratio_max = 1.25"
        )
        for backend in ("onnxruntime", "onnxruntime-cpp")
    ]
    reasons = gated.refused(gated.policy(NAME, require=("latency_p99_ms",), more="emulated = true"))
    assert "latency_p99_ms is required to PASS, and is NOT_APPLICABLE" in reasons
    releases = [gated.release(policy) for policy in policies]
    with opened() as board:
        for release in releases:
            lines = check_on(board, release)
            assert lines[-1] == "check: PASS", lines
            assert any(line.endswith("there is no p50 to judge it by") for line in lines)
            assert any("cortex-a72" in line for line in lines)


def check_on(board: Board, release: Path) -> list[str]:
    """Copy a release to an emulated board, and run its own check there in an environment that has nothing."""
    packed = subprocess.run(
        ["tar", "-cf", "-", "-C", release.parent, release.name], stdout=subprocess.PIPE, check=True
    ).stdout
    folder = f"releases/{release.parent.name}"
    process = board.link.start(f"umask 077; mkdir -p {folder} && exec tar -xf - -C {folder}")
    process.send(packed, time.monotonic() + RUN_S)
    assert process.finish(RUN_S) == 0, process.stderr_tail()
    process = board.link.start(f"cd / && exec env -i ~/{folder}/{release.name}/run --check 2>&1")
    said = bytearray()
    with suppress(ChannelClosed):
        while True:
            said += process.receive(1, time.monotonic() + RUN_S)
    process.finish(RUN_S)
    return said.decode().splitlines()


def test_a_model_that_does_not_fit_is_killed_and_the_next_one_runs(project: Project) -> None:
    project.write("hungry.py", HUNGRY)
    narrow = ("--device", NAME, "--backend", "onnxruntime", "-k", "parity")
    done = run(project, *narrow, "--model", "hungry.py", "--model", "tiny.py")
    assert done.status == 1, done.output
    hungry, tiny = done.evidence["cells"]
    assert (hungry["verdict"], tiny["verdict"], tiny["error"]) == ("FAIL", "PASS", None)
    assert "killed by the kernel at 1" in hungry["error"]
    assert "MiB of 1985 MiB: memory ran out" in hungry["error"]


def test_a_run_whose_board_loses_its_power_ends_and_does_not_pass(project: Project) -> None:
    evidence = project.folder / "build/hil/evidence.json"

    def cut_power(board: Hosted) -> None:
        wait_for(lambda: True if evidence.exists() and '"metric"' in evidence.read_text() else None)
        inject_from_outside(board.folder, "power-cut")

    done = run(project, "--device", NAME, "--model", DIGITS, meanwhile=cut_power)
    assert done.status == 1, done.output
    assert done.evidence["verdict"] in ("FAIL", "INCONCLUSIVE")
    assert {cell["verdict"] for cell in done.evidence["cells"]} <= {"FAIL", "INCONCLUSIVE"}
    assert "QEMU ended with exit status 0" in done.output


@pytest.mark.parametrize("when", ["while-it-starts", "when-it-runs"])
def test_of_a_run_that_is_killed_neither_qemu_nor_its_folder_is_left(when: str) -> None:
    with subprocess.Popen([sys.executable, "-c", OPEN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            board = hosted_by(process.pid)
            if when == "when-it-runs":
                assert process.stdout.readline() == "open\n"
        finally:
            os.kill(process.pid, signal.SIGKILL)
    board.wait_gone()
