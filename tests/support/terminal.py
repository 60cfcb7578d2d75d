"""A program on a terminal of its own, whose questions are answered as a person does."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 60


def on_terminal(
    command: Sequence[str], answers: Sequence[tuple[str, str]], *, folder: Path, environment: Mapping[str, str]
) -> tuple[int, str]:
    """Run a program in a session with a terminal; returns its exit status, and all that was to be seen.

    Args:
        command: the program and its arguments.
        answers: (what is waited for, what is typed then, without the return key) in order.
        folder: where it runs.
        environment: its variables.
    """
    child, terminal = pty.fork()
    if child == 0:
        try:
            os.chdir(folder)
            os.execve(command[0], list(command), dict(environment))  # noqa: S606
        finally:
            os._exit(127)
    try:
        return _answer(child, terminal, list(answers))
    finally:
        os.close(terminal)


def _answer(child: int, terminal: int, answers: list[tuple[str, str]]) -> tuple[int, str]:
    seen, since, ends = "", 0, time.monotonic() + SECONDS
    while time.monotonic() < ends:
        if answers and answers[0][0] in seen[since:]:
            since = len(seen)
            os.write(terminal, answers.pop(0)[1].encode() + b"\n")
        if select.select([terminal], [], [], 0.1)[0]:
            data = b""
            with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
                data = os.read(terminal, 1 << 16)
            if not data:
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen
            seen += data.decode("utf-8", "replace")
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise TimeoutError(f"it did not end in {SECONDS} s: {seen}")
