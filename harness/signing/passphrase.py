"""Passphrases: asked for on a terminal or taken from the environment, and kept out of tracebacks.

A traceback shows source lines, and where somebody asks for it (pytest --showlocals, a debugger, an error tracker) the
variables of every function that an exception went through. So what handles a passphrase or a private key is decorated
with ``leaving_no_frames``: its exceptions begin at its caller.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..errors import InputError

PASSPHRASE_VARIABLE = "HILGATE_SIGNING_PASSPHRASE"  # noqa: S105  # its name
P = ParamSpec("P")
R = TypeVar("R")


def terminal_prompt(text: str = "Passphrase of the signing key: ") -> Callable[[], str] | None:
    """Return a function that asks on the terminal, without an echo; None where this process has none.

    It is the process's own terminal, not stdin: pytest replaces that, and a pipe may be connected to it. An answer that
    is the end of file is an InputError.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return None

    def ask() -> str:
        try:
            return getpass.getpass(text)
        except EOFError:
            what, hint = "no passphrase was given", "try again"
            raise InputError(what, wanted="a line on the terminal", found="its end", hint=hint) from None

    return ask


def take_variable(name: str) -> bytes | None:
    """Take a variable out of the environment: programs that are started from now on do not inherit it.

    The user's model code is among them. None where it is not set, or empty.
    """
    with contextlib.suppress(KeyError):
        return os.environb.pop(name.encode()) or None
    return None


def leaving_no_frames(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function's exceptions forget its frames, those below, and the exceptions that they came from."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # raised again below, as it is
            failure = error
        del args, kwargs  # a passphrase may be among them
        failure.__cause__ = failure.__context__ = None
        raise failure.with_traceback(None)

    return wrapper
