"""The way back from a board to this machine, by real SSH servers: taken, refused, lost, made anew, and gone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import paramiko
import pytest

from harness.board import open_board
from harness.errors import TunnelError
from harness.host.progress import ProgressBars
from harness.links import Channel
from harness.links.ssh import Link
from harness.links.ssh.tunnel import BackTunnel
from harness.run.services import Services
from tests.integration.boards import read_device, write_device
from tests.integration.desk import SECONDS, Desk, linked, said
from tests.support.emulated_service import EmulatedService, boto3_client
from tests.support.sshd import Board, BoardServer

CALLERS = 32
KIB = 1 << 10


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer(Board(config=("AllowTcpForwarding remote",))) as made:
        yield made


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


@contextmanager
def reached(desk: Desk, server: BoardServer) -> Iterator[Link]:
    desk.pin(server)
    desk.configure(server)
    with linked(desk.device()) as link:
        yield link


@pytest.fixture
def link(desk: Desk, server: BoardServer) -> Iterator[Link]:
    with reached(desk, server) as made:
        yield made


class Echo:
    """A server on this machine that sends back what it gets, once all of it has come."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=2 * CALLERS)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _run(self) -> None:
        while True:
            try:
                opened, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(opened,), daemon=True).start()

    def _answer(self, opened: socket.socket) -> None:
        with opened:
            opened.sendall(read(opened))


@pytest.fixture
def echo() -> Iterator[Echo]:
    with closing(Echo()) as made:
        yield made


def read(opened: socket.socket) -> bytes:
    parts = bytearray()
    while data := opened.recv(1 << 16):
        parts += data
    return bytes(parts)


def call(port: int, content: bytes) -> bytes:
    """The board's network is this machine's own: its port is called from here."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as opened:
        opened.sendall(content)
        opened.shutdown(socket.SHUT_WR)
        return read(opened)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_boto3_gets_signed_answers_through_it(link: Link, tmp_path: Path) -> None:
    """The certificate and the signature are as right at the board's port as at the service's own."""
    with EmulatedService() as service, closing(link.tunnel_back(service.port)) as tunnel:
        assert tunnel.port != service.port
        client = boto3_client(service, tmp_path, endpoint_url=f"https://127.0.0.1:{tunnel.port}")
        body = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}'
        asked = {"EndpointName": "net", "ContentType": "application/json", "Body": body}
        answers = [client.invoke_endpoint(**asked)["Body"].read() for _ in range(3)]
        client.close()
    assert all(b"[2.0,4.0]" in answer.replace(b" ", b"") for answer in answers)


def test_many_callers_at_once_get_what_is_theirs(link: Link, echo: Echo) -> None:
    contents = [np.random.default_rng(seed).bytes(588 * KIB) for seed in range(CALLERS)]
    with closing(link.tunnel_back(echo.port)) as tunnel, ThreadPoolExecutor(CALLERS) as pool:
        assert list(pool.map(lambda content: call(tunnel.port, content), contents)) == contents


def test_it_listens_on_the_boards_loopback_only(link: Link, echo: Echo) -> None:
    with closing(link.tunnel_back(echo.port)) as tunnel:
        lines = said(link, "cat /proc/net/tcp /proc/net/tcp6").splitlines()
        addresses = {line.split()[1] for line in lines if f":{tunnel.port:04X} " in line and " 0A " in line}
    assert addresses
    assert {address.partition(":")[0] for address in addresses} <= {"0100007F", f"{1 << 24:032X}"}


def test_nothing_is_left_of_it_once_it_is_closed(link: Link, echo: Echo) -> None:
    said(link, "true")
    threads = set(threading.enumerate())
    tunnel = link.tunnel_back(echo.port)
    with socket.create_connection(("127.0.0.1", tunnel.port), timeout=SECONDS) as opened:
        opened.sendall(b"half")
        tunnel.close()
        assert opened.recv(1) == b""
    assert not listens(tunnel.port)
    assert said(link, "echo on") == "on"
    end = time.monotonic() + SECONDS
    while set(threading.enumerate()) - threads and time.monotonic() < end:
        time.sleep(0.01)
    assert not {thread.name for thread in set(threading.enumerate()) - threads if "tunnel" in thread.name}


def test_where_nobody_listens_here_the_board_sees_its_connection_end(link: Link) -> None:
    with closing(Echo()) as gone:
        port = gone.port
    with closing(link.tunnel_back(port)) as tunnel:
        assert call(tunnel.port, b"") == b""


def drop(server: BoardServer, link: Link) -> None:
    """As a lease does where its connection dropped: it lets go, and connects anew."""
    server.kill_sessions()
    link.abort()
    link.close()
    assert said(link, "echo on") == "on"


def test_it_is_made_anew_at_its_port_with_the_connection(link: Link, server: BoardServer, echo: Echo) -> None:
    with closing(link.tunnel_back(echo.port)) as tunnel:
        port = tunnel.port
        drop(server, link)
        assert not listens(port)
        tunnel.check()
        assert tunnel.port == port
        assert call(port, b"again") == b"again"
        tunnel.check()


def test_a_port_that_is_taken_meanwhile_is_said_to_be(link: Link, server: BoardServer, echo: Echo) -> None:
    tunnel = link.tunnel_back(echo.port)
    drop(server, link)
    with (
        socket.create_server(("127.0.0.1", tunnel.port)),
        pytest.raises(TunnelError, match="not give the port back") as caught,
    ):
        tunnel.check()
    assert f"port {tunnel.port}" in caught.value.wanted
    tunnel.check()
    assert call(tunnel.port, b"later") == b"later"
    tunnel.close()


def test_a_connection_that_dropped_between_two_cells_is_made_again_for_it(
    server: BoardServer, echo: Echo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell's service is started before anything else asks the board."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write_device(tmp_path, server, device='store = "~/store"')
    service = SimpleNamespace(url=f"https://127.0.0.1:{echo.port}", close=lambda: None)
    monkeypatch.setattr(Services, "_start", lambda *_: service)
    asked: Any = SimpleNamespace(serve=None)
    with open_board(read_device(tmp_path)) as board:
        devices: Any = SimpleNamespace(board=lambda _: board)
        cell: Any = SimpleNamespace(file=SimpleNamespace(path=tmp_path), device=board.device)
        server.kill_sessions()
        with closing(Services(ProgressBars(None), tmp_path, devices)) as services:
            tunnel = services._running(cell, asked, asked).tunnel
            assert tunnel is not None
            assert call(tunnel.port, b"anew") == b"anew"
        assert "the connection to board dropped and was made again" in board.notes


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("AllowTcpForwarding no", "forwards no port back", "AllowTcpForwarding remote"),
        ("AllowTcpForwarding local", "forwards no port back", "AllowTcpForwarding remote"),
        ("PermitListen none", "forwards no port back", "PermitListen"),
        ("GatewayPorts yes", "to all of its network", "GatewayPorts no"),
    ],
)
def test_a_server_that_refuses_or_opens_too_much_is_told_what_to_set(
    desk: Desk, echo: Echo, line: str, message: str, hint: str
) -> None:
    with BoardServer(Board(config=(line,))) as server, reached(desk, server) as link:
        with pytest.raises(TunnelError, match=message) as caught:
            link.tunnel_back(echo.port)
        assert hint in caught.value.hint
        assert said(link, "echo on") == "on"
        tunnel = link._tunnel
        assert isinstance(tunnel, BackTunnel)
        assert not (tunnel.port and listens(tunnel.port))


@pytest.mark.parametrize("says", ["echo n", "true"])
def test_a_port_that_cannot_be_seen_to_be_the_loopbacks_alone_is_refused(link: Link, echo: Echo, says: str) -> None:
    tunnel = BackTunnel("board", echo.port, lambda: link._transport(bulk=False), lambda script: link.start(says))
    with pytest.raises(TunnelError, match="does not show where"):
        tunnel.open()
    assert tunnel.port
    assert not listens(tunnel.port)


def test_until_the_board_has_shown_where_it_listens_nobody_gets_through(link: Link, echo: Echo) -> None:
    answers = []

    def start(script: str) -> Channel:
        answers.append(call(tunnel.port, b"a stranger"))
        return link.start("echo w")

    tunnel = BackTunnel("board", echo.port, lambda: link._transport(bulk=False), start)
    with pytest.raises(TunnelError, match="to all of its network"):
        tunnel.open()
    assert answers == [b""]


def test_a_port_that_is_none_is_refused(link: Link, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paramiko.Transport, "request_port_forward", lambda *_: (1 << 32) - 1)
    tunnel = BackTunnel("board", echo.port, lambda: link._transport(bulk=False), lambda _: link.start("echo l"))
    with pytest.raises(TunnelError, match="forwards no port back") as caught:
        tunnel.open()
    assert "port 4294967295, which is none" in caught.value.found


def test_dropbear_has_it_too(desk: Desk, echo: Echo) -> None:
    with BoardServer(Board(dropbear=True)) as server, reached(desk, server) as link:
        with closing(link.tunnel_back(echo.port)) as tunnel:
            assert call(tunnel.port, b"small") == b"small"
        link.close()  # it does not take the port back before
        end = time.monotonic() + SECONDS
        while listens(tunnel.port) and time.monotonic() < end:
            time.sleep(0.01)
        assert not listens(tunnel.port)
