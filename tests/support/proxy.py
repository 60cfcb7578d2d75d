"""A TCP proxy that misbehaves when told to: it cuts, stalls, slows down, garbles and refuses."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import termios
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

Direction = Literal["up", "down"]

HOST = "127.0.0.1"
CHUNK = 1 << 16
# A slow way is paced in steps of this length, so that a change of speed is soon felt.
STEP_SECONDS = 0.02
CALL_SECONDS = 10.0
# Closing a socket that does not linger sends a reset, and drops what was not sent.
RESET = struct.pack("ii", 1, 0)


@dataclass
class _Way:
    """One direction, of all connections together."""

    passed: int = 0
    cut_at: int | None = None

    def room(self, wanted: int) -> int:
        """How many bytes may still pass before the cut."""
        return wanted if self.cut_at is None else min(wanted, self.cut_at - self.passed)


class FlakyProxy:
    """A context manager: connections to its `port` are passed on to the target's, both on this machine.

    `up` is towards the target. Between the ends are the kernel's buffers: a sender is some megabytes ahead of what a
    stalled or slow proxy has passed on. Every method takes effect before it returns and may be called from any thread.
    """

    host = HOST

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = (HOST, target)
        self._ways: dict[Direction, _Way] = {"up": _Way(), "down": _Way()}
        self._rate: float | None = None
        self._garbling = False
        self._connections: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._cutting: asyncio.Task[None] | None = None

    def __enter__(self) -> FlakyProxy:
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._bound = self._bind()
        self._thread = threading.Thread(target=self._loop.run_forever, name="flaky-proxy", daemon=True)
        self._thread.start()
        self.accept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def bytes_up(self) -> int:
        """How many bytes have gone to the target."""
        return self._ways["up"].passed

    @property
    def bytes_down(self) -> int:
        """How many bytes have come from the target."""
        return self._ways["down"].passed

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._connections)

    def cut(self) -> None:
        """Reset all connections, on both sides. New ones are welcome."""
        self._call(self._cut())

    def drop_after(self, count: int, direction: Direction = "up") -> None:
        """Cut, once, when so many more bytes have arrived on the far side, and not one more."""
        way = self._ways[direction]
        self._do(lambda: setattr(way, "cut_at", way.passed + count))

    def stall(self) -> None:
        """Become a black hole: connect and take bytes, as many as the buffers hold, but pass nothing on."""
        self._do(self._flowing.clear)

    def resume(self) -> None:
        """Pass on again, first what came meanwhile."""
        self._do(self._flowing.set)

    def slow(self, bytes_per_second: float | None) -> None:
        """Pass on at most so much in each direction of each connection; None: as fast as it goes."""
        if bytes_per_second is not None and bytes_per_second <= 0:
            raise ValueError(f"bytes_per_second is {bytes_per_second}; to stop the flow there is stall()")
        self._do(lambda: setattr(self, "_rate", bytes_per_second))

    def garble(self, whether: bool) -> None:
        """Pass on other bytes than came, of the same number."""
        self._do(lambda: setattr(self, "_garbling", whether))

    def refuse(self) -> None:
        """Refuse new connections; the present ones stay."""
        self._call(self._refuse())

    def accept(self) -> None:
        """Accept connections again, on the same port."""
        self._call(self._accept())

    # The calling thread's side

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)

    def _do(self, action: Callable[[], None]) -> None:
        async def work() -> None:
            action()

        self._call(work())

    # The loop's side

    def _bind(self) -> socket.socket:
        """Bind the port without listening: connections are refused, and no other program can take it."""
        bound = socket.socket()
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, self.port))
        self.port = bound.getsockname()[1]
        return bound

    async def _accept(self) -> None:
        if self._accepting is None:
            self._bound.listen(128)
            self._accepting = self._loop.create_task(self._accept_all(self._bound))

    async def _refuse(self) -> None:
        if self._accepting is not None:
            await _cancel(self._accepting)
            self._accepting = None
            self._bound.close()
            self._bound = self._bind()

    async def _close(self) -> None:
        if self._accepting is not None:
            await _cancel(self._accepting)
        self._bound.close()
        await self._cut()
        if self._cutting is not None:
            await self._cutting

    async def _cut(self) -> None:
        for way in self._ways.values():
            way.cut_at = None
        await _cancel(*self._connections)

    async def _accept_all(self, listening: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listening)
            task = self._loop.create_task(self._connect(client))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _connect(self, client: socket.socket) -> None:
        """One connection, to its end. It ends by a reset, unless both sides have finished in order."""
        board = socket.socket()
        ordered = False
        try:
            for end in (client, board):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._flowing.wait()
            await self._loop.sock_connect(board, self._target)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(client, board, self._ways["up"]))
                both.create_task(self._pass_on(board, client, self._ways["down"]))
            ordered = True
        except* OSError:
            pass  # one end has gone: the other one hears of it by the reset
        finally:
            for end in (client, board):
                if not ordered:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.close()

    async def _pass_on(self, source: socket.socket, sink: socket.socket, way: _Way) -> None:
        while data := memoryview(await self._loop.sock_recv(source, CHUNK)):
            while data:  # in parts, as it may have been read before the proxy was told to be slow
                await self._flowing.wait()
                part = data[: way.room(self._step())]
                data = data[len(part) :]
                await self._pass_part(part, sink, way)
        await self._flowing.wait()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    async def _pass_part(self, part: memoryview, sink: socket.socket, way: _Way) -> None:
        way.passed += len(part)  # before the first await: other connections share the count
        await self._loop.sock_sendall(sink, os.urandom(len(part)) if self._garbling else part)
        if way.passed == way.cut_at:
            await self._arrived(sink)
            # Not from here: the cut waits for the end of this very task.
            self._cutting = self._loop.create_task(self._cut())
            await asyncio.Event().wait()
        if self._rate is not None:
            await asyncio.sleep(len(part) / self._rate)

    def _step(self) -> int:
        return CHUNK if self._rate is None else max(1, min(CHUNK, int(self._rate * STEP_SECONDS)))

    async def _arrived(self, sink: socket.socket) -> None:
        """Wait, not for ever, until the other side's kernel has it all: a reset takes back what is on its way."""
        for _ in range(1000):
            if not struct.unpack("i", fcntl.ioctl(sink, termios.TIOCOUTQ, bytes(4)))[0]:
                return
            await asyncio.sleep(0.001)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
