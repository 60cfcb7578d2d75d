"""The proxy that shapes the network, as the agent starts it, between the real client and a server."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.agent.failure import CallFailed
from harness.agent.network.relay import MOST_CONNECTIONS
from harness.agent.network.start import Running
from harness.agent.remote.client import Client
from harness.agent.remote.description import read_endpoint
from harness.agent.remote.tunnel import connect_through
from tests.support.certificates import Authority
from tests.support.oip_server import OipServer

from .test_remote_agent import REFUSED, Agent, X

DELAY_S = 0.02


def way(delay_ms: float = 0.0, mbit: float = 0.0, **more: Any) -> dict[str, Any]:
    """One direction, as the proxy is told of it."""
    return {"delay_ms": delay_ms, "jitter_ms": 0.0, "bytes_per_s": mbit * 125_000, **more}


def rules(up: dict[str, Any], down: dict[str, Any] | None = None, *outages: tuple[float, float]) -> dict[str, Any]:
    return {"up": up, "down": up if down is None else down, "outages": list(outages)}


@pytest.fixture(scope="module")
def delayed() -> Iterator[Running]:
    """A proxy with DELAY_S each way."""
    proxy = Running(rules(way(DELAY_S * 1e3)))
    yield proxy
    proxy.close()


def client_of(server: OipServer, proxy: Running, **more: Any) -> Client:
    description = server.description(**{"timeout_ms": 10_000, **more})
    return Client(read_endpoint(description)._replace(proxy=proxy.place))


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_calls_pass_untouched_and_pay_the_way_and_each_connection_its_handshakes(
    secure: bool, delayed: Running, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    with OipServer(context=authority.server() if secure else None) as server:
        client = client_of(server, delayed, ca=authority.pem if secure else "")
        start = time.monotonic()
        client.open()  # connection; TLS 1.3's handshake; two questions
        opened_s = time.monotonic() - start
        took = []
        for _ in range(3):
            start = time.monotonic()
            np.testing.assert_array_equal(client.infer([X])[0], 2 * X)
            took.append(time.monotonic() - start)
        client.close()
    trips = 4 if secure else 3
    assert trips * 2 * DELAY_S <= opened_s < trips * 2 * DELAY_S + 1
    assert 2 * DELAY_S <= min(took) < 2 * DELAY_S + 0.5


@pytest.mark.parametrize(
    ("mbit", "traces", "least_s"), [(16.0, {}, 0.6), (0.0, {"up": memoryview(array("i", range(1, 500)))}, 0.8)]
)
def test_a_large_request_takes_its_time_at_the_rate_or_by_the_trace(
    mbit: float, traces: dict[str, memoryview], least_s: float
) -> None:
    proxy = Running(rules(way(mbit=mbit), way()), traces)
    x = np.zeros((100_000, 3), np.float32)
    with OipServer() as server:
        client = client_of(server, proxy)
        client.open()
        start = time.monotonic()
        client.infer([x])
        took_s = time.monotonic() - start
        client.close()
    proxy.close()
    assert least_s * 0.99 <= took_s < least_s + 1


def test_how_a_connection_fails_is_told_as_without_the_proxy(delayed: Running) -> None:
    with OipServer() as server:
        pass
    client = client_of(server, delayed)
    start = time.monotonic()
    with pytest.raises(CallFailed, match="refused: nothing listens at"):
        client.open()
    assert time.monotonic() - start >= 2 * DELAY_S
    client.close()


def test_in_an_outage_calls_end_in_their_time_and_work_again_behind_it() -> None:
    begins, ends = time.monotonic() + 2.0, time.monotonic() + 4.0
    proxy = Running(rules(way(), None, (ends, ends - begins)))  # it ends when the device's clock says so
    with OipServer() as server:
        client = client_of(server, proxy, timeout_ms=200)
        client.open()
        client.infer([X])
        time.sleep(begins - time.monotonic() + 0.1)
        start = time.monotonic()
        for _ in range(2):  # on the connection that there is; on a new one
            with pytest.raises(CallFailed, match="late: "):
                client.infer([X])
        assert time.monotonic() - start < 1.0
        time.sleep(ends - time.monotonic() + 0.1)
        np.testing.assert_array_equal(client.infer([X])[0], 2 * X)
        client.close()
    proxy.close()


def test_the_ends_of_both_sides_pass_and_the_other_connections_stay(delayed: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = [connect_through(delayed.place, listener.getsockname(), 5.0) for _ in range(3)]
        theirs = [listener.accept()[0] for _ in ours]
        for each in (*ours, *theirs):
            each.settimeout(5.0)
        ours[0].sendall(b"last")
        ours[0].shutdown(socket.SHUT_WR)
        assert (theirs[0].recv(100), theirs[0].recv(100)) == (b"last", b"")
        theirs[0].sendall(b"answer")  # half of the connection is open still
        theirs[0].close()
        assert (ours[0].recv(100), ours[0].recv(100)) == (b"answer", b"")
        theirs[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs[1].close()
        with pytest.raises(ConnectionResetError):
            ours[1].recv(100)
        ours[2].sendall(b"x")
        assert theirs[2].recv(100) == b"x"
        for each in (*ours, *theirs):
            each.close()


def test_a_sink_that_reads_slowly_loses_nothing() -> None:
    proxy = Running(rules(way(5.0)))
    data = os.urandom(20_000_000)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = connect_through(proxy.place, listener.getsockname(), 5.0)
        theirs, _ = listener.accept()
        ours.settimeout(60.0)
        sending = threading.Thread(target=ours.sendall, args=(data,))
        sending.start()
        time.sleep(0.3)
        came = bytearray()
        while len(came) < len(data):
            came += theirs.recv(1 << 20)
        sending.join()
        ours.close()
        theirs.close()
    proxy.close()
    assert came == data


def test_a_sink_that_does_not_read_costs_the_device_no_processor() -> None:
    proxy = Running(rules(way()))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = connect_through(proxy.place, listener.getsockname(), 5.0)
        theirs, _ = listener.accept()
        ours.settimeout(3.0)
        with pytest.raises(TimeoutError):
            ours.sendall(bytes(1 << 27))  # more than may be under way
        before = spent_s(proxy)
        time.sleep(1.0)
        assert spent_s(proxy) - before < 0.03  # the kernel counts in hundredths
        ours.close()
        theirs.close()
    proxy.close()


def spent_s(proxy: Running) -> float:
    """The processor's time that a proxy has taken."""
    after_name = Path(f"/proc/{proxy.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_name[11:13])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n\r\n", b"x" * 300, b"0 80 0 127.0.0.1\n", b"\n", b"\xff 1 2 3\n"])
def test_nobody_gets_through_without_the_token(line: bytes, delayed: Running) -> None:
    with socket.create_connection(("127.0.0.1", delayed.place.port), 5.0) as stranger:
        stranger.sendall(line)
        try:
            said = stranger.recv(100)
        except ConnectionResetError:
            said = b""
    assert said == b""
    assert delayed.place.token not in repr(delayed.place)
    assert delayed.place.token not in Path(f"/proc/{delayed.pid}/cmdline").read_text()


def test_a_connection_beyond_the_most_is_refused_at_once_and_fewer_work_again() -> None:
    proxy = Running(rules(way()))
    with socket.create_server(("127.0.0.1", 0), backlog=200) as idle, OipServer() as server:
        many = [connect_through(proxy.place, idle.getsockname(), 5.0) for _ in range(MOST_CONNECTIONS)]
        client = client_of(server, proxy, timeout_ms=60_000)
        start = time.monotonic()
        with pytest.raises(RuntimeError, match="takes no further connection: too many are open"):
            client.open()
        assert time.monotonic() - start < 30
        many.pop().close()
        client.open()
        client.infer([X])
        client.close()
        for each in many:
            each.close()
    proxy.close()


def test_strangers_take_no_place_from_who_knows_the_token(delayed: Running) -> None:
    with OipServer() as server:
        many = [socket.create_connection(("127.0.0.1", delayed.place.port), 5.0) for _ in range(MOST_CONNECTIONS + 6)]
        assert many[0].recv(1) == b""  # the oldest made room
        client = client_of(server, delayed)
        client.open()
        client.close()
        for each in many:
            each.close()


def test_a_server_that_hangs_keeps_no_later_connection_out() -> None:
    proxy = Running(rules(way()))
    with socket.create_server(("127.0.0.1", 0), backlog=200) as hung:  # the kernel accepts, and nobody reads
        for _ in range(70):
            opened = connect_through(proxy.place, hung.getsockname(), 5.0)
            opened.sendall(b"a call that will be late")
            opened.close()
        with OipServer() as server:
            client = client_of(server, proxy)
            client.open()
            client.close()
    proxy.close()


def test_a_proxy_that_is_gone_is_no_failure_of_the_network() -> None:
    proxy = Running(rules(way()))
    with OipServer() as server:
        client = client_of(server, proxy)
        client.open()
        client.close()
        proxy.close()
        with pytest.raises(RuntimeError, match="the proxy that shapes the network has ended"):
            client.open()


@pytest.fixture
def oip(tmp_path: Path) -> Iterator[Agent]:
    started = Agent(tmp_path)
    yield started
    started.close()


def test_the_agent_starts_the_proxy_and_its_end_is_the_proxys(oip: Agent) -> None:
    trace = np.arange(1, 1000, dtype=np.int32)
    asked = {"up": way(DELAY_S * 1e3), "down": way(DELAY_S * 1e3), "outages": [], "traced": ["down"]}
    with OipServer() as server:
        assert "error" not in oip.ask("network", trace, **asked).header
        loaded = oip.load(server.description()).header
        assert loaded["first_ns"] >= 2 * DELAY_S * 1e9
        assert "proxy" not in str(loaded["settings"])
        (durations,) = oip.ask("measure", X, samples=5, budget_ns=10**10).tensors
        assert min(durations) >= 2 * DELAY_S * 1e9
        (child,) = children(oip.process.pid)
        assert "network.proxy" in Path(f"/proc/{child}/cmdline").read_text()
        oip.ask("network", **{**asked, "traced": []})  # anew, in its place
        (other,) = children(oip.process.pid)
        assert other != child
        os.kill(other, signal.SIGKILL)
        assert "the proxy that shapes the network has ended" in str(oip.load(server.description()).header["error"])
    oip.ask("network", **{**asked, "traced": []})
    last = children(oip.process.pid)[-1]
    oip.process.kill()
    oip.process.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{last}/cmdline").exists() and Path(f"/proc/{last}/cmdline").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for pipe in (oip.process.stdin, oip.process.stdout):
        assert pipe is not None
        pipe.close()
    oip.close = lambda: None  # type: ignore[method-assign]


def test_calls_through_a_proxy_fail_by_kind(oip: Agent) -> None:
    with OipServer() as server:
        oip.ask("network", up=way(1.0), down=way(1.0), outages=[], traced=[])
        oip.load(server.description())
        server.status = 503
        found = oip.ask("measure", X, samples=3, budget_ns=10**10)
        assert found.tensors[1].tolist() == [REFUSED] * 3


def children(pid: int) -> list[int]:
    """The processes that one has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
