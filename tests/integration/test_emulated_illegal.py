"""Wheels that a board's CPU cannot run, and those that it can: real ones of PyTorch, looked at, and run."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.bundle.target import Platform
from harness.bundle.wheels import fetch_wheels
from harness.isa.wheel_scans import IsaReport, scan_wheels
from tests.support.facts import board_facts

from .conftest import Outcome, Project
from .test_emulated_run import DIGITS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("users_cache")]

BOOKWORM = Platform("3.11.2", "aarch64", "glibc-2.36")
PI4 = board_facts(cpu="cortex-a72", features="fp asimd evtstrm crc32 cpuid".split())  # noqa: SIM905
# _mi_options_init of mimalloc, pytorch #174344: what is foreseen is what it dies of.
INSTRUCTION, PLACE = "ldaddal x22, x22, [x0]", "torch/lib/libc10.so+0x4d0fec"
BOARD = """
    extends = "{base}"

    [device]
    description = "{base} with torch {torch}"
    backends = ["torchscript"]

    [runtime]
    packages = ["torch=={torch}", "numpy==2.4.6"]
"""
# Each of these boards is prepared for one run: three minutes alone, ten beside tests that take both processors.
RUN_S = 1800.0


def foreseen(*packages: str) -> IsaReport:
    wheels = fetch_wheels(packages, [], BOOKWORM, where="test")
    found = [(wheel.path, wheel.sha256) for wheel in wheels]
    return scan_wheels(found, PI4, {wheel.name: wheel.version for wheel in wheels})


@pytest.mark.parametrize("package", ["torch==2.9.1", "torch==2.8.0", "onnxruntime==1.32.0"])
def test_what_runs_on_a_cortex_a72_raises_no_alarm(package: str) -> None:
    found = foreseen(package)
    assert found.warnings == ()
    assert found.described["libraries"] > 2
    assert "not_looked_at" not in found.described


def test_what_a_cortex_a72_dies_of_is_foreseen() -> None:
    (warning,) = foreseen("torch==2.10.0").warnings
    assert warning.startswith(f"illegal instruction likely: {INSTRUCTION} at {PLACE} needs LSE")


def run(project: Project, base: str, torch: str) -> Outcome:
    project.write("devices/board.toml", BOARD.format(base=base, torch=torch))
    arguments = ["--device", "board", "--model", DIGITS, "-k", "parity"]
    return project.run_command(project.command(*arguments), timeout=RUN_S)


def test_torch_2_10_dies_on_a_pi_4_and_it_is_said_of_what(project: Project, users_cache: Path) -> None:
    done = run(project, "qemu-pi4", "2.10.0")
    (cell,) = done.evidence["cells"]
    assert (done.status, cell["verdict"]) == (1, "FAIL"), done.output
    named = (
        f"illegal instruction {INSTRUCTION} at {PLACE}: it needs LSE (ARMv8.1's atomics), which this cortex-a72 lacks"
    )
    assert named in cell["error"]
    assert "torch 2.9.1" in cell["error"]
    assert any(note.startswith(f"illegal instruction likely: {INSTRUCTION} at {PLACE}") for note in cell["notes"])
    assert done.output.index("illegal instruction likely") < done.output.index("the agent died")


def test_what_the_cpu_can_run_runs_and_raises_no_alarm(project: Project) -> None:
    """That torch 2.9.1 does on a Pi 4 is shown by each run of devices/qemu-pi4.toml: see test_emulated_run."""
    done = run(project, "qemu-pi5", "2.10.0")
    (cell,) = done.evidence["cells"]
    assert (done.status, cell["verdict"]) == (0, "PASS"), done.output
    assert cell["fingerprint"]["runtime"]["torch"].startswith("2.10.0")
    assert "illegal instruction" not in done.output
    assert cell["instructions"]["at_load"] == []
