"""Programs that a build starts: what they said, where they failed."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import BuildError
from ...host.leash import end_session, leashed

LIMIT_S = 1800.0
# What a compiler said last is of no use where the first error of a hundred is what counts.
SHOWN_LINES = 15


def run(
    command: Sequence[str | Path], what: str, *, hint: str = "", environment: Mapping[str, str | None] | None = None
) -> str:
    """Run a program to its end; returns its stdout.

    Args:
        what: what cannot be done where it fails.
        hint: what to do then.
        environment: beside this process's own; None takes a variable away.

    Raises:
        BuildError: it is not there, failed, or took too long; with the errors that it printed.
    """
    words = [str(word) for word in command]
    variables = {**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})}
    try:
        status, output, errors = _run(words, {name: value for name, value in variables.items() if value is not None})
    except subprocess.TimeoutExpired:
        found = f"it took more than {LIMIT_S:g} s and was ended"
        raise BuildError(what, found=found, where=_shown(words), hint=hint) from None
    if status:
        found = f"exit status {status}; it said:\n{_errors(output + errors)}"
        raise BuildError(what, found=found, where=_shown(words), hint=hint)
    return output


def _run(words: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
    """(exit status, stdout, stderr). Whatever it has started ends with it, and with us. Raises: TimeoutExpired."""
    process = subprocess.Popen(
        leashed(words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    )
    with process:
        try:
            output, errors = process.communicate(timeout=LIMIT_S)
        finally:
            end_session(process)
    return process.returncode, output, errors


def _errors(text: str) -> str:
    """The lines from the first error on; without one, the last ones."""
    lines = [line for line in text.splitlines() if line.strip()]
    first = next((index for index, line in enumerate(lines) if "error" in line.lower()), None)
    shown = lines[-SHOWN_LINES:] if first is None else lines[first : first + SHOWN_LINES]
    return "\n".join(line[:300] for line in shown)


def _shown(words: Sequence[str]) -> str:
    return shlex.join(words)[:300]
