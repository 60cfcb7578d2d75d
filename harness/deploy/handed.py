"""Programs of ours that are handed to a device's Python, with their sources: no bundle has them."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..agent.wire import FrameError, read_head
from ..board import Board
from ..board.daemon_client import NOT_OURS
from ..errors import DaemonFailure, ProtocolError
from ..links import Channel, ChannelClosed, stderr_of
from ..protocol.asked import NOTHING

AGENT = Path(__file__).parents[1] / "agent"
# Makes modules of texts, and runs the last one: the program is no part of a bundle, and a C++ backend's has no Python.
LOADER = """
import json, sys, types
for name, text in json.loads(sys.argv[1]):
    module = sys.modules[name] = types.ModuleType(name)
    module.__package__ = name.rpartition(".")[0]
    exec(compile(text, "<hilgate " + name + ">", "exec"), module.__dict__)
module.main(sys.argv[2:])
"""
END_S = 1.0


def handed_script(board: Board, modules: Sequence[str], argument: str) -> str:
    """Build the shell script that runs a program with the board's Python, which finds only its standard library.

    Args:
        board: the board.
        modules: of harness.agent, in the order in which they import each other; the last one's main is called.
        argument: its one argument.
    """
    return script_for(board.facts.executable, modules, argument)


def script_for(executable: str, modules: Sequence[str], argument: str) -> str:
    """Build the same script for a device that is not locked: by the path of its Python."""
    texts = [(f"agent.{name}", source(name)) for name in modules]
    arguments = " ".join(shlex.quote(text) for text in (LOADER, json.dumps(texts), argument))
    without = " ".join(f"-u {name}" for name in NOT_OURS)
    return f"exec env {without} {shlex.quote(executable)} -I -S -B -c {arguments}"


def source(name: str) -> str:
    """Read the source of a module of harness.agent."""
    return AGENT.joinpath(*name.split(".")).with_suffix(".py").read_text(encoding="utf-8")


def read_header(channel: Channel, limit_s: float, where: str, what: str, *, skip: int = 0) -> dict[str, Any]:
    """Read one frame of such a program's, which has no payload; return its header, unchecked.

    Args:
        channel: the program.
        limit_s: how long it may take, in seconds.
        where: which cell and device it is, for errors.
        what: which program it is, for errors.
        skip: how many bytes a login shell may have printed before.

    Raises:
        ProtocolError: what came is no frame.
        DaemonFailure: the program ended, or did not answer in time.
        LinkLost: the connection dropped.
    """
    deadline = time.monotonic() + limit_s
    try:
        return read_head(lambda size: channel.receive(size, deadline), skip=skip, limits=NOTHING).header
    except FrameError as error:
        raise ProtocolError(f"{what} sent no frame", found=f"{error}; {stderr_of(channel)}", where=where) from error
    except (ChannelClosed, TimeoutError) as error:
        ended = "ended" if isinstance(error, ChannelClosed) else f"did not answer in {limit_s:.0f} s"
        channel.finish(END_S)  # all that it wrote to stderr is there then
        raise DaemonFailure(f"{what} {ended}", found=stderr_of(channel), where=where) from None
