"""The projects that docs/ writes, as their pages have them: the tutorial's, and the one with a test of its own.

That their files pass mypy --strict is tested against the wheel: tests/integration/test_wheel.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.pages import ROOT, block

from .conftest import Project


@pytest.fixture
def own(tmp_path: Path) -> Project:
    """A project with the model file to copy, the tutorial's, and a test of its own."""
    made = Project(tmp_path)
    made.write("pytest.ini", "[pytest]\n")
    for path in (ROOT / "examples").glob("digits*"):
        shutil.copy(path, made.folder)
    made.write("follower.py", block("docs/tutorial.md", "python"))
    made.write("test_growth.py", block("docs/fixtures.md", "python"))
    made.write("devices/robot.toml", block("docs/tutorial.md", "toml").replace("qemu-pi4", "local"))
    return made


def test_a_test_of_ones_own_is_judged_and_kept_as_evidence(own: Project) -> None:
    words = ["test_growth.py", "-m", "hil", "--device", "local", "--model=digits.py"]
    done = own.run_pytest(*words, "--backend", "onnxruntime")
    assert done.status == 0, done.output
    check = done.check("memory_growth_mib")
    assert (check["verdict"], check["limit"], check["samples"]) == ("PASS", 8.0, 200)
    assert check["value"] == check["bound"] < 8


def test_the_tutorials_model_fails_where_it_says_and_passes_where_it_says(own: Project) -> None:
    chosen = ("-k", "memory_peak or parity", "--time-limit", "30")
    done = own.run("--model=follower.py", "--device", "local", "--backend", "torchscript", *chosen)
    assert done.status == 1, done.output
    assert (done.check("parity")["verdict"], done.check("memory_peak_mib")["verdict"]) == ("PASS", "FAIL")
    assert "memory_peak_mib (torchscript): wanted ≤ 150 MiB (follower.py: limits); found " in done.output
    # Without the emulated board, and with one of the three backends.
    done = own.run("--model=follower.py", "--device", "robot", "--backend", "onnxruntime", *chosen)
    assert done.status == 0, done.output
    assert done.evidence["verdict"] == "PASS"
