"""Temporary folders are ours, and none outlives its run for long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.host.work import work_folder

HOLDER = """
import time
from harness.host.work import work_folder
with work_folder() as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))


def test_it_is_gone_after_its_use() -> None:
    with work_folder() as folder:
        (folder / "file").write_text("x")
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_that_of_a_run_that_was_killed_goes_with_the_next_and_one_in_use_stays() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        with work_folder():
            assert (left / "file").exists()
        process.kill()
    with work_folder() as folder:
        assert not left.exists()
        assert folder.exists()
