"""Dropping what a start reads from a device's page cache, so that the next process starts as after power-on."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from ..agent.wire import FrameError, read_head
from ..board import Board
from ..board.daemon_client import NOT_OURS
from ..bundle import Bundle
from ..errors import DaemonFailure, ImpossibleReport, LinkLost, ProtocolError
from ..links import GREETING_ALLOWED, Channel, ChannelClosed, stderr_of
from ..protocol import Answer, parse
from ..protocol.asked import NOTHING
from ..protocol.page_cache import Dropped, DropRefusal, Seen
from . import plausibility
from .deployer import Deployer

A = TypeVar("A", bound=Answer)

AGENT = Path(__file__).parents[1] / "agent"
# The program's modules, in the order in which they import each other.
MODULES = ("wire", "cold.residency", "cold.mappings", "cold.page_cache")
# Makes modules of texts, and runs the last one: the program is no part of a bundle, and a C++ backend's has no Python.
LOADER = """
import json, sys, types
for name, text in json.loads(sys.argv[1]):
    module = sys.modules[name] = types.ModuleType(name)
    module.__package__ = name.rpartition(".")[0]
    exec(compile(text, "<hilgate " + name + ">", "exec"), module.__dict__)
module.main(sys.argv[2:])
"""
START_S = 60.0
# Tens of thousands of small files of an environment, their folders read from a slow card.
DROP_S = 300.0
END_S = 1.0
OPERATION = "drop the page cache"


@dataclass(frozen=True, kw_only=True)
class Dropper:
    """The program on the device, beside a cell's process. Made by ``start``; ended by ``drop``, or by ``close``.

    Attributes:
        deployer: the cell's.
        channel: the program.
        where: which cell and device it is, for errors.
        read_bytes: what the process has had read from disks since its start; None where the device does not know.
    """

    deployer: Deployer
    channel: Channel
    where: str
    read_bytes: int | None

    @classmethod
    def start(cls, deployer: Deployer) -> Self:
        """Start the program beside a cell's process, at which it looks; the process is loaded if none is.

        Raises:
            DaemonFailure: it cannot be run there, or is not shown what the process has mapped.
            ProtocolError: what it answers is no answer.
            DeploymentError: the process cannot be loaded.
            LinkError: the device cannot be reached.
        """
        deployment, _ = deployer.shared()
        board, where = deployer.board, deployment.where
        script = _script(board, deployer.bundle, deployment.hello.pid)
        channel = board.lease.retry(lambda: board.link.start(script))
        try:
            answer = _read(channel, Seen, START_S, where, skip=GREETING_ALLOWED)
            if not answer.seen:
                what, found = "which files the model's process maps is hidden", "nothing in /proc/PID/smaps"
                raise DaemonFailure(what, found=found, where=where)
        except BaseException:
            _finish(channel)
            raise
        return cls(deployer=deployer, channel=channel, where=where, read_bytes=answer.read_bytes)

    def drop(self) -> Dropped:
        """End the cell's process, and drop what it and its like read from the device's page cache.

        That is artifact, runtime and agent as they lie in the store; whatever else the process has mapped; and of an
        agent in Python the modules of the standard library, and of an environment. It takes no root (posix_fadvise(2)).

        Raises:
            DaemonFailure: it cannot be done there.
            ProtocolError, ImpossibleReport: the device's report is none, or cannot be true.
            LinkLost: the connection dropped.
        """
        self.deployer.close()
        try:
            with contextlib.suppress(ChannelClosed):  # why is read next
                self.channel.send(b"\n", time.monotonic() + START_S)
            report = _read(self.channel, Dropped, DROP_S, self.where)
        finally:
            self.close()
        artifact_bytes = sum(file.bytes for file in self.deployer.bundle.artifact.values())
        if impossible := plausibility.why_dropped_impossible(report, artifact_bytes):
            raise ImpossibleReport(impossible, where=self.where)
        return report

    def close(self) -> None:
        """End the program; unless it was told to, it drops nothing. Never raises."""
        _finish(self.channel)


def _finish(channel: Channel) -> None:
    with contextlib.suppress(LinkLost):
        channel.finish(END_S)


def _script(board: Board, bundle: Bundle, pid: int) -> str:
    """Build the shell script that runs the program with the board's Python, which finds only its standard library."""
    folder = f"{board.store}/{bundle.name}"
    packages: list[str] = []
    if not bundle.runtime.wheels and bundle.runtime.runner is None:  # they lie where they are installed
        places = (board.facts.folders.get(name) for name in bundle.runtime.packages)
        packages += dict.fromkeys(filter(None, places))
    asked = {
        "folders": [folder, f"{folder}/artifact", f"{folder}/runtime"],
        "packages": packages,
        "standard_library": bundle.runtime.runner is None,
        "pid": pid,
    }
    texts = [(f"agent.{name}", _source(name)) for name in MODULES]
    arguments = " ".join(shlex.quote(text) for text in (LOADER, json.dumps(texts), json.dumps(asked)))
    without = " ".join(f"-u {name}" for name in NOT_OURS)
    return f"exec env {without} {shlex.quote(board.facts.executable)} -I -S -B -c {arguments}"


def _source(name: str) -> str:
    return AGENT.joinpath(*name.split(".")).with_suffix(".py").read_text(encoding="utf-8")


def _read(channel: Channel, schema: type[A], limit_s: float, where: str, *, skip: int = 0) -> A:
    """Read one frame of the program's.

    Raises:
        ProtocolError: what came is none, or has another schema.
        DaemonFailure: the program refused, ended, or did not answer in time.
        LinkLost: the connection dropped.
    """
    deadline = time.monotonic() + limit_s
    what = "the program that drops the page cache"
    try:
        header = read_head(lambda size: channel.receive(size, deadline), skip=skip, limits=NOTHING).header
    except FrameError as error:
        raise ProtocolError(f"{what} sent no frame", found=f"{error}; {stderr_of(channel)}", where=where) from error
    except (ChannelClosed, TimeoutError) as error:
        ended = "ended" if isinstance(error, ChannelClosed) else f"did not answer in {limit_s:.0f} s"
        channel.finish(END_S)  # all that it wrote to stderr is there then
        raise DaemonFailure(f"{what} {ended}", found=stderr_of(channel), where=where) from None
    if "error" in header:
        refusal = parse(DropRefusal, header, to=OPERATION, where=where)
        raise DaemonFailure(f"{what} failed", found=refusal.error, where=where)
    return parse(schema, header, to=OPERATION, where=where)
