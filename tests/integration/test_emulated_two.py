"""Two emulated boards at once, restored from one state: apart from each other, from the host's network, and in time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from harness.board import Board
from harness.protocol import Packets

from .emulated import addresses, emulator_of, guest, hosted, opened, python

pytestmark = pytest.mark.slow

CLOCK_S = 2.0
SECONDS = 60
ROUNDS, SIZE = 30, 4000
# QEMU's own network: the host, its name server, one that is nobody's; and beyond.
TARGETS = ["10.0.2.2", "10.0.2.3", "10.0.2.4", "192.0.2.1"]
TRY = """
import socket
kind = socket.SOCK_{kind}
with socket.socket(socket.AF_INET, kind) as attempt:
    attempt.settimeout(2)
    try:
        attempt.connect(("{address}", {port}))
        attempt.send(b"anybody there?")
        attempt.recv(1)
        print("reached")
    except OSError as error:
        print(type(error).__name__)
"""


# Has contents of its own sent back, one after the other; prints how many came as they went, and the slowest in seconds.
ROUND_TRIPS = f"""
import os, socket, time
right, slowest = 0, 0.0
with socket.create_connection(("127.0.0.1", {{port}}), timeout={SECONDS}) as opened:
    for _ in range({ROUNDS}):
        content, came, began = os.urandom({SIZE}), b"", time.monotonic()
        opened.sendall(content)
        while len(came) < {SIZE}:
            came += opened.recv({SIZE})
        right += came == content
        slowest = max(slowest, time.monotonic() - began)
print(right, slowest)
"""


@pytest.fixture(scope="module")
def boards(users_cache: Path) -> Iterator[tuple[Board, Board]]:
    with opened() as one, opened() as other:
        yield one, other


def test_both_answer(boards: tuple[Board, Board]) -> None:
    assert [guest(board, "id -un") for board in boards] == ["pi", "pi"]


def test_what_one_writes_the_other_does_not_see(boards: tuple[Board, Board]) -> None:
    one, other = boards
    guest(one, "echo mine > here; sync")
    assert (guest(one, "cat here"), guest(other, "ls here 2>&1 || true")) == (
        "mine",
        "ls: cannot access 'here': No such file or directory",
    )


def test_each_has_a_port_of_its_own_on_the_loopback_address_and_nothing_else(boards: tuple[Board, Board]) -> None:
    ports = {emulator_of(board).port for board in boards}
    assert len(ports) == 2
    found = {address for board in hosted() for address in addresses(board.qemu)}
    assert {port for _, port, listens in found if listens} == ports
    assert {address for address, _, _ in found} == {"127.0.0.1"}


@pytest.mark.parametrize("address", TARGETS)
@pytest.mark.parametrize("kind", ["STREAM", "DGRAM"])
def test_the_guest_reaches_nobody(boards: tuple[Board, Board], address: str, kind: str) -> None:
    """Not even what listens on the host, which a guest of QEMU's finds at 10.0.2.2."""
    with socket.socket(type=getattr(socket, f"SOCK_{kind}")) as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "STREAM":
            listener.listen()
        port = 53 if address == "10.0.2.3" else listener.getsockname()[1]
        said = guest(boards[0], python(TRY.format(kind=kind, address=address, port=port)))
        assert said in ("TimeoutError", "ConnectionRefusedError", "OSError")
        listener.settimeout(0.0)
        with pytest.raises(BlockingIOError):
            (listener.accept if kind == "STREAM" else lambda: listener.recvfrom(1))()


def test_a_guest_reaches_the_one_port_that_it_is_given_a_way_back_to(boards: tuple[Board, Board]) -> None:
    """Through its own loopback, as it would the emulated service; the other board has no such port."""
    one, other = boards
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        closing(one.link.tunnel_back(listener.getsockname()[1])) as tunnel,
    ):
        attempt = python(
            TRY.format(kind="STREAM", address="127.0.0.1", port=tunnel.port).replace("out(2)", f"out({SECONDS})")
        )
        listener.settimeout(SECONDS)
        with ThreadPoolExecutor(1) as pool:
            said = pool.submit(guest, one, attempt)
            opened, _ = listener.accept()
            with opened:
                assert opened.recv(100) == b"anybody there?"
                opened.sendall(b"y")
            assert said.result() == "reached"
        assert guest(other, attempt) == "ConnectionRefusedError"
    assert guest(one, attempt) == "ConnectionRefusedError"


def send_back(listener: socket.socket) -> None:
    with listener.accept()[0] as opened:
        opened.settimeout(SECONDS)
        while data := opened.recv(SIZE):
            opened.sendall(data)


def test_what_passes_a_port_that_loses_packets_is_late_and_never_wrong(boards: tuple[Board, Board]) -> None:
    """TCP sends a packet again at the earliest 0.2 s after one of which it hears nothing."""
    link = boards[0].link
    before = guest(boards[0], "cat /sys/class/net/lo/mtu; /sbin/tc qdisc show dev lo")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        closing(link.tunnel_back(listener.getsockname()[1])) as tunnel,
        ThreadPoolExecutor(1) as pool,
    ):
        listener.settimeout(SECONDS)
        back = pool.submit(send_back, listener)
        link.lose(tunnel.port, 10)
        right, slowest = guest(boards[0], python(ROUND_TRIPS.format(port=tunnel.port))).split()
        packets = link.deliver()
        back.result()
    assert (int(right), float(slowest) > 0.2) == (ROUNDS, True)
    assert packets.sent > 2 * ROUNDS * SIZE / 1500  # of an Ethernet's size, both ways
    assert 0.02 < packets.lost / packets.sent < 0.3
    assert guest(boards[0], "cat /sys/class/net/lo/mtu; /sbin/tc qdisc show dev lo") == before
    assert link.deliver() == Packets(sent=0, lost=0)


def test_a_restored_board_has_the_hosts_time(boards: tuple[Board, Board]) -> None:
    for board in boards:
        before = time.time()
        there = float(guest(board, "date +%s.%N"))
        assert before - CLOCK_S < there < time.time() + CLOCK_S


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("head -c 16 /dev/urandom | od -An -tx1", id="the-kernels"),
        pytest.param(python("import uuid; print(uuid.uuid4())"), id="a-uuid"),
        pytest.param(python("import random; print(random.random())"), id="pythons"),
    ],
)
def test_restored_boards_draw_different_random_numbers(boards: tuple[Board, Board], script: str) -> None:
    drawn: list[str] = [guest(board, script) for board in boards]
    assert all(drawn)
    assert drawn[0] != drawn[1]
