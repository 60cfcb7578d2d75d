"""The agent's process by itself, with a backend that is written to misbehave."""

from __future__ import annotations

import json
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness.agent
from harness.agent.frames import encode, read_frame
from harness.agent.illegal import MARK
from harness.agent.orphans import identity
from harness.agent.wire import Limits
from harness.deploy.deployment import Deployment, Timeouts
from harness.deploy.exchange import Reply
from harness.errors import AgentDied, AgentFailure, AgentTimeout
from harness.host.exit_cause import ExitCause
from harness.isa.diagnosis import illegal_instruction
from harness.links.local import Process
from tests.support.facts import own_facts

# VFRCZPS, which AMD's Bulldozer had and no other CPU; UDF, which no arm64 has.
ILLEGAL = {"x86_64": "8fe97880c0", "aarch64": "00000000"}[platform.machine()]
SETTINGS = {"threads": 1, "interop_threads": 1, "flush_denormals": False}
BACKEND = """
import ctypes, mmap, os, re, time

def call(code):
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()

class Engine:
    def __init__(self, settings, options):
        self.behaviour = options["behaviour"]
    def load(self, artifact):
        print("loading", artifact, flush=True)
        os.system("echo a child that prints")
        os.write(1, b"straight to descriptor 1\\n")
    def prepare(self, inputs):
        return inputs
    def run(self, prepared):
        if self.behaviour == "needs-another-cpu":
            call(bytes.fromhex("CODE"))
        if self.behaviour == "crashes":
            os.abort()
        if self.behaviour == "raises":
            raise RuntimeError("not this one")
        if self.behaviour == "hangs":
            re.match(r"(a|aa)*$", "a" * 200 + "b")  # never ends, and never lets go of Python's lock
        if self.behaviour == "is-slow":
            time.sleep(0.4)
        return list(prepared.values())
    def arrays(self, raw):
        return raw
    def output_names(self):
        return []
    def versions(self):
        return {}
    def settings(self):
        return {}
"""
INPUTS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7)}

Start = Callable[..., Deployment]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle's folder with the misbehaving backend."""
    shutil.copytree(
        Path(harness.agent.__file__).parent, tmp_path / "agent", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "agent" / "backend.py").write_text(BACKEND.replace("CODE", ILLEGAL))
    return tmp_path


def command(bundle: Path) -> list[str]:
    """How an agent is started."""
    folders = ["--records", str(bundle / "records"), "--results", str(bundle / "results")]
    return [sys.executable, "-B", "-m", "agent", *folders]


@pytest.fixture
def start(bundle: Path) -> Iterator[Start]:
    """Starts an agent there; ends them all."""
    started: list[Deployment] = []

    def start(*arguments: str, timeouts: Timeouts = Timeouts()) -> Deployment:  # noqa: B008  # frozen
        deployment = Deployment.start(Process.start([*command(bundle), *arguments], str(bundle)), "test", timeouts)
        started.append(deployment)
        return deployment

    yield start
    for deployment in started:
        deployment.close()


def load(deployment: Deployment, behaviour: str = "echoes") -> None:
    """Load the backend, with one inference."""
    deployment.load("artifact", INPUTS, settings=SETTINGS, options={"behaviour": behaviour})


def pid_of(deployment: Deployment) -> int:
    return int(deployment.hello.pid)


def test_it_infers_many_sets_in_one_call_whatever_libraries_print(start: Start) -> None:
    deployment = start()
    load(deployment)
    sets = [{"x": INPUTS["x"] + index, "n": INPUTS["n"]} for index in range(100)]
    answers = deployment.infer(sets)
    assert len(answers) == 100
    for inputs, (x, n) in zip(sets, answers, strict=True):
        np.testing.assert_array_equal(x, inputs["x"])
        assert (n.shape, int(n)) == ((), 7)


def test_sets_larger_than_a_call_are_split(start: Start) -> None:
    deployment = start()
    load(deployment)
    sets = [{"x": np.full((1 << 22,), index, np.float64), "n": INPUTS["n"]} for index in range(4)]  # 32 MiB each
    assert [float(x[-1]) for x, _ in deployment.infer(sets)] == [0, 1, 2, 3]


def test_it_ends_when_its_stdin_ends_and_takes_its_record_with_it(start: Start, bundle: Path) -> None:
    deployment = start()
    (record,) = (bundle / "records").glob("*.json")
    assert json.loads(record.read_text())["pid"] == pid_of(deployment)
    deployment.close()
    assert identity(pid_of(deployment)) is None
    assert not record.exists()


def test_it_ends_by_itself_when_nothing_is_asked_of_it(start: Start) -> None:
    deployment = start("--idle", "0.3")
    deadline = time.monotonic() + 10
    while (found := identity(pid_of(deployment))) is not None and found[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(AgentDied, match=r"nothing was asked for 0\.3 s"):
        deployment.memory_kib()


def test_what_a_backend_raises_comes_back_and_the_agent_lives_on(start: Start) -> None:
    deployment = start()
    with pytest.raises(AgentFailure, match="RuntimeError: not this one"):
        load(deployment, "raises")
    with pytest.raises(AgentFailure, match="no artifact is loaded"):
        deployment.infer([INPUTS])
    assert deployment.memory_kib()["peak"] > 0


def test_a_crash_is_named_with_the_end_of_stderr(start: Start) -> None:
    with pytest.raises(AgentDied, match=r"killed by SIGABRT(.|\n)*straight to descriptor 1"):
        load(start(), "crashes")


def test_an_illegal_instruction_is_named_with_what_it_needs(bundle: Path) -> None:
    """By the agent's own process, and where it was made in memory."""
    deployment = Deployment.start(Process.start(command(bundle), str(bundle)), "test", exit_cause=exit_cause)
    with deployment, pytest.raises(AgentDied) as caught:
        load(deployment, "needs-another-cpu")
    said = "vfrczps xmm0, xmm0" if platform.machine() == "x86_64" else "udf #0"
    assert f"killed by SIGILL: illegal instruction {said} in code that was made in memory: " in caught.value.found
    assert "straight to descriptor 1" in caught.value.found
    assert MARK not in caught.value.found


def exit_cause(pid: int, status: int, stderr_tail: str) -> ExitCause | None:
    assert status == -signal.SIGILL
    return illegal_instruction(stderr_tail, own_facts(), {})


def test_a_reply_is_kept_until_the_next_request_shows_that_it_arrived(start: Start, bundle: Path) -> None:
    deployment = start()
    load(deployment)
    durations, _ = deployment.measure([INPUTS], 5, 10.0, keep="block-1")
    kept = bundle / "results" / "block-1"
    with kept.open("rb") as file:
        np.testing.assert_array_equal(deployment.measured(read_frame(file.read))[0], durations)
    deployment.memory_kib()
    assert not kept.exists()


def test_a_block_is_finished_and_kept_when_the_host_goes(bundle: Path) -> None:
    options = {"behaviour": "is-slow"}
    load_header = {"op": "load", "artifact": "a", **SETTINGS, "options": options, "inputs": [*INPUTS]}
    measure = {"op": "measure", "samples": 3, "budget_ns": 10**10, "keep": "block-1", "limit_s": 60}
    with subprocess.Popen(command(bundle), cwd=bundle, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("started with pipes")
        read_frame(process.stdout.read)
        for header in (load_header, measure):
            process.stdin.writelines(encode(header, list(INPUTS.values())))
            process.stdin.flush()
        read_frame(process.stdout.read)
        process.stdin.close()
        process.stdout.close()
        process.wait(20)
    with (bundle / "results" / "block-1").open("rb") as file:
        assert len(read_frame(file.read).tensors[0]) == 3


def test_an_operation_that_never_ends_is_ended_by_its_own_watchdog(start: Start) -> None:
    deployment = start(timeouts=Timeouts(load_s=1, call_s=1))
    with pytest.raises(AgentTimeout, match=r"did not answer 'load' in 1 s(.|\n)*watchdog(.|\n)*--time-limit SECONDS"):
        load(deployment, "hangs")
    assert identity(pid_of(deployment)) is None


def test_sets_go_in_calls_that_are_noticed_when_they_hang(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.deploy.inference.CALL_S", 1.0)
    deployment = start(timeouts=Timeouts(call_s=1))
    load(deployment, "is-slow")
    calls: list[int] = []
    call = deployment.session.ask

    def counted(header: dict[str, Any], tensors: Sequence[Any], limit_s: float, limits: Limits) -> Reply:
        calls.append(len(tensors) // len(INPUTS))
        return call(header, tensors, limit_s, limits)

    monkeypatch.setattr(deployment.session, "ask", counted)
    assert len(deployment.infer([INPUTS] * 6)) == 6  # 0.4 s each: in one call of the limit of one it would be killed
    assert calls == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("sets", "seconds"),
    [
        pytest.param(1, 300, id="one-has-its-own-time"),
        pytest.param(2, 400, id="many-have-no-more-than-shows-a-hang"),
    ],
)
def test_the_limit_of_a_call_grows_with_its_sets(sets: int, seconds: float) -> None:
    assert Timeouts(call_s=300).infer_s(sets) == seconds
    assert Timeouts(call_s=5).infer_s(sets) == 5 * sets
