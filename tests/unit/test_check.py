"""The release's own check in Python: what passes, what never does, and that nothing ends it but a verdict."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.agent import facts
from harness.agent.check_file import read_plan
from harness.agent.check_json import CheckFailed
from harness.agent.check_steps import Check, used_share
from tests.support import doubling_backend
from tests.support.releases import WRONG, WRONG_FILES, Changed, Release, make_release, put

X = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
LIMIT_S = 60


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """One that passes: two cases of a model that doubles four numbers."""
    (tmp_path / "model.bin").write_bytes(b"a model")
    cases = [({"x": array}, {"y": array * np.float32(2)}) for array in (X, -X)]
    return make_release(tmp_path, "model.bin", cases, backend=Path(doubling_backend.__file__))


def lines_in_here(release: Release, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of a check in this process; it raises CheckFailed."""
    monkeypatch.setitem(sys.modules, "harness.agent.backend", doubling_backend)
    lines: list[str] = []
    Check(str(release.folder), read_plan(str(release.folder)), lines.append).run()
    return lines


def check(release: Release, *, setup: str = "", **options: Any) -> tuple[int, list[str], str]:
    """Exit status, lines and stderr of a check in processes of its own."""
    program = f"import sys; from agent import check; {setup}; sys.exit(check.main([sys.argv[1]]))"
    command = [sys.executable, "-B", "-c", program] if setup else [sys.executable, "-B", "-m", "agent.check"]
    done = subprocess.run(
        [*command, str(release.folder)],
        cwd=release.folder,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        timeout=LIMIT_S,
        check=False,
        **options,
    )
    return done.returncode, (done.stdout or "").splitlines(), done.stderr


def doing(release: Release, what: str, **load: Any) -> Release:
    """The same with a model that does something else."""
    release.said["load"].update(options={"does": what}, **load)
    release.write()
    return release


def test_what_answers_as_the_reference_does_passes(release: Release) -> None:
    status, lines, said = check(release)
    assert (status, lines[-1], said) == (0, "check: PASS", "")
    assert [line.split(":")[1] for line in lines] == [
        " board",
        " same as tested",
        " loaded",
        " answers",
        " time",
        " PASS",
    ]
    assert "2 cases, each twice; 20 values" in lines[3]
    assert re.search(r"p50 [\d.e-]+ ms, max [\d.e-]+ ms, of 20 inferences; there is no p50", lines[4])


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_folder_never_passes(
    release: Release, monkeypatch: pytest.MonkeyPatch, change: Changed, words: str
) -> None:
    change(release.folder, release.said)
    release.write()
    with pytest.raises(CheckFailed, match=re.escape(words)):
        lines_in_here(release, monkeypatch)


@pytest.mark.parametrize(("change", "words"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_wrong_file_never_passes(release: Release, change: Changed, words: str) -> None:
    change(release.folder, release.said)
    with pytest.raises(CheckFailed, match=re.escape(words)):
        read_plan(str(release.folder))


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("nan", "case 0, answer y: value 3 is nan; wanted 8, off by at most 1e-06 (1 of 4 are wrong)"),
        ("infinity", "value 3 is inf; wanted 8"),
        ("drift", "case 1, answer y: value 0 is -1; wanted -2"),
        ("wide", "of type float64; wanted float32"),
        ("column", "of shape [4, 1]; wanted [4]"),
        ("twice", "2 answers; wanted 1"),
        ("other_settings", "not set as it was when it was tested: threads 7 instead of 1"),
    ],
)
def test_a_wrong_answer_never_passes(release: Release, monkeypatch: pytest.MonkeyPatch, does: str, words: str) -> None:
    with pytest.raises(CheckFailed, match=re.escape(words)):
        lines_in_here(doing(release, does), monkeypatch)


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("refuse", "RuntimeError: no such operator: "),
        ("leave", "SystemExit: 0"),
        ("exit", "the process that ran the model ended by itself, with status 0, before it was done"),
        ("crash", "the process that ran the model was killed by SIGSEGV"),
    ],
)
def test_a_model_that_ends_its_process_fails(release: Release, does: str, words: str) -> None:
    status, lines, _ = check(doing(release, does))
    assert status == 1
    assert lines[-1].startswith(f"check: FAIL: {words}")
    assert not [char for char in "".join(lines) if ord(char) < 32]


def test_a_model_that_prints_a_verdict_prints_to_stderr(release: Release) -> None:
    release.said["cases"][1]["answers"][0]["atol"] = 0
    release.said["same"]["arch"] = os.uname().machine
    status, lines, said = check(doing(release, "write"))
    assert (status, lines.count("check: PASS"), lines[-1]) == (0, 1, "check: PASS")
    assert "check: PASS" in said


@pytest.mark.parametrize("does", ["hang", "close"])
def test_a_model_that_hangs_fails_and_is_ended(release: Release, does: str) -> None:
    release.said["most_s"] = 0.5
    start = time.monotonic()
    status, lines, said = check(doing(release, does), setup="check.GRACE_S = 1")
    assert (status, lines[-1]) == (1, "check: FAIL: it did not end within 1.5 s")
    assert time.monotonic() - start < 30
    for pid in re.findall(r"pid (\d+)", said):
        assert not Path(f"/proc/{pid}").exists()


def test_a_signal_ends_it_with_a_verdict_and_ends_the_model(release: Release) -> None:
    doing(release, "hang")
    command = [sys.executable, "-B", "-m", "agent.check", str(release.folder)]
    started = subprocess.Popen(command, cwd=release.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    pid = started.stderr.readline().split()[1]
    started.send_signal(signal.SIGTERM)
    printed, _ = started.communicate(timeout=LIMIT_S)
    assert (started.returncode, printed.splitlines()[-1]) == (1, "check: FAIL: ended by SIGTERM")
    assert not Path(f"/proc/{pid}").exists()


def test_a_slow_model_fails_where_there_is_a_limit_and_is_told_where_not(release: Release) -> None:
    doing(release, "slow", threads=2)
    release.said.update(inferences=3, p50_ms=20.0, p50_ratio_max=1.25)
    release.write()
    status, lines, _ = check(release)
    assert status == 1
    assert re.fullmatch(r"check: FAIL: too slow: p50 [\d.]+ ms; at most 25 ms", lines[-1])
    release.said["p50_ratio_max"] = None
    release.write()
    status, lines, _ = check(release)
    assert (status, lines[-1]) == (0, "check: PASS")
    assert "tested: 20 ms, not judged" in lines[-2]


def test_at_least_one_inference_is_timed_and_no_more_than_there_is_time_for(release: Release) -> None:
    doing(release, "slow")
    release.said.update(most_s=0.01, inferences=1000)
    release.write()
    status, lines, _ = check(release)
    assert (status, lines[-1]) == (0, "check: PASS")
    assert "of 1 inferences" in lines[-2]


def test_packages_and_python_are_compared_where_they_are_installed(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    major, minor, patch = sys.version_info[:3]
    release.said["wanted"] = {"packages": {"numpy": np.__version__}, "python": f"{major}.{minor}.{patch}"}
    release.write()
    named = f"packages: numpy {np.__version__}, in the environment of {sys.executable}"
    assert named in lines_in_here(release, monkeypatch)
    release.said["wanted"] = {"packages": {"numpy": "0.1", "no-such": "2"}, "python": f"{major}.{minor}.{patch + 1}"}
    release.write()
    with pytest.raises(CheckFailed) as caught:
        lines_in_here(release, monkeypatch)
    for words in (f"numpy {np.__version__}, tested with 0.1", "no-such none, tested with 2", f"{minor}.{patch + 1}"):
        assert words in str(caught.value)
    (
        release.folder / "runtime"
    ).mkdir()  # shipped: sums answer for the packages, and Python's 3.X is all that is needed
    lines_in_here(release, monkeypatch)
    release.said["wanted"]["python"] = "3.1.2"
    release.write()
    with pytest.raises(CheckFailed, match=r"tested with 3\.1"):
        lines_in_here(release, monkeypatch)


def test_memory_may_differ_by_what_kernels_reserve(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    for share, passes in ((0.985, True), (1.015, True), (0.97, False), (1.03, False)):
        monkeypatch.setattr(facts, "memory_mib", lambda share=share: int(4000 * share))
        put(4000, "same", "memory_mib")(release.folder, release.said)
        release.write()
        if passes:
            lines_in_here(release, monkeypatch)
        else:
            with pytest.raises(CheckFailed, match="memory_mib"):
                lines_in_here(release, monkeypatch)


def test_a_share_counts_the_worst_value() -> None:
    reference = np.array([1.0, -2.0, 0.0])
    found = np.array([1.0, -2.25, 0.125], np.float32)
    assert used_share(found, reference, 0.25, 0.125, "") == 0.5
    with pytest.raises(CheckFailed, match=r"value 1 is -2\.25; wanted -2, off by at most 0\.2 \(1 of 3 are wrong\)"):
        used_share(found, reference, 0.2, 0.0, "")
    assert used_share(np.array([1, 2]), np.array([1, 2]), 0, 0, "") == 0
    with pytest.raises(CheckFailed, match="value 1 is 2; wanted 3"):
        used_share(np.array([1, 2]), np.array([1, 3]), 0, 0, "")
    with pytest.raises(CheckFailed, match="value 0 is inf"):  # no allowance is so large
        used_share(np.array([np.inf], np.float32), np.array([1.0]), 1e308, 1e308, "")


@pytest.mark.parametrize("words", [[], ["--help"], ["a", "b"]])
def test_a_wrong_command_line_is_status_2(release: Release, words: list[str]) -> None:
    command = [sys.executable, "-B", "-m", "agent.check", *words]
    done = subprocess.run(command, cwd=release.folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr[:6]) == (2, "", "usage:")


def test_a_verdict_that_nobody_can_read_is_none(release: Release) -> None:
    with Path("/dev/full").open("w", encoding="ascii") as full:
        assert check(release, stdout=full)[::2] == (1, "")


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_it_needs_neither_stdin_nor_stderr(release: Release, closed: str) -> None:
    doing(release, "write")
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-B", "-m", "agent.check", str(release.folder)]
    done = subprocess.run(command, cwd=release.folder, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout.count("check: PASS")) == (0, 1)
    assert done.stdout.splitlines()[-1] == "check: PASS"


@pytest.mark.parametrize("name", ["endless", "deep", "too-large", "number-of-many-digits"])
def test_a_hostile_file_takes_little_memory_and_time(release: Release, name: str) -> None:
    WRONG_FILES[name][0](release.folder, release.said)
    limit = 1 << 30
    setup = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))"
    status, (line,), said = check(release, setup=setup)
    assert (status, said) == (1, "")
    assert line.startswith("check: FAIL: check/check.json")
