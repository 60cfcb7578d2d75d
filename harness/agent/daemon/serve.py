"""The daemon's process: requests in on stdin, replies out on stdout, as frames (see wire).

A request's header names the operation ("op", see Operations); a reply holds what that returns, or "error" (and "errno",
"path") where it raised. The process ends when the host goes, or when nothing was heard of the host for a while: the
host sends something every few seconds, and a device must not stay locked by a host that is gone without a word.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from ..private import NotOurs
from . import trial
from .folders import free_bytes
from .host import SILENCE_S, Gone, Host, Silent
from .operations import Operations

# How often the host is told that an operation is still being worked on.
SIGN_OF_LIFE_S = 2.0


def serve(host: Host, operations: Operations, sign_of_life_s: float = SIGN_OF_LIFE_S) -> None:
    """Answer requests until the host goes.

    The files of an upload are not answered one by one: the reply to "done" says which of them arrived wrong.

    Args:
        host: the connection to it.
        operations: carries the requests out.
        sign_of_life_s: how often the host is told that an operation is still being worked on.

    Raises:
        Gone: the host closed its end.
        Silent: nothing was heard of it for too long.
    """
    while True:
        request = host.receive()
        header = dict(request.header)
        operation = header.pop("op", "")
        try:
            if operation == "file" and operations.receiver is not None:
                operations.receiver.file(header, request.payload_size, host.read_into)
                continue
            if request.payload_size:
                content = memoryview(bytearray(request.payload_size))
                host.read_into(content)
                header["content"] = content
            work = partial(getattr(operations, f"op_{operation}"), **header)
            result = _work(host, work, sign_of_life_s)
        except (Gone, Silent):
            raise
        except Exception as error:  # noqa: BLE001  # the host's to judge
            host.send(_refusal(error, operations.root))
            if operation == "file":
                return  # what follows can no longer be told apart
            continue
        reply, payload = result if isinstance(result, tuple) else (result, b"")
        host.send(reply, payload)


def _work(host: Host, work: Callable[[], Any], sign_of_life_s: float) -> Any:
    """Do some work and return its result; meanwhile show the host every few seconds that the board lives."""
    done: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except Exception as error:  # noqa: BLE001  # raised again below
            done.put((None, error))

    threading.Thread(target=run, name="work", daemon=True).start()
    while True:
        with contextlib.suppress(queue.Empty):
            result, error = done.get(timeout=sign_of_life_s)
            if error is not None:
                raise error
            return result
        host.send({"working": True})


def _refusal(error: Exception, root: str) -> dict[str, Any]:
    refusal: dict[str, Any] = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc(limit=-6)}
    if isinstance(error, OSError):
        path = str(error.filename or root)  # what is written through a descriptor has no name
        refusal.update(errno=error.errno, path=path, free_bytes=free_bytes(path) if path.startswith("/") else None)
        refusal["no_home"] = isinstance(error, trial.NoHome)
        if isinstance(error, NotOurs):
            refusal.update(repair=error.repair, wanted=error.wanted)
    return refusal


def main(silence_s: float = SILENCE_S, sign_of_life_s: float = SIGN_OF_LIFE_S) -> None:
    """Greet the host, then serve it until it goes.

    The arguments come with the sources, from the host alone: no environment variable and no file of the board's, which
    its other users might set, has a say in them.

    Args:
        silence_s: after how many seconds without a word the host is taken for gone.
        sign_of_life_s: how often it is told that an operation is still being worked on.
    """
    os.umask(0o077)
    operations = Operations()
    try:
        host = Host.from_stdio(silence_s)
        host.send({"hello": "hilgate-daemon", "python": platform.python_version(), "executable": sys.executable})
        serve(host, operations, sign_of_life_s)
    except Gone:
        pass
    except Silent:
        print(f"daemon: nothing was heard of the host for {silence_s:g} s: ending", file=sys.stderr)
    finally:
        operations.close()
