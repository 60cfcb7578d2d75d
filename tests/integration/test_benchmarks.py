"""Benchmarks run each in a process of its own: one that fails, hangs or dies is named, and the others still run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.__main__ import Place, main, one_run
from benchmarks.support.registry import Benchmark
from benchmarks.support.result import Outcome, read_result
from benchmarks.support.row import Options
from benchmarks.support.running import ROOT, run_benchmark
from tests.integration.boards import wait_for

GOOD = '''\
"""Twice two."""

import os

from benchmarks.support.row import Aim, Row

IS_QUICK = True


def run(options):
    print("what it prints is no row")
    yield Row("twice two", 4.0, "", aim=Aim(high=5.0), rounds=(3.9, 4.1))
    yield Row("the process", os.getpid(), "")
'''
BROKEN = (
    GOOD.replace("twice two", "half") + '    raise OSError("the disk is on fire\\nwhich is what others said of it")\n'
)

RUN = """
import sys
from pathlib import Path
from benchmarks.__main__ import Place, main

main(["--quick"], Place(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder for benchmarks that their processes find, too; its name is no other test's."""
    package = f"of_{tmp_path.name}"
    (folder := tmp_path / package).mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # A file that is written anew within the second, as long as before, would be taken for the old one.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return Place(folder, package, tmp_path / "build" / "bench")


def run(place: Place, text: str, limit_s: float = 60.0) -> Outcome:
    (place.folder / "one.py").write_text(text, encoding="utf-8")
    benchmark = Benchmark("one", f"{place.package}.one", "", limit_s=limit_s)
    return run_benchmark(benchmark, Options(), place.folder / "log", lambda line: None)


def test_one_that_fails_is_named_and_the_others_still_run(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    (place.folder / "a_broken.py").write_text(BROKEN, encoding="utf-8")
    (place.folder / "b_good.py").write_text(GOOD, encoding="utf-8")
    assert main(["--quick"], place) == 2
    broken, good = read_result(place.build / "result.json").outcomes
    assert (good.name, good.failure, len(good.rows)) == ("b_good", "", 2)
    assert (broken.name, len(broken.rows)) == ("a_broken", 2)
    assert broken.failure == "OSError: the disk is on fire (exit status 1)"
    assert len({os.getpid(), good.rows[1].value, broken.rows[1].value}) == 3
    shown = capsys.readouterr()
    assert "could not be run to its end: a_broken: OSError: the disk is on fire" in shown.out
    assert "[2/2, " in shown.err
    assert "what it prints is no row" in shown.err  # in the end of its output
    assert "Traceback" in (place.build / "a_broken.log").read_text(encoding="utf-8")


def test_all_aims_kept_is_success_and_the_earlier_run_is_shown_beside(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.folder / "good.py").write_text(GOOD, encoding="utf-8")
    result = str(place.build / "result.json")
    assert main(["--quick"], place) == 0
    (place.folder / "good.py").write_text(GOOD.replace("4.0,", "4.5,").replace("(3.9, 4.1)", "(4.4, 4.6)"))
    assert main(["--quick", "--against", result], place) == 0
    assert "worse: good: twice two: 4 → 4.5 (+12.5 %)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        pytest.param("def run(options):\n    yield from ()\n", "it measured nothing", id="no-row"),
        pytest.param("import nothing_of_the_kind\n", "ModuleNotFoundError", id="that-cannot-be-imported"),
        pytest.param(GOOD.replace("4.0,", "float('nan'),"), "ValueError", id="a-figure-that-is-none"),
        pytest.param(GOOD.replace("4.0,", "'4',"), "it sent what is no row: value", id="a-row-that-is-none"),
        pytest.param(GOOD + "    os.kill(os.getpid(), 9)\n", "SIGKILL", id="killed"),
    ],
)
def test_what_is_no_measurement_is_a_failure(text: str, failure: str, place: Place) -> None:
    assert failure in run(place, text).failure


def test_two_runs_at_once_would_measure_each_other(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    (place.folder / "good.py").write_text(GOOD, encoding="utf-8")
    with one_run(place.build):
        assert main(["--quick"], place) == 2
    assert "another run of the benchmarks" in capsys.readouterr().err
    assert main(["--quick"], place) == 0


def test_one_that_hangs_is_ended_with_what_it_has_started(place: Place) -> None:
    text = GOOD + (
        "    import subprocess, time\n"
        "    try:\n"
        "        other = subprocess.Popen(['sleep', '600'])\n"
        "        yield Row('the other', other.pid, '')\n"
        "        time.sleep(600)\n"
        "    finally:\n"
        "        other.kill()\n"
        "        other.wait()\n"
    )
    outcome = run(place, text, limit_s=12.0)
    assert outcome.failure == "it was ended after 12 s"
    assert [row.what for row in outcome.rows] == ["twice two", "the process", "the other"]
    assert not Path("/proc", str(int(outcome.rows[2].value))).exists()


def test_one_that_leaves_a_process_behind_is_not_waited_for(place: Place) -> None:
    ended = place.folder / "ended"
    left = (
        f"        import time\n        time.sleep(30)\n        open({str(ended)!r}, 'w').close()\n        os._exit(0)\n"
    )
    assert not run(place, GOOD + "    if not os.fork():\n" + left).failure
    assert not ended.exists()


def test_one_whose_run_is_killed_ends_too(place: Place) -> None:
    """The run's lock is free then, and the next run would be measured beside it."""
    began = place.folder / "began"
    waits = (
        "    import pathlib, time\n"
        f"    pathlib.Path({str(began)!r}).write_text(str(os.getpid()))\n"
        "    time.sleep(600)\n"
    )
    (place.folder / "one.py").write_text(GOOD + waits, encoding="utf-8")
    command = [sys.executable, "-c", RUN, str(place.folder), place.package, str(place.build)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            pid = wait_for(lambda: int(began.read_text() or 0) or None if began.exists() else None)
        finally:
            run.kill()
    try:
        wait_for(lambda: True if has_ended(pid) else None)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def has_ended(pid: int) -> bool:
    """Tell whether a process has ended, also where nobody has waited for it: then it has no command line."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
