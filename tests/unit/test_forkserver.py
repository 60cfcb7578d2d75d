"""A forkserver and who joins it: real processes, of which one becomes the other's program."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness.agent import attach
from harness.agent.orphans import MARK, identity

from ..support.pythons import PYTHONS

AGENT = Path(attach.__file__).parents[1]
# What a child does is its first word after the command's own name. A program that returns has ended well.
FORKSERVER = f"""
import os, random, sys, time
sys.path.insert(0, {str(AGENT)!r})
from agent.forkserver import run_forkserver

def program(words):
    _, what, *rest = words
    if what == "fail":
        raise RuntimeError("as it happens")
    if what == "exit":
        sys.exit(int(rest[0]) if rest[0].isdecimal() else rest[0])
    if what == "signal":
        os.kill(os.getpid(), int(rest[0]))
        time.sleep(600)
    if what == "say":
        print(eval(rest[0]), flush=True)
    if what == "echo":
        os.write(1, sys.stdin.buffer.readline().upper())
        os.write(2, b"to stderr")
    if what == "close":
        os.close(1)
        sys.stdin.read()

run_forkserver(sys.argv[1], program)
"""
IN_ITS_PLACE = ["sh", "-c", 'read line; echo "$0 $line"; exit 5', "itself"]


class Forkserver:
    """One, and what joins it."""

    def __init__(self, python: str, folder: Path) -> None:
        self.python, self.socket = python, folder / "forkservers" / "socket"
        command = [python, "-c", FORKSERVER, str(self.socket)]
        started = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=20, check=True)
        assert started.stdout == b"ready\n"
        self.pid = int(self.ask("say", "os.getppid()").stdout)

    def command(self, *words: str, run: str = "") -> list[str]:
        """A program that joins it, and would be ``words`` without it."""
        return [self.python, "-I", "-S", "-B", str(attach.__file__), str(self.socket), run, *words]

    def ask(
        self, *words: str, given: str = "", run: str = "", cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What came of a program of the forkserver's."""
        command = self.command("program", *words, run=run)
        return subprocess.run(command, input=given, capture_output=True, text=True, cwd=cwd, timeout=20, check=False)

    def end(self) -> None:
        """As the kernel does when memory runs out: its socket stays behind."""
        process = identity(self.pid)
        if process is not None and process[2] not in "ZX":
            os.kill(self.pid, signal.SIGKILL)


@pytest.fixture(scope="module", params=[pytest.param(python, id=name) for name, python in PYTHONS.items()])
def forkserver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forkserver]:
    found = Forkserver(request.param, tmp_path_factory.mktemp("forkserver"))
    yield found
    found.end()


@pytest.fixture
def ended(tmp_path: Path) -> Forkserver:
    """One that is no more."""
    found = Forkserver(sys.executable, tmp_path)
    found.end()
    return found


@pytest.mark.parametrize(
    ("words", "status"),
    [
        pytest.param(["nothing"], 0, id="returned"),
        pytest.param(["exit", "3"], 3, id="its-own-status"),
        pytest.param(["exit", "a reason"], 1, id="a-reason"),
        pytest.param(["fail"], 1, id="an-exception"),
        pytest.param(["signal", str(int(signal.SIGKILL))], -signal.SIGKILL, id="killed"),
        pytest.param(["signal", str(int(signal.SIGTERM))], -signal.SIGTERM, id="terminated"),
        pytest.param(["signal", str(int(signal.SIGALRM))], -signal.SIGALRM, id="its-time-was-over"),
    ],
)
def test_who_joins_ends_as_the_program_did(forkserver: Forkserver, words: Sequence[str], status: int) -> None:
    assert forkserver.ask(*words).returncode == status


def test_the_program_has_stdin_stdout_and_stderr_of_who_joined(forkserver: Forkserver) -> None:
    done = forkserver.ask("echo", given="hello\n")
    assert (done.stdout, done.stderr) == ("HELLO\n", "to stderr")


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        pytest.param("os.getcwd()", "{cwd}", id="folder"),
        pytest.param(f"os.environ[{MARK!r}]", "run-1", id="run"),
        pytest.param("words[0]", "program", id="words"),
        pytest.param("len(os.listdir('/proc/self/fd'))", "4", id="no-other-descriptors"),
        pytest.param("os.getsid(0) == os.getpid()", "True", id="session-of-its-own"),
    ],
)
def test_the_program_is_as_if_it_had_been_started_there(
    forkserver: Forkserver, tmp_path: Path, asked: str, answer: str
) -> None:
    done = forkserver.ask("say", asked, run="run-1", cwd=tmp_path)
    assert done.stdout == answer.format(cwd=tmp_path) + "\n", done.stderr


def test_an_exceptions_traceback_is_on_stderr(forkserver: Forkserver) -> None:
    assert "RuntimeError: as it happens" in forkserver.ask("fail").stderr


def test_each_program_draws_its_own_random_numbers(forkserver: Forkserver) -> None:
    assert len({forkserver.ask("say", "random.random()").stdout for _ in range(3)}) == 3


def test_who_reads_sees_the_end_of_what_the_program_closed(forkserver: Forkserver) -> None:
    command = forkserver.command("program", "close")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], 20)
        goes_on = process.poll() is None
        assert forkserver.ask("exit", "4").returncode == 4  # another program ends meanwhile, and before it
        process.stdin.close()
        assert (bool(readable), process.stdout.read(), goes_on) == (True, b"", True)
        assert process.wait(20) == 0


def test_where_there_is_no_forkserver_any_more_the_command_runs_itself(ended: Forkserver) -> None:
    command = ended.command(*IN_ITS_PLACE)
    assert ended.socket.is_socket()
    done = subprocess.run(command, input="line\n", stdout=subprocess.PIPE, text=True, timeout=20, check=False)
    assert (done.stdout, done.returncode) == ("itself line\n", 5)


def test_a_forkserver_may_be_started_where_one_was(ended: Forkserver) -> None:
    again = Forkserver(ended.python, ended.socket.parents[1])
    try:
        assert again.ask("exit", "3").returncode == 3
    finally:
        again.end()
