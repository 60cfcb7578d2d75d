"""Starts the proxy as a process of its own, which ends with the agent's; see proxy.

Not by subprocess: importing that would count in the memory of the client that is measured.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..remote.tunnel import Proxy

STARTED_S = 60.0
# The folder of the agent goes behind the standard library's; nothing else of it is imported.
PROGRAM = "import sys; sys.path.append(sys.argv[1]); from network.proxy import main; main()"


class Running:
    """A proxy's process.

    Attributes:
        place: where clients reach it.
    """

    def __init__(self, rules: dict[str, Any], traces: Mapping[str, memoryview] = MappingProxyType({})) -> None:
        """Start it.

        Args:
            rules: "up", "down" and "outages"; see proxy.
            traces: of "up" or "down", 32-bit integers. They go as they are: as a list they would count in the memory of
                the client that is measured.

        Raises:
            RuntimeError: it does not begin.
        """
        token = os.urandom(16).hex()
        ours, theirs = os.pipe(), os.pipe()
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        words = [sys.executable, "-I", "-S", "-B", "-c", PROGRAM, folder]
        actions = [(os.POSIX_SPAWN_DUP2, ours[0], 0), (os.POSIX_SPAWN_DUP2, theirs[1], 1)]
        try:
            self.pid = os.posix_spawn(sys.executable, words, os.environ, file_actions=actions)
        finally:
            os.close(ours[0])
            os.close(theirs[1])
        self._stdin = ours[1]
        try:
            sizes = {name: trace.nbytes for name, trace in traces.items()}
            self._send(memoryview(json.dumps({**rules, "traces": sizes, "token": token}).encode() + b"\n"))
            for trace in traces.values():
                self._send(trace.cast("B"))
            said = self._read(theirs[0])
        except BaseException:
            self.close()
            raise
        finally:
            os.close(theirs[0])
        self.place = Proxy(int(said), token)

    def close(self) -> None:
        """End it, and wait for its end."""
        os.close(self._stdin)
        os.kill(self.pid, signal.SIGKILL)  # it has nothing to lose
        os.waitpid(self.pid, 0)

    def _send(self, view: memoryview) -> None:
        try:
            while view:
                view = view[os.write(self._stdin, view) :]
        except BrokenPipeError:
            raise RuntimeError("the proxy that is to shape the network ended as it was started") from None

    def _read(self, source: int) -> str:
        poll = select.poll()
        poll.register(source, select.POLLIN)
        said = os.read(source, 64) if poll.poll(STARTED_S * 1000) else b""
        if not said.endswith(b"\n"):
            raise RuntimeError(f"the proxy that is to shape the network did not begin: it said {said!r}")
        return said.decode("ascii").strip()
