"""How `make test` shares the tests: whole files, and those that are too much for two at once stay with one worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = """
import os, time
import pytest

@pytest.mark.parametrize("number", range(3))
def test_it(number, request, worker_id):
    time.sleep(0.1)
    with open("log", "a") as log: log.write(f"{request.path.stem} {worker_id}\\n")

def test_what_it_starts_does_not_take_itself_for_a_worker():
    assert not [name for name in os.environ if name.startswith("PYTEST_XDIST_")]

def test_that_is_skipped():
    pytest.skip("for want of a board")
"""
HEAVY = ["test_emulated_run", "test_emulated_two", "test_large_model"]
LIGHT = ["test_a", "test_b", "test_wheel", "test_z"]


def test_files_stay_whole_and_heavy_ones_share_a_worker_that_begins_with_them(tmp_path: Path) -> None:
    for name in (*HEAVY, *LIGHT):
        (tmp_path / f"{name}.py").write_text(TESTS, encoding="ascii")
    plugins = ["-p", "xdist", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", *plugins],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    workers = {file: {worker for name, worker in ran if name == file} for file in (*HEAVY, *LIGHT)}
    assert [len(found) for found in workers.values()] == [1] * 7
    (of_heavy,) = set.union(*(workers[name] for name in HEAVY))
    assert [name for name, worker in ran if worker == of_heavy][:9] == [name for name in HEAVY for _ in range(3)]
    assert workers["test_a"] != {of_heavy}
    assert next(name for name, worker in ran if worker != of_heavy) == "test_wheel"  # minutes, though it is one test
    assert "7 tests were skipped: for want of a board" in done.stdout
