"""A board over SSH: 256 MiB sent and verified there, against scp; and what that takes of the host's memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness.agent.facts import read_text
from harness.board.daemon_client import DaemonClient
from harness.board.upload import upload
from harness.host.cache import file_sha256

from .support.board import LoopbackBoard, loopback_board
from .support.interleave import Block, interleave, median_of
from .support.row import Aim, Options, Row, ratio_row

NEEDS = ("network", "sshd")

SIZE = 256 << 20
ROUNDS = 6
RATE_AIM = Aim(float("inf"), low=1.0)
MEMORY_AIM = Aim(16.0)
MIB = 1 << 20


def run(options: Options) -> Iterator[Row]:
    """Compare the ciphers that the link would choose with and without AES instructions, and scp as it is installed."""
    with loopback_board() as loopback:
        path = loopback.control.parent / "data"
        path.write_bytes(np.random.default_rng(0).bytes(SIZE))
        files = {file_sha256(path): (path, SIZE)}
        couriers = {aes: _courier(loopback, aes) for aes in (True, False)}

        def own(aes: bool) -> Block:
            start = time.perf_counter_ns()
            upload(couriers[aes], loopback.prepared.board.store, files, lambda done, total: None)
            seconds = time.perf_counter_ns() - start
            for sha256 in files:
                Path(loopback.prepared.board.store, "incoming", sha256).unlink()
            return [seconds]

        def scp() -> Block:
            start = time.perf_counter_ns()
            loopback.command(["scp", "-q", *loopback.ssh_options, str(path), f"{loopback.server.user}:data"])
            return [time.perf_counter_ns() - start]

        with _PeakGrowth() as grown:
            gcm, ctr, other = interleave(ROUNDS, lambda: own(True), lambda: own(False), scp)
        for daemon in couriers.values():
            daemon.close()
    against = f"scp, its own cipher, unverified: {_rate(other):.0f} MiB/s"
    for name, blocks in (("AES-GCM (AES in hardware)", gcm), ("AES-CTR (without)", ctr)):
        what = f"256 MiB sent and verified, {name}"
        yield Row(what, _rate(blocks), "MiB/s", against)
        aim = RATE_AIM if blocks is gcm else None
        yield ratio_row(what, other, blocks, against, aim)  # rates: the times', the other way round
    yield Row(
        "what that added to the host's memory", grown[0] / 1024, "MiB", "one file of 256 MiB, streamed", MEMORY_AIM
    )


def _courier(loopback: LoopbackBoard, aes: bool) -> DaemonClient:
    link = type(loopback.prepared.board.link)(loopback.prepared.board.device)
    link.learn(loopback.prepared.board.facts.model_copy(update={"features": ("aes",) if aes else ()}))
    return DaemonClient.start(link, loopback.prepared.board.device, bulk=True)


def _rate(blocks: list[Block]) -> float:
    return SIZE / MIB / (median_of(blocks) / 1e9)


class _PeakGrowth:
    """How much this process's resident set grew at most, in KiB, while the block ran."""

    def __enter__(self) -> list[float]:
        self.grown = [0.0]
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self.grown

    def _watch(self) -> None:
        before = _resident_kib()
        while not self.stop.wait(0.01):
            self.grown[0] = max(self.grown[0], _resident_kib() - before)

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def _resident_kib() -> float:
    return int(read_text("/proc/self/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
