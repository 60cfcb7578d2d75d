"""Programs over the link ``ssh``: every byte arrives, how they end is known, and so is that a connection dropped."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import paramiko
import pytest

from harness.board import daemon_client as board_daemon
from harness.board import open_board
from harness.errors import LinkError, LinkLost
from harness.links import ChannelClosed
from harness.links.ssh import Link
from harness.links.ssh.process import Process
from tests.integration.desk import (
    SECONDS,
    Desk,
    deadline,
    linked,
    read_all,
    said,
)
from tests.support.proxy import FlakyProxy
from tests.support.sshd import Board, BoardServer

MIB = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer(Board(key_types=("ed25519", "ecdsa", "rsa"))) as made:
        yield made


def started(link: Link, script: str) -> Process:
    """Start a script, and wait until it runs: before that nothing is sent to it."""
    process = link.start(f"echo; {script}")
    assert process.receive(1, deadline()) == b"\n"
    return process


# Bytes


def test_every_byte_goes_through_both_ways_also_while_keys_are_exchanged_anew(
    link: Link, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("paramiko.packet.Packetizer.REKEY_BYTES", 8 * MIB)
    caplog.set_level(logging.DEBUG, "paramiko.transport")
    content = bytes(range(256)) * 256 * 1024  # 64 MiB: many times a channel's window
    process = link.start("exec cat", bulk=True)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(process.send, content, deadline())
        received = process.receive(len(content), deadline())
        sending.result()
    assert hashlib.sha256(received).digest() == hashlib.sha256(content).digest()
    assert process.finish(SECONDS) == 0
    assert sum("Rekeying" in record.message for record in caplog.records) >= 3


def test_an_exchange_of_keys_that_takes_too_long_is_a_lost_connection(
    server: BoardServer, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.links.ssh.connection.REKEY_TIMEOUT_S", 0.3)
    monkeypatch.setattr("paramiko.packet.Packetizer.REKEY_BYTES", MIB)
    with FlakyProxy(server.port) as proxy:
        desk.pin(server, proxy.port)
        desk.configure(server, Port=proxy.port)
        with linked(desk.device()) as link:
            process = started(link, "exec cat > /dev/null")
            proxy.stall()
            process.send(bytes(MIB + MIB // 2), deadline())  # less than the channel's window: nothing waits for that
            end = deadline()
            while process._channel.get_transport().clear_to_send.is_set() and time.monotonic() < end:
                time.sleep(0.01)
            with pytest.raises(LinkLost, match="Key-exchange"):
                process.send(b"more", end)
            process.finish(0)


def test_there_is_no_terminal(link: Link) -> None:
    process = link.start("tty; tty <&2; exec stty raw")
    assert read_all(process).split(b"\n")[0] == b"not a tty"
    assert process.finish(SECONDS) != 0


def test_a_program_that_says_a_lot_on_stderr_is_not_stopped_by_it(link: Link) -> None:
    process = link.start("head -c 9000000 /dev/zero >&2; echo the end >&2; echo done")
    assert process.receive(5, deadline()) == b"done\n"
    assert process.finish(SECONDS) == 0
    assert process.stderr_tail().endswith("the end\n")
    assert len(process.stderr_tail()) <= 1 << 16


# How programs end


@pytest.mark.parametrize(
    ("script", "status"),
    [
        pytest.param("exit 0", 0, id="well"),
        pytest.param("exit 7", 7, id="badly"),
        pytest.param("nonexistent-program", 127, id="no-such-program"),
        pytest.param("exec sh -c 'kill -9 $$'", -9, id="killed"),
        pytest.param("exec sh -c 'kill -SEGV $$'", -11, id="crashed"),
    ],
)
def test_the_exit_status_is_known(link: Link, script: str, status: int) -> None:
    process = link.start(script)
    with pytest.raises(ChannelClosed):
        process.receive(1, deadline())
    assert process.finish(SECONDS) == status
    assert process.finish(SECONDS) == status


def test_a_program_that_does_not_end_is_killed_by_whoever_can(link: Link, server: BoardServer) -> None:
    def kill() -> None:
        said(link, f"kill -9 {pid}")

    process = link.start("exec sh -c 'echo $$; exec sleep 600'", kill=kill)
    pid = int(_line(process))
    began = time.monotonic()
    assert process.finish(0.2) == -9
    assert time.monotonic() - began < SECONDS / 2


def _line(process: Process) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        line += process.receive(1, deadline())
    return line


def test_a_deadline_is_kept_and_the_channel_still_good(link: Link) -> None:
    process = link.start("read line; echo $line; sleep 600")
    with pytest.raises(TimeoutError):
        process.receive(1, time.monotonic() + 0.1)
    process.send(b"hello\n", deadline())
    assert process.receive(6, deadline()) == b"hello\n"
    with pytest.raises(TimeoutError):
        process.send(bytes(16 * MIB), time.monotonic() + 0.3)  # nobody reads
    process.finish(0)


# Dropped connections


def test_a_connection_that_is_cut_is_noticed_at_once(server: BoardServer, desk: Desk) -> None:
    with FlakyProxy(server.port) as proxy:
        desk.pin(server, proxy.port)
        desk.configure(server, Port=proxy.port)
        with linked(desk.device()) as link:
            process = link.start("exec cat")
            threading.Timer(0.2, proxy.cut).start()
            with pytest.raises(LinkLost) as caught:
                process.receive(1, deadline())
            assert f":{proxy.port}" in caught.value.where
            with pytest.raises(LinkLost):
                process.send(b"more", deadline())
            assert process.finish(SECONDS) is None
            with pytest.raises(LinkLost):  # not by itself: whoever holds the board's lock has lost it
                link.start("true")
            link.close()
            assert said(link, "echo again") == "again"


def test_what_is_taken_by_nobody_ends_the_connection(
    server: BoardServer, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.links.ssh.connection.TCP_USER_TIMEOUT_MS", 1000)
    with FlakyProxy(server.port) as proxy:
        desk.pin(server, proxy.port)
        desk.configure(server, Port=proxy.port)
        with linked(desk.device()) as link:
            process = started(link, "exec cat > /dev/null")
            proxy.stall()
            with pytest.raises(LinkLost):
                process.send(bytes(64 * MIB), deadline())
            process.finish(0)


@pytest.mark.parametrize("how", ["cut", "stall"])
def test_a_board_is_usable_again_after_its_connection_dropped(
    server: BoardServer, desk: Desk, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(board_daemon, "SILENCE_S", 1.5)
    monkeypatch.setattr(board_daemon, "PING_S", 0.3)
    with FlakyProxy(server.port) as proxy:
        desk.pin(server, proxy.port)
        desk.configure(server, Port=proxy.port)
        board = open_board(desk.device())
        process = board.link.start("exec sleep 600")
        began = time.monotonic()
        getattr(proxy, how)()
        with pytest.raises(LinkLost):
            process.receive(1, deadline())
        assert time.monotonic() - began < SECONDS / 2
        proxy.resume()
        proxy.cut()
        assert board.collect("nothing", 0) is None
        assert any("was made again" in note for note in board.notes)
        process.finish(0)
        board.close()


def test_an_abort_wakes_whoever_waits_even_behind_a_hop_that_hangs(server: BoardServer, desk: Desk) -> None:
    with FlakyProxy(server.port) as proxy:
        desk.pin(server, proxy.port)
        desk.configure(server, ProxyJump="first")
        desk.configure(server, "first", Port=proxy.port)
        with linked(desk.device()) as link:
            process = started(link, "exec cat > /dev/null")
            proxy.stall()
            with ThreadPoolExecutor(1) as pool:
                sending = pool.submit(process.send, bytes(32 * MIB), deadline())
                time.sleep(0.5)  # until the buffers on the way are full
                began = time.monotonic()
                link.abort()
                with pytest.raises(LinkLost):
                    sending.result()
            assert time.monotonic() - began < 5
            process.finish(0)


def test_a_server_that_stalls_while_a_program_is_started_is_not_waited_for_without_end(
    server: BoardServer, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.links.ssh.link.CHANNEL_TIMEOUT_S", 0.5)
    with FlakyProxy(server.port) as proxy:
        desk.pin(server, proxy.port)
        desk.configure(server, Port=proxy.port)
        with linked(desk.device()) as link:
            said(link, "true")
            opened = paramiko.Transport.open_session

            def stalling(transport: paramiko.Transport, timeout: float) -> paramiko.Channel:
                channel = opened(transport, timeout=timeout)
                proxy.stall()
                return channel

            monkeypatch.setattr("paramiko.Transport.open_session", stalling)
            with pytest.raises(LinkError):
                link.start("true")
