"""What is said of memory, where an agent is made from a forkserver: as much as of one that started by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.board import Board

from .emulated import Digits, guest, opened

pytestmark = pytest.mark.slow

INFERENCES = 8
# How much the memory of one program differs between its processes, where the kernel maps more or less of a file at
# once: an interpreter alone had 30.7 to 32.7 MiB here.
MAPPED_KIB = 4096
FORKSERVER = "agent.forkserver_agent"


def measured(digits: Digits) -> tuple[dict[str, int], str]:
    """A fresh agent's memory after each step and its peak in the end, in KiB; and the command of who started it."""
    live, load = digits.deployer.fresh()
    for _ in range(INFERENCES):
        digits.answer()
    found = {**load.memory_kib, "peak": live.memory_kib()["peak"]}
    return found, parent(digits.board, live.hello.pid)


def parent(board: Board, pid: int) -> str:
    return guest(board, f"ps -o args= -p $(ps -o ppid= -p {pid})")


@pytest.mark.parametrize("backend", ["torchscript", "onnxruntime"])
def test_it_is_the_same_with_a_forkserver_and_without_at_every_step(users_cache: Path, backend: str) -> None:
    with opened() as board:
        digits = Digits(board, backend)
        warm, who = measured(digits)
        assert FORKSERVER in who
        guest(board, f"pkill -9 -f {FORKSERVER}")
        cold, who = measured(digits)
        assert FORKSERVER not in who
        assert set(warm) == {"before_runtime", "runtime", "model", "first", "peak"}
        assert warm == pytest.approx(cold, rel=0.05, abs=MAPPED_KIB)
