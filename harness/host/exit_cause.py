"""How a program on a device ended, in words, and why."""

from __future__ import annotations

import signal
from dataclasses import dataclass


@dataclass(frozen=True)
class ExitCause:
    """Why a program ended unexpectedly; ``hint`` is what to do about it, "" where nothing is known."""

    found: str
    hint: str = ""


def describe_status(status: int | None) -> str:
    """Describe an exit status; name a signal, with what it usually means.

    Args:
        status: the exit status, a signal's number negated, or None where the connection ended first.
    """
    if status is None:
        return "the connection ended"
    if status >= 0:
        return f"exit status {status}"
    meanings = {
        signal.SIGKILL: "by the kernel when memory ran out, or by hand",
        signal.SIGALRM: "its own watchdog: an operation took longer than it was allowed",
        signal.SIGILL: "illegal instruction: the runtime needs a newer CPU",
        signal.SIGSEGV: "the runtime crashed",
        signal.SIGABRT: "the runtime gave up",
    }
    try:
        number = signal.Signals(-status)
    except ValueError:  # a real-time signal has no name; another board's may have none here
        return f"killed by signal {-status} (a signal)"
    return f"killed by {number.name} ({meanings.get(number, 'a signal')})"
