"""Running the programs of a build; where one fails, the error has the errors that it printed."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import BuildError
from ...host.leash import end_session, leashed

LIMIT_S = 1800.0
# How many lines are shown from the first error on: the last of a compiler's hundred errors would be of no use.
SHOWN_LINES = 15


def run(
    command: Sequence[str | Path], what: str, *, hint: str = "", environment: Mapping[str, str | None] | None = None
) -> str:
    """Run a program to its end and return its stdout.

    Args:
        command: the program and its arguments.
        what: what cannot be done where it fails, for errors.
        hint: what to do then.
        environment: changes to this process's environment; None removes a variable.

    Raises:
        BuildError: it does not exist, failed, or took too long; with the errors that it printed.
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
    """Run a program with all that it starts, which ends with it and with this process.

    Returns:
        Its exit status, stdout and stderr.

    Raises:
        TimeoutExpired: it took longer than LIMIT_S.
    """
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
    """Return the lines from the first error on, or the last lines if there is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    first = next((index for index, line in enumerate(lines) if "error" in line.lower()), None)
    shown = lines[-SHOWN_LINES:] if first is None else lines[first : first + SHOWN_LINES]
    return "\n".join(line[:300] for line in shown)


def _shown(words: Sequence[str]) -> str:
    return shlex.join(words)[:300]
