"""A board over SSH: a call to the agent against a bare echo, and a bundle that is already there against rsync."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from harness.agent.frames import Array, encode
from harness.agent.wire import PREAMBLE
from harness.deploy.deployment import Deployment

from .support import bare_echo
from .support.board import LoopbackBoard, loopback_board
from .support.interleave import interleave, median_of, medians, timed
from .support.row import Aim, Options, Row, ratio_row

NEEDS = ("network", "sshd")

CALL_AIM, DEPLOY_AIM = Aim(1.2), Aim(0.1)
CALLS = 200
ROUNDS = 20
DEPLOYS = 3


def run(options: Options) -> Iterator[Row]:
    """Both over connections that are already open."""
    with loopback_board() as loopback:
        yield from _calls(loopback)
        yield from _deploys(loopback)


def _calls(loopback: LoopbackBoard) -> Iterator[Row]:
    one = [{"input": np.arange(64, dtype=np.uint8)}]
    with loopback.prepared.deployed() as deployment, _bare_echo(loopback) as echo:
        own, agent, bare = interleave(
            ROUNDS,
            timed(lambda: deployment.echo(one), CALLS),
            timed(_agent_alone(deployment, one[0]["input"]), CALLS),
            timed(lambda: echo(bytes(64)), CALLS),
        )
    what, against = "64 bytes to the agent and back: p50", "bare echo in Python over a paramiko channel"
    details = {"samples": CALLS * ROUNDS, "bare_us": median_of(bare) / 1e3}
    beside = f"{against}: {median_of(bare) / 1e3:.1f} µs"
    yield Row(what, median_of(own) / 1e3, "µs", beside, None, details, medians(own, 1e3))
    yield ratio_row(what, own, bare, against, CALL_AIM)
    # What is left of it without any of the host's work: no host, however quick, comes below.
    yield ratio_row("the same bytes to the agent and back, made beforehand", agent, bare, against)


def _agent_alone(deployment: Deployment, array: Array) -> Callable[[], None]:
    """Return what asks the agent by bytes that are there already, and does not look into its reply."""
    request = b"".join(encode({"op": "echo", "limit_s": 60}, [array]))
    channel = deployment.session.exchange.channel._channel  # type: ignore[attr-defined]
    channel.settimeout(10)

    def ask() -> None:
        channel.sendall(request)
        reply = b""
        while len(reply) < PREAMBLE.size or len(reply) < PREAMBLE.size + sum(PREAMBLE.unpack_from(reply)[3:]):
            if not (more := channel.recv(1 << 16)):
                raise RuntimeError("the agent has ended")
            reply += more

    return ask


@contextmanager
def _bare_echo(loopback: LoopbackBoard) -> Iterator[Callable[[bytes], None]]:
    """On the connection that the agent uses, too."""
    transport = loopback.prepared.board.link._routes[False].transport  # type: ignore[attr-defined]
    program = shlex.quote(Path(bare_echo.__file__).read_text(encoding="utf-8"))
    channel = transport.open_session(timeout=10)
    channel.exec_command(f"exec {loopback.prepared.board.facts.executable} -B -c {program}")

    def echo(data: bytes) -> None:
        channel.sendall(data)
        left = len(data)
        while left:
            left -= len(channel.recv(left))

    yield echo
    channel.close()


def _deploys(loopback: LoopbackBoard) -> Iterator[Row]:
    board, bundle = loopback.prepared.board, loopback.prepared.bundle
    script = board._agent_script(bundle).partition(" && exec ")[0] + " && exec true"

    def deploy() -> None:
        board.put(bundle)
        if board.link.start(script).finish(10) != 0:
            raise AssertionError("the bundle is not there")

    def start() -> float:
        begin = time.perf_counter_ns()
        with loopback.prepared.deployed():
            return time.perf_counter_ns() - begin

    with _tree(loopback) as (source, target):
        ssh = shlex.join(["ssh", *loopback.ssh_options])
        copy = ["rsync", "-a", "-e", ssh, f"{source}/", f"{loopback.server.user}:{target}/"]
        loopback.command(copy)
        own, rsync = interleave(ROUNDS, timed(deploy, DEPLOYS), timed(lambda: loopback.command(copy), 1))
        files = sum(path.is_file() for path in source.rglob("*"))
    opened = sorted(_opening(loopback) for _ in range(5))[2]
    yield Row(
        "taking the board for a run, its store looked through", opened / 1e6, "ms", "once a run, on an open connection"
    )
    what, against = "an unchanged bundle put there, one round trip", f"rsync -a of the same {files} files, unchanged"
    beside = f"{against}: {median_of(rsync) / 1e6:.0f} ms"
    yield Row(what, median_of(own) / 1e6, "ms", beside, rounds=medians(own, 1e6))
    yield ratio_row(what, own, rsync, against, DEPLOY_AIM)
    started = sorted(start() for _ in range(5))[2]
    yield Row("the same until its first inference is done", started / 1e6, "ms", "Python, numpy, onnxruntime: imports")


def _opening(loopback: LoopbackBoard) -> float:
    """Do what a run does once: start a daemon, ask for the facts, take the lock, look at every file of the store."""
    board = loopback.prepared.board
    board.lease._disconnect()  # the connection with it: made before the clock starts
    board.link.start("true").finish(10)
    begin = time.perf_counter_ns()
    board.lease.connect()
    board.lease.acquire(10)
    return time.perf_counter_ns() - begin


@contextmanager
def _tree(loopback: LoopbackBoard) -> Iterator[tuple[Path, str]]:
    """Return the bundle's files on this side, and where rsync puts them on the other."""
    store = Path(loopback.prepared.board.store)
    source = loopback.control.parent / "tree"
    for entry in loopback.prepared.bundle.entries:
        shutil.copytree(store / entry.name, source / entry.name, symlinks=True)
    yield source, f"{loopback.server.home}/tree"
