"""The local link's processes: how they end, and what of theirs ends with them."""

from __future__ import annotations

import os
import resource
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.agent.orphans import identity
from harness.board.daemon_client import DaemonClient
from harness.device.device import Device
from harness.links import ChannelClosed
from harness.links.local import Link, Process
from harness.protocol.daemon import Facts

Start = Callable[[str], Process]

CHILD = """
    import os, subprocess, sys
    child = subprocess.Popen(["sleep", "60"], start_new_session={new_session})
    os.write(1, str(child.pid).encode().ljust(8))
    sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a Python program; ends them all."""
    started: list[Process] = []

    def start(program: str) -> Process:
        started.append(Process.start([sys.executable, "-c", textwrap.dedent(program)], str(tmp_path)))
        return started[-1]

    yield start
    for process in started:
        process.finish(0)


def soon() -> float:
    return time.monotonic() + 20


def living(pid: int) -> bool:
    """Whether a process runs; for as long as it may take a killed one to be gone."""
    for _ in range(100):
        found = identity(pid)
        if found is None or found[2] in "ZX":
            return False
        time.sleep(0.01)
    return True


def test_one_that_ends_by_itself_is_let_to(start: Start) -> None:
    process = start("import sys, time; sys.stdin.read(); time.sleep(0.3); sys.exit('the last words')")
    assert process.finish(20) == 1
    assert process.stderr_tail() == "the last words\n"
    assert process.finish(20) == 1


def test_one_that_does_not_end_is_killed(start: Start) -> None:
    process = start("import time; print('x', flush=True); time.sleep(60)")
    process.receive(1, soon())
    assert process.finish(0.1) == -signal.SIGKILL


def test_its_children_end_with_it(start: Start) -> None:
    process = start(CHILD.format(new_session=False))
    child = int(process.receive(8, soon()))
    assert process.finish(20) == 0
    assert not living(child)


def test_a_child_that_has_left_its_group_and_holds_stderr_is_not_waited_for(start: Start) -> None:
    process = start(CHILD.format(new_session=True))
    child = int(process.receive(8, soon()))
    try:
        begin = time.monotonic()
        assert process.finish(20) == 0
        assert time.monotonic() - begin < 0.8
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """As many as this user may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_its_descriptors_may_have_any_number(start: Start) -> None:
    held = [os.dup(1) for _ in range(1100)]  # select() knows none above 1023
    try:
        process = start("import os; os.write(1, os.read(0, 3)); os.close(1); os.read(0, 1)")
        process.send(b"abc", soon())
        assert process.receive(3, soon()) == b"abc"
        with pytest.raises(ChannelClosed):
            process.receive(1, soon())
        process.finish(20)
    finally:
        for descriptor in held:
            os.close(descriptor)


def test_nothing_to_read_is_a_timeout(start: Start) -> None:
    process = start("import sys; sys.stdin.read()")
    with pytest.raises(TimeoutError):
        process.receive(1, time.monotonic() + 0.1)


def test_a_greeting_in_any_encoding_does_not_stop_the_daemon(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_bytes(b'#!/bin/sh\necho "gr\xfc\xdfe"\nexec "%b" "$@"\n' % os.fsencode(sys.executable))
    python.chmod(0o755)
    device = Device(name="d", path=Path("d.toml"), description="a board", link="local", backends=("onnxruntime",))
    link = Link(device)
    link.python = str(python)
    daemon = DaemonClient.start(link, device)
    assert daemon.request(Facts, packages=["numpy"]).packages["numpy"]
    daemon.close()
