"""The runners' C++ by itself: under sanitizers, with parsers of frames and fills that are given anything, and read by
cppcheck."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from harness.agent.expand import expand
from harness.agent.frames import ITEM_SIZES, JOIN_BELOW, Array, Frame, encode, read_frame
from harness.backends import load_backend
from harness.bundle.native.building import SOURCES, build_runners
from harness.bundle.native.compiler import find_compiler
from harness.bundle.native.packages import Headers, provide_headers
from tests.support.releases import WRONG, WRONG_FILES, Release

from .runners import EVERY_TYPE, INPUTS, SETTINGS, USERS_CACHE, bits, in_python, onnx_net
from .test_check import doubling

SEED, ITERATIONS = "20251125", "20000"
SANITIZED = (
    "-DHILGATE_TESTS=ON",
    "-DHILGATE_SANITIZE=ON",
    "-DHILGATE_WERROR=ON",
    # Unoptimised: it compiles in half the time, and no access is optimised away before a sanitizer has seen it.
    "-DCMAKE_CXX_FLAGS_RELEASE=-O0",
    # Not stripped: a report names functions and lines.
    "-DCMAKE_EXE_LINKER_FLAGS=",
    "-DCMAKE_MODULE_LINKER_FLAGS=",
)
# What is off by default. No word of leaks: a fuzz test is searched for them at its end, which the runner, who ends by
# _exit() because of what the libraries do at theirs, never comes to.
OPTIONS = "check_initialization_order=1:strict_string_checks=1"
# Not for the fuzz tests, which would take twice as long.
RUNNERS_OPTIONS = f"{OPTIONS}:detect_stack_use_after_return=1"
# After which a program hangs: the fuzz tests take a tenth of it where nothing else runs.
LIMIT_S = 240


@pytest.fixture(scope="module")
def headers() -> Headers:
    """From the user's cache: fetching them takes a network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILGATE_CACHE", str(USERS_CACHE))
        return provide_headers()


@pytest.fixture(scope="module")
def sanitized(headers: Headers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runner, ONNX Runtime's engine and the fuzz tests; warnings are errors there, as everywhere."""
    folder = tmp_path_factory.mktemp("sanitized")
    includes, libraries = [headers.onnxruntime_folders[0]], [library()]
    compiler = find_compiler(platform.machine())
    build_runners(
        folder, compiler, headers, engine="onnxruntime", includes=includes, libraries=libraries, more=SANITIZED
    )
    return folder


@pytest.mark.slow
def test_libtorchs_engine_is_built_without_a_warning(headers: Headers, tmp_path: Path) -> None:
    native, folder = load_backend("libtorch").native, Path(torch.__file__).parents[1]
    if native is None:
        raise AssertionError("libtorch is built here")
    compiler = find_compiler(platform.machine())
    build_runners(
        tmp_path,
        compiler,
        headers,
        engine=native.engine,
        includes=[folder / name for name in native.includes],
        libraries=[folder / name for name in native.linked_in(torch.__version__)],
        more=("-DHILGATE_WERROR=ON",),
    )
    assert (tmp_path / "engine.so").exists()


def library() -> Path:
    """The installed ONNX Runtime's."""
    return Path(onnxruntime.__file__).parent / "capi" / f"libonnxruntime.so.{onnxruntime.__version__}"


def run(command: Sequence[str | Path], given: bytes = b"", *, options: str = OPTIONS) -> tuple[int, bytes, str]:
    """Exit status, stdout and stderr of a program that sanitizers watch."""
    environment = {**os.environ, "ASAN_OPTIONS": options, "UBSAN_OPTIONS": "print_stacktrace=1"}
    done = subprocess.run(command, input=given, capture_output=True, timeout=LIMIT_S, check=False, env=environment)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def run_runner(build: Path, folder: Path, given: bytes, engine: str | Path = "x") -> tuple[int, list[Frame], str]:
    """Exit status, replies and stderr of a runner that is given these bytes, and then its stdin's end."""
    words = ["--engine", engine, "--runtime", library(), "--records", folder / "records", "--results", folder / "kept"]
    status, sent, said = run([build / "runner", *words], given, options=RUNNERS_OPTIONS)
    return status, replies(sent), said


def replies(sent: bytes) -> list[Frame]:
    """All of the runner's frames behind its greeting."""
    stream = io.BytesIO(sent)
    frames = []
    while stream.tell() < len(sent):
        frames.append(read_frame(stream.read))
    assert frames[0].header["hello"] == "hilgate"
    return frames[1:]


def joined(header: dict[str, Any], tensors: Sequence[Array] = ()) -> bytes:
    """A frame."""
    return b"".join(bytes(part) for part in encode(header, tensors))


def raw(header: bytes, payload: bytes = b"", *, magic: bytes = b"\x89HIL", version: int = 1) -> bytes:
    """A frame whose parts need not be right, laid out as harness/agent/wire.py writes it down."""
    return struct.pack("<4sHHIQ", magic, version, 0, len(header), len(payload)) + header + payload


def described(tensors: Any, payload: bytes = b"") -> bytes:
    """A frame whose tensors need not be."""
    return raw(json.dumps({"op": "echo", "tensors": tensors}).encode(), payload)


@pytest.mark.slow
def test_whatever_the_frames_parser_is_given_it_reads_within_its_bounds_or_refuses(sanitized: Path) -> None:
    status, sent, said = run([sanitized / "fuzz_frame", SEED, ITERATIONS])
    assert (status, said) == (0, "")
    # Read, refused, cut short: one of them alone would be a test of nothing.
    counts = [int(number) for number in re.findall(r"\d+", sent.decode())]
    assert sum(counts) == int(ITERATIONS)
    assert min(counts) > 500


@pytest.mark.slow
def test_whatever_fill_it_is_given_an_array_is_made_within_its_bounds_or_none(sanitized: Path) -> None:
    status, sent, said = run([sanitized / "fuzz_expand", SEED, ITERATIONS])
    assert (status, said) == (0, "")
    counts = [int(number) for number in re.findall(r"\d+", sent.decode())]
    assert sum(counts) == 2 * int(ITERATIONS)  # each fill, and what was made of it to spoil it
    assert min(counts) > 5000


LARGE = np.arange(JOIN_BELOW // 4 + 3, dtype=np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "tensors",
    [
        *(pytest.param([EVERY_TYPE[name]], id=name) for name in ITEM_SIZES),
        pytest.param([], id="none"),
        pytest.param([np.array(2.5)], id="scalar"),
        pytest.param([np.zeros((0, 3), np.int16)], id="empty"),
        pytest.param([LARGE], id="large"),
        pytest.param([*EVERY_TYPE.values()], id="several"),
        pytest.param([np.zeros(0, np.int8), np.array(True), LARGE, np.zeros((2, 0))], id="several-large-and-empty"),
    ],
)
def test_tensors_that_python_sends_come_back_identical(sanitized: Path, tmp_path: Path, tensors: list[Array]) -> None:
    status, [reply], said = run_runner(sanitized, tmp_path, joined({"op": "echo"}, tensors))
    assert (status, said) == (0, "")
    assert bits(reply.tensors) == bits(tensors)


@pytest.mark.slow
def test_the_frame_after_a_large_one_is_read_where_it_begins(sanitized: Path, tmp_path: Path) -> None:
    sent = [[LARGE], [np.array(1)], [LARGE, LARGE[:5]]]
    given = b"".join(joined({"op": "echo"}, tensors) for tensors in sent)
    status, found, said = run_runner(sanitized, tmp_path, given)
    assert (status, said) == (0, "")
    assert [bits(reply.tensors) for reply in found] == [bits(tensors) for tensors in sent]


ECHO = joined({"op": "echo"}, [np.arange(100)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param(b"Welcome to this board!\n" * 3, "wanted a frame that starts with", id="garbage"),
        pytest.param(ECHO[:10], "cut short", id="cut-in-the-preamble"),
        pytest.param(ECHO[:30], "cut short", id="cut-in-the-header"),
        pytest.param(ECHO[:-1], "cut short", id="cut-in-the-payload"),
        pytest.param(raw(b"{}", version=2), "found version 2", id="another-version"),
        pytest.param(raw(b"no JSON"), "wanted a header in JSON", id="no-json"),
        pytest.param(raw(b'{"tensors":[],"\xff":1}'), "wanted a header in JSON", id="no-utf-8"),
        pytest.param(raw(b"[" * 100_000), "wanted a header in JSON", id="deep-json"),
        pytest.param(raw(b"[]"), "an object with tensors", id="no-object"),
        pytest.param(raw(b"{}"), "an object with tensors", id="no-tensors"),
        pytest.param(raw(b"")[:8] + b"\xff" * 12, "larger than any of ours", id="huge"),
        pytest.param(described([["complex64", [1]]], bytes(8)), "of ours: complex64", id="another-dtype"),
        pytest.param(described([["int8", [-1]]]), "negative size", id="negative-size"),
        pytest.param(described([["int8", [1.0]]], bytes(1)), "no whole number", id="fractional-size"),
        pytest.param(described([["int8", [1 << 62, 4]]]), "larger than any of ours", id="size-that-wraps-round"),
        pytest.param(described([["int8", {"size": 1}]], bytes(1)), "not described as", id="shape-that-is-none"),
        pytest.param(described([["int8", [8]]], bytes(7)), "do not fit its payload", id="payload-too-short"),
        pytest.param(described([["int8", [8]]], bytes(9)), "do not fit its payload", id="payload-too-long"),
    ],
)
def test_a_stream_that_is_no_frame_ends_the_runner(sanitized: Path, tmp_path: Path, given: bytes, words: str) -> None:
    status, found, said = run_runner(sanitized, tmp_path, given)
    assert (status, found) == (1, [])
    # One line of its own: a sanitizer would have said more.
    (line,) = said.splitlines()
    assert line.startswith("runner: ")
    assert words in line


@pytest.mark.slow
def test_a_stdin_that_ends_between_two_frames_is_a_good_end(sanitized: Path, tmp_path: Path) -> None:
    assert run_runner(sanitized, tmp_path, b"") == (0, [], "")


FILL = {"dtype": "float32", "shape": [6], "first": -9, "last": 18, "scale": -3, "order": "random", "key": 1}
PACE = {"period_ns": 10**6, "late": "drop", "behind_ns": 0}
FILL = {**FILL, "changed": 1 << 31, "set": [[5, 0]]}


@pytest.mark.slow
def test_an_engine_does_all_of_its_operations_under_sanitizers(sanitized: Path, tmp_path: Path) -> None:
    artifact, sets = onnx_net(tmp_path), [INPUTS["x"], INPUTS["x"] * -2]
    load = {"op": "load", "artifact": str(artifact), **SETTINGS, "options": {}, "inputs": [*INPUTS]}
    requests: list[tuple[dict[str, Any], list[Array]]] = [
        ({"op": "infer"}, sets),  # too early
        (load, sets[:1]),
        ({"op": "infer"}, sets),
        ({"op": "warm_up", "budget_ns": 10**7}, sets),
        ({"op": "measure", "samples": 5, "budget_ns": 10**9}, sets),
        ({"op": "measure", "samples": 40, "budget_ns": 10**9, **PACE}, sets),
        ({"op": "measure", "samples": 40, "budget_ns": 10**9, **PACE, "late": "skip"}, sets),
        ({"op": "profile", "count": 4}, sets),
        ({"op": "profile", "count": 0}, sets),
        ({"op": "memory"}, []),
        ({"op": "fly"}, []),
        ({"op": "infer"}, [np.zeros(5, np.float32)]),  # of another shape
        ({**load, "artifact": str(tmp_path / "none.onnx")}, sets[:1]),
        (load, sets[:1]),
        ({"op": "infer", "keep": "kept"}, sets),
        ({"op": "keep"}, sets),
        ({"op": "infer", "fills": [[FILL], [{**FILL, "base": 1}]]}, []),
        ({"op": "infer", "fills": [[{**FILL, "base": 2}]]}, []),
        ({"op": "infer", "fills": 3}, []),
    ]
    given = b"".join(joined(*request) for request in requests)
    status, found, said = run_runner(sanitized, tmp_path, given, sanitized / "engine.so")
    assert (status, said) == (0, "")
    early, loaded, inferred, warm, measured, paced, pace, *found = found
    profiled, none, memory, unknown, shape, lost, again, kept, *filled = found
    errors = [reply.header.get("error", "") for reply in (early, pace, none, unknown, shape, lost, *filled[2:])]
    wanted = [
        "load comes first",
        "wanted late to be one of drop, queue",
        "wanted a count",
        "unknown operation 'fly'",
        "invalid dimensions",
        "none.onnx",
    ]
    wanted += ["wanted a fill's 'base'", "wanted fills"]
    assert [word in error for word, error in zip(wanted, errors, strict=True)] == [True] * 8, errors
    answers = [in_python(artifact, {"x": one})[0] for one in sets]
    expanded = [expand(FILL), expand({**FILL, "base": 1}, sets)]
    of_fills = [in_python(artifact, {"x": one})[0] for one in expanded]
    for reply, wanted_answers in (
        (loaded, answers[:1]),
        (inferred, answers),
        (again, answers[:1]),
        (kept, answers),
        (filled[1], of_fills),
    ):
        np.testing.assert_allclose(reply.tensors, wanted_answers, rtol=1e-5)
    assert warm.header["iterations"] > 0
    assert measured.tensors[0].shape == (5,)
    assert paced.tensors[0][:, 0].tolist() == [number * 10**6 for number in range(40)]
    assert (paced.tensors[0] @ [0, -1, 1] > 0).any()
    assert {one["operator"] for one in profiled.header["operators"]} >= {"MatMul", "Tanh", "Softmax"}
    assert memory.header["memory_kib"]["peak"] > 0


def _checked(build: Path, release: Release) -> tuple[int, bytes, str]:
    words: list[str | Path] = [
        build / "runner",
        "--check",
        release.folder,
        "--engine",
        build / "engine.so",
        "--runtime",
        library(),
    ]
    return run(words, options=RUNNERS_OPTIONS)


@pytest.mark.slow
def test_a_check_reads_right_and_wrong_releases_under_sanitizers(sanitized: Path, tmp_path: Path) -> None:
    """The child's report would be on stderr, and its end the reason."""
    found = {}
    for name, (change, words) in {
        "right": (None, "PASS"),
        **WRONG,
        **{f"json {n}": w for n, w in WRONG_FILES.items()},
    }.items():
        release = doubling(tmp_path / name, "onnxruntime-cpp")
        if change is not None:
            change(release.folder, release.said)
        if name in WRONG:
            release.write()
        status, printed, said = _checked(sanitized, release)
        found[name] = status, words in printed.decode().splitlines()[-1], said
    assert found.pop("right") == (0, True, "")
    assert {name: one for name, one in found.items() if one != (1, True, "")} == {}


def test_cppcheck_finds_nothing() -> None:
    if shutil.which("cppcheck") is None:
        pytest.fail("cppcheck is not installed, so nothing was checked: sudo apt-get install cppcheck (.ci/packages)")
    # Off: loops of one line that an algorithm of <algorithm> could stand for.
    words = ["--enable=warning,performance,portability,style", "--suppress=useStlAlgorithm", "--inline-suppr"]
    folders = [SOURCES / name for name in ("src", "engines", "tests", "examples")]
    command = ["cppcheck", "--quiet", "--error-exitcode=1", "--std=c++17", *words, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
