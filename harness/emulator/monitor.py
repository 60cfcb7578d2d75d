"""QEMU's monitor (QMP), through QEMU's own client library, which is asynchronous: it has a thread to itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Coroutine
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Self

from qemu.qmp import EventListener, QMPClient, QMPError

from ..errors import EmulatorError

# QEMU answers at once, unless the host is badly overloaded.
ANSWER_S = 30.0
# The library logs what it raises, too: without a handler Python would print it.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


class Monitor:
    """A connection to one QEMU's monitor. Made by ``connect``; a call runs a command."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make a client that is not connected yet."""
        self._loop = loop
        self._thread = threading.Thread(target=loop.run_forever, name="qemu-monitor", daemon=True)
        self._client = QMPClient("hilgate")

    @classmethod
    def connect(cls, connected: socket.socket) -> Self:
        """Exchange greetings with QEMU, in a thread that runs from now on.

        Args:
            connected: a socket whose other end is QEMU's monitor.

        Raises:
            EmulatorError: it does not answer, or ended.
        """
        monitor = cls(asyncio.new_event_loop())
        monitor._thread.start()
        try:
            monitor._wait(monitor._client.connect(connected), "the greeting", ANSWER_S)
        except BaseException:
            monitor.close()
            raise
        return monitor

    def __call__(self, command: str, *, timeout_s: float = ANSWER_S, **arguments: Any) -> Any:
        """Run a command of QMP's, and return what it returns.

        Args:
            command: its name.
            timeout_s: how long to wait for the answer.
            **arguments: the command's own; underscores in their names stand for dashes.

        Raises:
            EmulatorError: QEMU refused it, ended, or did not answer.
        """
        if self._loop.is_closed():
            raise EmulatorError("QEMU's monitor was let go of", wanted=command)
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return self._wait(self._client.execute(command, named), command, timeout_s)

    def after(self, command: str, event: str, timeout_s: float, **arguments: Any) -> None:
        """Run a command, and wait for the event that it leads to.

        Args:
            command: its name.
            event: the event's name.
            timeout_s: how long to wait for both.
            **arguments: the command's own; underscores in their names stand for dashes.

        Raises:
            EmulatorError: QEMU refused it, ended, or did not answer, or the event did not come.
        """

        async def both() -> None:
            with self._client.listener(event) as listener:
                named = {name.replace("_", "-"): value for name, value in arguments.items()}
                await self._client.execute(command, named)
                await _first(listener)

        self._wait(both(), f"{command} ({event})", timeout_s)

    def close(self) -> None:
        """Hang up. Never raises, and may be called twice."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(Exception):
            self._wait(self._client.disconnect(), "the end", 2.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, Any], what: str, timeout_s: float) -> Any:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except FutureTimeoutError:
            future.cancel()
            raise EmulatorError("QEMU's monitor does not answer", wanted=f"{what} within {timeout_s:g} s") from None
        except (QMPError, EOFError, OSError, asyncio.CancelledError) as error:
            found = f"{type(error).__name__}: {error}".rstrip(": ")
            raise EmulatorError("QEMU's monitor refused, or is gone", wanted=what, found=found) from error


async def _first(listener: EventListener) -> None:
    await listener.get()
