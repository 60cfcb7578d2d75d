"""The proxy that misbehaves: each thing that it is told to do, against a server that sends back what it gets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.proxy import FlakyProxy


class Echo:
    """Sends back what it gets, and remembers it."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.received = bytearray()
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.listening.accept()
                self.threads.append(threading.Thread(target=self._serve, args=(peer,)))
                self.threads[-1].start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            while data := peer.recv(1 << 16):
                self.received += data
                with contextlib.suppress(OSError):  # who sent it may be gone; what he sent before is still to be read
                    peer.sendall(data)

    def close(self) -> None:
        """End, once all clients have gone; a second time is one too many and does nothing."""
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts; closing alone does not
        self.listening.close()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FlakyProxy]:
    with FlakyProxy(echo.port) as made:
        yield made


@pytest.fixture
def client(proxy: FlakyProxy) -> Iterator[socket.socket]:
    with connect(proxy) as made:
        yield made


def connect(proxy: FlakyProxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=5)


def receive(peer: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (data := peer.recv(1 << 16)):
        found += data
    return found


def silent(peer: socket.socket, seconds: float = 0.1) -> bool:
    peer.settimeout(seconds)
    try:
        return not peer.recv(1)
    except TimeoutError:
        return True
    finally:
        peer.settimeout(5)


def test_bytes_pass_both_ways_and_are_counted(proxy: FlakyProxy, client: socket.socket) -> None:
    data = bytes(range(256)) * 4000
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()

    assert receive(client, len(data)) == data
    assert (proxy.bytes_up, proxy.bytes_down) == (len(data), len(data))
    sender.join()


def test_the_end_of_one_direction_is_passed_on(client: socket.socket) -> None:
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)

    assert receive(client, 100) == b"last words"


def test_a_cut_resets_what_is_open_and_leaves_the_door_open(proxy: FlakyProxy, client: socket.socket) -> None:
    client.sendall(b"a")
    assert receive(client, 1) == b"a"
    proxy.cut()

    assert proxy.connections == 0
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with connect(proxy) as again:
        again.sendall(b"b")
        assert receive(again, 1) == b"b"


def test_a_stalled_proxy_takes_bytes_and_loses_none(echo: Echo, proxy: FlakyProxy, client: socket.socket) -> None:
    proxy.stall()
    client.sendall(b"abc")
    with connect(proxy) as late:
        late.sendall(b"d")
        assert silent(client)
        assert silent(late)
        assert not echo.received
        proxy.resume()

        assert receive(client, 3) == b"abc"
        assert receive(late, 1) == b"d"


@pytest.mark.parametrize(
    "count", [pytest.param(0, id="none"), pytest.param(7, id="few"), pytest.param(300_000, id="many")]
)
def test_it_drops_after_exactly_so_many_bytes_up(
    echo: Echo, proxy: FlakyProxy, client: socket.socket, count: int
) -> None:
    client.sendall(b"before")
    assert receive(client, 6) == b"before"
    proxy.drop_after(count)

    with pytest.raises(OSError, match=r"reset|pipe"):
        client.sendall(bytes(8_000_000))
    echo.close()
    assert len(echo.received) == 6 + count


def test_it_drops_after_exactly_so_many_bytes_down(proxy: FlakyProxy, client: socket.socket) -> None:
    proxy.drop_after(3, "down")
    client.sendall(b"abcdef")

    assert receive(client, 3) == b"abc"
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with connect(proxy) as again:
        again.sendall(b"abcdef")
        assert receive(again, 6) == b"abcdef"


def test_a_slow_proxy_takes_its_time_until_it_is_fast_again(proxy: FlakyProxy, client: socket.socket) -> None:
    client.sendall(b"a")
    assert receive(client, 1) == b"a"  # it now waits for more, at full speed
    proxy.slow(10_000)
    started = time.monotonic()
    client.sendall(bytes(2_000))
    receive(client, 2_000)
    # The way back runs while the way there does; the last step is not waited for.
    assert time.monotonic() - started > 0.15

    proxy.slow(None)
    client.sendall(bytes(200_000))
    assert len(receive(client, 200_000)) == 200_000  # at 10 kB/s this would outlast the client's patience


def test_a_speed_of_nothing_is_refused(proxy: FlakyProxy) -> None:
    with pytest.raises(ValueError, match=r"bytes_per_second is 0; .* stall"):
        proxy.slow(0)


def test_a_refusing_proxy_keeps_what_is_open_and_its_port(proxy: FlakyProxy, client: socket.socket) -> None:
    client.sendall(b"a")
    assert receive(client, 1) == b"a"
    port = proxy.port
    proxy.refuse()
    proxy.refuse()

    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    client.sendall(b"b")
    assert receive(client, 1) == b"b"
    proxy.accept()
    proxy.accept()
    with connect(proxy) as again:
        again.sendall(b"c")
        assert receive(again, 1) == b"c"
    assert proxy.port == port


def test_a_target_that_is_not_there_resets_the_client(echo: Echo) -> None:
    echo.close()
    # The reset may come as early as in connect().
    with FlakyProxy(echo.port) as proxy, pytest.raises(ConnectionResetError), connect(proxy) as client:
        client.recv(1)


def test_a_client_that_vanishes_is_forgotten(proxy: FlakyProxy, client: socket.socket) -> None:
    client.sendall(b"a")
    assert receive(client, 1) == b"a"
    client.close()

    until = time.monotonic() + 5
    while proxy.connections and time.monotonic() < until:
        time.sleep(0.005)
    assert proxy.connections == 0


def test_nothing_is_left_behind(echo: Echo) -> None:
    before = threading.active_count()
    with FlakyProxy(echo.port) as proxy:
        client = connect(proxy)
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
        proxy.stall()
        assert threading.active_count() > before

    with client, pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    assert not [thread for thread in threading.enumerate() if thread.name == "flaky-proxy"]
