"""How the C++ runners' processes end, with the real runtimes: by themselves or not, and what they leave behind."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from harness.agent.frames import encode, read_frame
from harness.agent.illegal import MARK
from harness.agent.orphans import executable, identity
from harness.deploy.deployment import Deployment, Timeouts
from harness.errors import AgentDied, AgentTimeout
from harness.isa.diagnosis import illegal_instruction
from tests.support.facts import own_facts

from .boards import wait_for
from .runners import (
    INPUTS,
    SETTINGS,
    Runners,
    compiled,
    counting,
    load,
    scaled,
)

# What quick tests of the program itself are done with: it starts in a tenth of the other's time.
ONNX = "onnxruntime-cpp"
ECHO = b"".join(encode({"op": "echo"}, [np.arange(1000)]))
ZERO, NEVER_ENDING = {"n": np.array(0)}, {"n": np.array(1 << 62)}
SOON = Timeouts(call_s=60)
# Of the inference that loading ends with, and of the one that never ended.
SAYS, SILENT = r"its stderr ends:\n *counting\n *counting\n", "it wrote nothing to stderr"
# VFRCZPS, which AMD's Bulldozer had and no other CPU; UDF, which no arm64 has.
ILLEGAL, SAID = {
    "x86_64": ("0x8f, 0xe9, 0x78, 0x80, 0xc0", "vfrczps xmm0, xmm0"),
    "aarch64": ("0, 0, 0, 0", "udf #0"),
}[platform.machine()]
ENGINE = f"""
    #include <sys/mman.h>
    #include <cstring>
    #include <thread>
    const unsigned char code[] = {{{ILLEGAL}}};
    void in_a_library() {{ asm volatile(".globl here\\nhere: .byte {ILLEGAL}"); }}
    void in_memory() {{
        void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        std::memcpy(page, code, sizeof code);
        reinterpret_cast<void (*)()>(page)();
    }}
    extern "C" void* hilgate_make_engine(const void*) {{ MAKE; return nullptr; }}
    static int started = (AT_START, 0);
"""


def ticks(pid: int) -> int:
    """The CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])


def address(library: Path, symbol: str) -> int:
    with library.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        (found,) = table.get_symbol_by_name(symbol) or []
        return int(found["st_value"])


@contextmanager
def killed_while_it_works(deployment: Deployment, number: int) -> Iterator[None]:
    pid = int(deployment.hello.pid)
    idle = ticks(pid)

    def kill() -> None:
        wait_for(lambda: ticks(pid) > idle + 2 or None)
        os.kill(pid, number)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.parametrize(
    ("backend", "number", "said"),
    [
        pytest.param("libtorch", signal.SIGKILL, SAYS, id="libtorch-KILL"),
        pytest.param("libtorch", signal.SIGSEGV, SAYS, id="libtorch-SEGV"),
        pytest.param("libtorch", signal.SIGABRT, SAYS, id="libtorch-ABRT"),
        pytest.param(ONNX, signal.SIGKILL, SILENT, id="onnxruntime-KILL"),
        pytest.param(ONNX, signal.SIGILL, SILENT, id="ILL-that-was-sent"),
    ],
)
def test_a_signal_that_kills_it_is_named_with_the_end_of_stderr(
    runners: Runners, tmp_path: Path, backend: str, number: int, said: str
) -> None:
    deployment = runners.start(backend, timeouts=SOON)
    load(deployment, counting(backend, tmp_path), ZERO)
    words = rf"during 'infer'\n *found: *killed by {signal.Signals(number).name} \(.*\); {said}"
    with killed_while_it_works(deployment, number), pytest.raises(AgentDied, match=words):
        deployment.infer([NEVER_ENDING])
    assert MARK not in deployment.session.exchange.channel.stderr_tail()


@pytest.mark.parametrize(
    ("make", "at_start", "place"),
    [
        pytest.param("in_a_library()", "0", "library", id="in-the-engine"),
        pytest.param("0", "in_a_library()", "library", id="while-the-engine-is-opened"),
        pytest.param("std::thread(in_a_library).join()", "0", "library", id="in-a-thread"),
        pytest.param("in_memory()", "0", "memory", id="in-code-made-in-memory"),
    ],
)
def test_an_illegal_instruction_says_where_it_is(
    runners: Runners, tmp_path: Path, make: str, at_start: str, place: str
) -> None:
    engine = compiled(tmp_path, ENGINE.replace("MAKE", make).replace("AT_START", at_start))
    deployment = runners.start(ONNX, engine=engine)
    deployment.session.exchange.exit_cause = lambda pid, status, stderr_tail: illegal_instruction(
        stderr_tail, own_facts(), {}
    )
    with pytest.raises(AgentDied) as caught:
        load(deployment, tmp_path)
    where = f"at {engine}+{address(engine, 'here'):#x}" if place == "library" else "in code that was made in memory"
    assert caught.value.found.startswith(f"killed by SIGILL: illegal instruction {SAID} {where}: ")
    assert MARK in deployment.session.exchange.channel.stderr_tail()


def test_an_operation_that_never_ends_is_ended_by_its_own_watchdog(runners: Runners, tmp_path: Path) -> None:
    deployment = runners.start("libtorch", timeouts=Timeouts(call_s=1))
    load(deployment, counting("libtorch", tmp_path), ZERO)
    with pytest.raises(AgentTimeout, match=r"did not answer 'infer' in 1 s(.|\n)*watchdog"):
        deployment.infer([NEVER_ENDING])
    assert identity(int(deployment.hello.pid)) is None


def fed(runners: Runners, content: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """A runner that ended after it was given so many bytes."""
    command = runners.command(ONNX, *arguments)
    return subprocess.run(command, input=content, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(ECHO[:10], id="in-the-preamble"),
        pytest.param(ECHO[:30], id="in-the-header"),
        pytest.param(ECHO[:-1], id="in-the-payload"),
        pytest.param(ECHO + ECHO[:30], id="behind-another"),
    ],
)
def test_a_frame_that_is_cut_short_ends_it(runners: Runners, content: bytes) -> None:
    done = fed(runners, content)
    assert (done.returncode, done.stderr) == (1, b"runner: the frame was cut short: the host has gone\n")
    assert list((runners.folder / "records").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n\r\n\r\n", b"wanted a frame that starts with 0x89 HIL", id="no-frame"),
        pytest.param(ECHO[:4] + b"\2" + ECHO[5:], b"wanted frames of version 1; found version 2", id="version"),
        pytest.param(ECHO[:20].ljust(len(ECHO)), b"wanted a header in JSON", id="no-header"),
        pytest.param(ECHO.replace(b"[1000]", b"[1001]"), b"do not fit its payload of 8000 bytes", id="payload"),
        pytest.param(ECHO.replace(b"int64", b"int65"), b"no element type of ours: int65", id="element-type"),
    ],
)
def test_what_is_no_frame_of_ours_ends_it(runners: Runners, content: bytes, said: bytes) -> None:
    done = fed(runners, content)
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--idle"], b"[--runtime FILE]; found --idle", id="no-value"),
        pytest.param(["idle", "3"], b"[--runtime FILE]; found idle", id="no-option"),
    ],
)
def test_arguments_that_it_cannot_use_are_named(runners: Runners, arguments: list[str], said: bytes) -> None:
    done = fed(runners, b"", *arguments)
    assert (done.returncode, done.stdout) == (1, b"")
    assert said in done.stderr


def test_records_that_cannot_be_written_end_it_before_it_says_hello(runners: Runners) -> None:
    (runners.folder / "records").touch()
    done = fed(runners, b"")
    assert (done.returncode, done.stdout) == (1, b"")
    assert str(runners.folder / "records").encode() in done.stderr


def test_it_ends_when_its_stdin_ends_and_takes_its_record_with_it(runners: Runners) -> None:
    deployment = runners.start(ONNX, "--run", "this-run")
    pid = int(deployment.hello.pid)
    (record,) = (runners.folder / "records").iterdir()
    found = identity(pid)
    assert found is not None
    said = json.loads(record.read_text())
    assert (said["pid"], said["start"], said["run"]) == (pid, found[1], "this-run")
    assert said["exe"] == executable(pid)
    assert record.stat().st_mode & 0o077 == 0
    assert deployment.session.exchange.channel.finish(10.0) == 0
    assert identity(pid) is None
    assert not record.exists()


def test_it_ends_by_itself_when_nothing_is_asked_of_it(runners: Runners) -> None:
    deployment = runners.start(ONNX, "--idle", "0.3")
    wait_for(lambda: (identity(int(deployment.hello.pid)) or ("", 0, "Z"))[2] == "Z" or None, 10)
    with pytest.raises(AgentDied, match=r"exit status 0(.|\n)*nothing was asked for 0\.3 s"):
        deployment.memory_kib()
    assert list((runners.folder / "records").iterdir()) == []


def test_a_reply_is_kept_until_the_next_request_shows_that_it_arrived(runners: Runners, tmp_path: Path) -> None:
    deployment = runners.loaded(ONNX, scaled(ONNX, tmp_path))
    durations, _ = deployment.measure([INPUTS], 5, 10.0, keep="../block-1")
    (kept,) = (runners.folder / "results").iterdir()
    assert kept.name == "block-1"
    with kept.open("rb") as file:
        np.testing.assert_array_equal(deployment.measured(read_frame(file.read))[0], durations)
    deployment.memory_kib()
    assert not kept.exists()


def test_a_reply_that_cannot_be_kept_is_sent_all_the_same(runners: Runners, tmp_path: Path) -> None:
    (runners.folder / "results").touch()
    deployment = runners.loaded(ONNX, scaled(ONNX, tmp_path))
    assert len(deployment.measure([INPUTS], 5, 10.0, keep="block-1")[0]) == 5


def test_a_block_is_finished_and_kept_when_the_host_goes(runners: Runners, tmp_path: Path) -> None:
    inputs = [np.array(400_000)]  # a tenth of a second each
    artifact = str(counting(ONNX, tmp_path))
    loading: dict[str, Any] = {"op": "load", "artifact": artifact, **SETTINGS, "options": {}, "inputs": ["n"]}
    measuring = {"op": "measure", "samples": 3, "budget_ns": 10**11, "keep": "block-1", "limit_s": 60}
    command, pipe = runners.command(ONNX), subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("started with pipes")
        read_frame(process.stdout.read)
        for header in (loading, measuring):
            process.stdin.writelines(encode(header, inputs))
            process.stdin.flush()
        read_frame(process.stdout.read)
        process.stdin.close()
        process.stdout.close()
        process.wait(20)
    with (runners.folder / "results" / "block-1").open("rb") as file:
        assert len(read_frame(file.read).tensors[0]) == 3
