"""Dropping what a start reads from a device's page cache, so that the next process starts as after power-on."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from typing import Self, TypeVar

from ..board import Board
from ..bundle import Bundle
from ..errors import DaemonFailure, ImpossibleReport, LinkLost
from ..links import GREETING_ALLOWED, Channel, ChannelClosed
from ..protocol import Answer, parse
from ..protocol.page_cache import Dropped, DropRefusal, Seen
from . import plausibility
from .deployer import Deployer
from .handed import END_S, handed_script, read_header

A = TypeVar("A", bound=Answer)

# The program's modules, in the order in which they import each other.
MODULES = ("wire", "cold.residency", "cold.mappings", "cold.page_cache")
START_S = 60.0
# Tens of thousands of small files of an environment, their folders read from a slow card.
DROP_S = 300.0
OPERATION = "drop the page cache"
WHAT = "the program that drops the page cache"


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
    return handed_script(board, MODULES, json.dumps(asked))


def _read(channel: Channel, schema: type[A], limit_s: float, where: str, *, skip: int = 0) -> A:
    """Read one frame of the program's.

    Raises:
        ProtocolError: what came is none, or has another schema.
        DaemonFailure: the program refused, ended, or did not answer in time.
        LinkLost: the connection dropped.
    """
    header = read_header(channel, limit_s, where, WHAT, skip=skip)
    if "error" in header:
        refusal = parse(DropRefusal, header, to=OPERATION, where=where)
        raise DaemonFailure(f"{WHAT} failed", found=refusal.error, where=where)
    return parse(schema, header, to=OPERATION, where=where)
