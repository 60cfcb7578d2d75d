"""The release's own check with the real runtimes: ONNX Runtime in Python, and the C++ runners."""

from __future__ import annotations

import importlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from harness.agent import facts
from harness.agent.frames import Array
from tests.support.releases import WRONG, WRONG_FILES, Changed, Release, make_release

from .runners import INTEGERS, Built, compiled, graph, scripted

PYTHON = "onnxruntime"
ALL = (PYTHON, "onnxruntime-cpp", "libtorch")
X = np.array([1.0, -2.5, 3.0, 4.0], np.float32)
LIMIT_S = 60
EACH_TYPE: dict[str, Array] = {
    "of_bool": np.array([True, False]),
    **{f"of_{kind}": np.array([np.iinfo(kind).min, 0, 1, np.iinfo(kind).max], kind) for kind in INTEGERS},
    **{
        f"of_{kind}": np.array([-0.0, 0.1, -3.5, np.finfo(kind).max, np.finfo(kind).smallest_subnormal], kind)
        for kind in ("float16", "float32", "float64")
    },
}


def doubling(folder: Path, backend: str, factor: float = 2) -> Release:
    """A release whose model doubles four numbers, in two cases."""
    folder.mkdir()
    if backend == "libtorch":
        artifact = scripted(folder, f"def forward(x):\n    return x * {factor}", **NAMES)
    else:
        node = helper.make_node("Mul", ["x", "two"], ["y"])
        ends = ("x", np.float32, [4]), ("y", np.float32, [4])
        artifact = graph(folder, [node], ends[:1], ends[1:], two=np.float32(factor))
    cases = [({"x": array}, {"y": array * np.float32(factor)}) for array in (X, -X)]
    return make_release(folder, artifact.name, cases, backend=source_of(backend))


NAMES = {"hilgate_output_names.json": '["y"]'}


def source_of(backend: str) -> Path | None:
    """The file of a backend in Python; None of one in C++."""
    return Path(str(importlib.import_module("harness.backends.onnxruntime").__file__)) if backend == PYTHON else None


def command_of(release: Release, backend: str, built: Mapping[str, Built], library: Path | None = None) -> list[str]:
    """How a release's script starts its check."""
    if backend == PYTHON:
        return [sys.executable, "-B", "-m", "agent.check", str(release.folder)]
    runner = built[backend]
    words = ["--engine", runner.engine, "--runtime", library or runner.library]
    return [str(runner.program), "--check", str(release.folder), *map(str, words)]


def check(
    release: Release, backend: str, built: Mapping[str, Built], library: Path | None = None
) -> tuple[int, list[str], str]:
    """Exit status, lines and stderr, in an environment that has nothing."""
    command = command_of(release, backend, built, library)
    done = subprocess.run(
        command, cwd=release.folder, capture_output=True, text=True, timeout=LIMIT_S, check=False, env={}
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("backend", ALL)
def test_right_answers_pass_and_wrong_ones_do_not(built: dict[str, Built], tmp_path: Path, backend: str) -> None:
    release = doubling(tmp_path / "release", backend)
    release.said.update(p50_ms=1000.0, p50_ratio_max=1.25)
    release.write()
    status, lines, said = check(release, backend, built)
    assert (status, said) == (0, "")
    assert lines[-1] == "check: PASS"
    assert "check: answers: 2 cases, each twice; 20 values; of what they may be off, at most 0 % was used" in lines
    assert [line for line in lines if line.endswith("of 20 inferences; at most 1250 ms (1.25 × 1000 ms)")]

    answers = release.folder / "check" / "1-out-0.bin"
    right = answers.read_bytes()
    off = np.frombuffer(right).copy()
    off[2] += 2e-6  # twice what it may be off
    answers.write_bytes(off.tobytes())
    status, lines, _ = check(release, backend, built)
    assert (status, lines[-1].partition("value")[0]) == (1, "check: FAIL: case 1, answer y: ")
    answers.write_bytes(right)

    release.said["cases"][0]["answers"][0]["output_dtype"] = "<f8"
    release.write()
    status, lines, _ = check(release, backend, built)
    assert (status, lines[-1]) == (1, "check: FAIL: case 0, answer y: of type float32; wanted float64")
    release.said["cases"][0]["answers"][0]["output_dtype"] = "<f4"

    release.said.update(p50_ms=1e-7)
    release.write()
    status, lines, _ = check(release, backend, built)
    assert status == 1
    assert re.fullmatch(r"check: FAIL: too slow: p50 [\d.]+ ms; at most 1.25e-07 ms", lines[-1])


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-cpp"])
def test_answers_of_each_element_type_are_compared(built: dict[str, Built], tmp_path: Path, backend: str) -> None:
    (tmp_path / "release").mkdir()
    values = [(name, array.dtype.type, array.shape) for name, array in EACH_TYPE.items()]
    nodes = [helper.make_node("Identity", [name], [f"{name}_same"]) for name in EACH_TYPE]
    gives = [(f"{name}_same", *value) for name, *value in values]
    artifact = graph(tmp_path / "release", nodes, values, gives)
    answers = {f"{name}_same": array for name, array in EACH_TYPE.items()}
    case = [(EACH_TYPE, answers)]
    release = make_release(tmp_path / "release", artifact.name, case, atol=0, backend=source_of(backend))
    status, lines, _ = check(release, backend, built)
    assert (status, lines[-1]) == (0, "check: PASS")
    for index, name in enumerate(answers):
        stored = release.folder / f"check/0-out-{index}.bin"
        right = stored.read_bytes()
        stored.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
        status, lines, _ = check(release, backend, built)
        assert (status, f"answer {name}: value {len(answers[name]) - 1} is" in lines[-1]) == (1, True), lines
        stored.write_bytes(right)


@pytest.mark.parametrize(
    ("change", "words"),
    [*WRONG.values(), *WRONG_FILES.values()],
    ids=[*WRONG, *(f"json-{name}" for name in WRONG_FILES)],
)
def test_the_runner_refuses_what_python_refuses(
    built: dict[str, Built], tmp_path: Path, change: Changed, words: str
) -> None:
    release = doubling(tmp_path / "release", "onnxruntime-cpp")
    change(release.folder, release.said)
    if (change, words) in WRONG.values():
        release.write()
    status, lines, said = check(release, "onnxruntime-cpp", built)
    assert (status, said) == (1, "")
    assert lines[-1].startswith("check: FAIL: ")
    assert words in lines[-1]


def test_the_runner_says_what_it_cannot_compare_and_compares_the_rest(built: dict[str, Built], tmp_path: Path) -> None:
    """The same facts as Python's, from the same files."""
    release = doubling(tmp_path / "release", "onnxruntime-cpp")
    here = facts.facts([])
    same = {key: here[key] for key in ("board", "arch", "cpu", "memory_mib", "libc", "python", "kernel")}
    release.said["same"] = same
    release.said["wanted"]["packages"] = {"onnxruntime": built["onnxruntime-cpp"].version}
    release.write()
    status, lines, _ = check(release, "onnxruntime-cpp", built)
    assert (status, lines[-1]) == (0, "check: PASS")
    assert "check: python: not compared: a C++ runner knows of none" in lines
    assert "check: same as tested: arch, board, cpu, kernel, libc, memory_mib" in lines
    release.said["wanted"]["packages"] = {"onnxruntime": "0.1"}
    release.write()
    status, lines, _ = check(release, "onnxruntime-cpp", built)
    assert (status, lines[-1].endswith("tested with 0.1")) == (1, True)


CRASHES = "__attribute__((constructor)) static void crash() { __builtin_trap(); }"
LEAVES = "#include <unistd.h>\n__attribute__((constructor)) static void leave() { _exit(0); }"
SPEAKS = '#include <cstdio>\n__attribute__((constructor)) static void speak() { puts("check: PASS"); fflush(stdout); }'
SLEEPS = (
    "#include <cstdio>\n#include <unistd.h>\n__attribute__((constructor)) static void sleeps() {\n"
    '    fprintf(stderr, "pid %d\\n", getpid()); sleep(600); }'
)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (CRASHES, "the process that ran the model was killed by signal 4"),
        (LEAVES, "the process that ran the model ended by itself, with status 0"),
    ],
    ids=["crash", "exit"],
)
def test_a_runtime_that_ends_the_process_fails(
    built: dict[str, Built], tmp_path: Path, source: str, words: str
) -> None:
    release = doubling(tmp_path / "release", "onnxruntime-cpp")
    status, lines, _ = check(release, "onnxruntime-cpp", built, compiled(tmp_path, source))
    assert (status, words in lines[-1]) == (1, True), lines


def test_what_a_runtime_prints_is_no_verdict(built: dict[str, Built], tmp_path: Path) -> None:
    release = doubling(tmp_path / "release", "onnxruntime-cpp")
    release.said["load"]["operators"] = [str(compiled(tmp_path, SPEAKS))]
    release.said["load"]["inputs"] = ["z"]
    release.write()
    status, lines, said = check(release, "onnxruntime-cpp", built)
    assert (status, "check: PASS" in lines, said) == (1, False, "check: PASS\n")


def test_a_signal_ends_the_runner_with_a_verdict(built: dict[str, Built], tmp_path: Path) -> None:
    release = doubling(tmp_path / "release", "onnxruntime-cpp")
    command = command_of(release, "onnxruntime-cpp", built, compiled(tmp_path, SLEEPS))
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    pid = started.stderr.readline().split()[1]
    started.send_signal(signal.SIGTERM)
    printed, _ = started.communicate(timeout=LIMIT_S)
    assert (started.returncode, "FAIL: ended by signal 15" in printed.splitlines()[-1]) == (1, True)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_a_runtime_that_hangs_fails_in_a_minute(built: dict[str, Built], tmp_path: Path) -> None:
    release = doubling(tmp_path / "release", "onnxruntime-cpp")
    release.said["most_s"] = 1
    release.write()
    command = command_of(release, "onnxruntime-cpp", built, compiled(tmp_path, SLEEPS))
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * LIMIT_S, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "check: FAIL: it did not end within 61 s")
    assert time.monotonic() - start > 60


@pytest.mark.parametrize("words", [["--check"], ["--check", "a", "--engine"], ["--check", "a", "b", "c"]])
def test_a_wrong_command_line_of_the_runner_is_status_2(built: dict[str, Built], words: list[str]) -> None:
    command = [str(built["onnxruntime-cpp"].program), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr[:8]) == (2, "", "runner: ")


def test_a_runners_verdict_that_nobody_can_read_is_none(built: dict[str, Built], tmp_path: Path) -> None:
    release = doubling(tmp_path / "release", "onnxruntime-cpp")
    with Path("/dev/full").open("w", encoding="ascii") as full:
        command = command_of(release, "onnxruntime-cpp", built)
        assert subprocess.run(command, stdout=full, timeout=LIMIT_S, check=False).returncode == 1


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_the_runner_needs_neither_stdin_nor_stderr(built: dict[str, Built], tmp_path: Path, closed: str) -> None:
    release = doubling(tmp_path / "release", "onnxruntime-cpp")
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *command_of(release, "onnxruntime-cpp", built)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "check: PASS")
