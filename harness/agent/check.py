"""The release's own check: ``python -B -m agent.check RELEASE``, from the release's folder; exit status 0, 1, or 2.

It compares this board with the one that the evidence is of, loads the model as it was loaded then, compares its answers
with the reference's (see check_file), and times it. A line on stdout says what each step found, and the last one is
``check: PASS`` or ``check: FAIL: …``; what libraries print goes to stderr. That the release's files are what they were
is for the script `run` to verify, before this is started; here everything that is read may be wrong.

The check runs in a process of its own, which this one watches: one that crashes, hangs, or ends by itself has failed,
and never passes by its exit status. harness/runners/src/check.cpp does the same for a C++ backend.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn, Optional

from . import illegal
from .check_file import Plan, read_plan
from .check_json import CheckFailed

PASS, FAIL = "PASS", "FAIL: "
PR_SET_PDEATHSIG = 1
# Beside the timing: until the runtime is imported and the model loaded from a slow card.
GRACE_S = 60.0
# In UTF-8 a pipe takes it at once.
MOST_REASON = 1000
POLL_S = 0.2
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Ended(Exception):
    """A signal came."""


def _end(number: int, _: Any) -> None:
    raise _Ended(f"ended by {signal.Signals(number).name}")


def _print(sink: int, text: str) -> None:
    """Write a line; whatever a board or a library says of itself stays in it.

    Raises:
        OSError: nobody takes it.
    """
    plain = "".join(char if char.isprintable() else " " for char in text)
    left = f"check: {plain}\n".encode("utf-8", "replace")
    while left:
        left = left[os.write(sink, left) :]


def main(argv: Optional[Sequence[str]] = None) -> int:  # noqa: UP045  # Python 3.9
    """Check the release that the command line names; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) != 1 or words[0].startswith("-"):
        with contextlib.suppress(OSError):
            os.write(2, b"usage: python -B -m agent.check RELEASE\n")
        return 2
    try:
        sink = _take_stdout()
        verdict = _verdict(os.path.abspath(words[0]), sink)
        _print(sink, verdict)
    except (OSError, _Ended):  # stdout is closed, or full: a verdict that nobody reads is none
        return 1
    return 0 if verdict == PASS else 1


def _take_stdout() -> int:
    """Return what is stdout; what libraries print goes to stderr from here on, and stdin has nothing for them."""
    sink = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)  # not in the place of one that is closed
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # stderr is closed
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
    return sink


def _verdict(release: str, sink: int) -> str:
    for number in SIGNALS:
        signal.signal(number, _end)
    try:
        plan = read_plan(release)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _check_and_exit(release, plan, sink, writing)
        os.close(writing)
        return _watch(child, reading, GRACE_S + plan.most_s)
    except (CheckFailed, _Ended, OSError) as reason:
        return _failed(str(reason))


def _failed(reason: str) -> str:
    return FAIL + " ".join(reason.split())[:MOST_REASON]


def _check_and_exit(release: str, plan: Plan, sink: int, verdict: int) -> NoReturn:
    """Check, in the child; hand the verdict over, and end without the libraries' own clean-up."""
    try:
        os.write(verdict, _checked(release, plan, sink).encode("utf-8", "replace") + b"\n")  # the pipe takes it at once
    finally:
        os._exit(0)  # which says nothing


def _checked(release: str, plan: Plan, sink: int) -> str:
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        with contextlib.suppress(Exception):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        illegal.install_handler()
        from .check_steps import Check  # numpy, in this process alone

        Check(release, plan, lambda text: _print(sink, text)).run()
    except CheckFailed as reason:
        return _failed(str(reason))
    except ImportError as error:
        wanted = ", ".join(f"{name} {version}" for name, version in plan.packages.items())
        return _failed(f"{error}; Python: {sys.executable}; wanted in its environment: {wanted or 'nothing more'}")
    except BaseException as error:  # noqa: BLE001  # whatever a runtime raises, and be it SystemExit
        return _failed(f"{type(error).__name__}: {error}")
    return PASS


def _watch(child: int, reading: int, limit_s: float) -> str:
    """Wait for the child's verdict, or its end; end it in any case."""
    deadline = time.monotonic() + limit_s
    status: Optional[int] = None  # noqa: UP045
    is_open = True
    try:
        while status is None and time.monotonic() < deadline:
            if not is_open:  # it is about to end
                time.sleep(POLL_S)
            elif select.select([reading], [], [], POLL_S)[0]:
                if said := os.read(reading, 8 * MOST_REASON):
                    return said.decode("utf-8", "replace").rstrip("\n")
                is_open = False
            ended, found = os.waitpid(child, os.WNOHANG)
            status = found if ended else None
    finally:
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if status is None:
        return _failed(f"it did not end within {limit_s:g} s")
    return _failed(f"the process that ran the model {_end_in_words(status)}")


def _end_in_words(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended by itself, with status {os.WEXITSTATUS(status)}, before it was done"


if __name__ == "__main__":
    sys.exit(main())
