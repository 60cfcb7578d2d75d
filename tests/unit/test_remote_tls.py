"""The client's TLS: whom it trusts, and what it says of a certificate that is none for it."""

from __future__ import annotations

import datetime
import ssl
import time
from pathlib import Path

import numpy as np
import pytest

from harness.agent.remote.client import Client
from harness.agent.remote.description import read_endpoint
from harness.agent.remote.failure import CallFailed
from harness.agent.remote.tls import make_context
from tests.support.certificates import Authority
from tests.support.faulty_server import FaultyServer
from tests.support.oip_server import OipServer

X = np.arange(3, dtype=np.float32).reshape(1, 3)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_one_connection_serves_all_calls_through_tls(authority: Authority) -> None:
    large = np.arange(60_000, dtype=np.float32).reshape(-1, 3)
    with OipServer(context=authority.server()) as server:
        client = Client(read_endpoint(server.description(ca=authority.pem, timeout_ms=5000)))
        client.open()
        for array in (X, large, X):
            np.testing.assert_array_equal(client.infer([array])[0], 2 * array)
        assert server.connections == 1
        assert client.facts()["http"].startswith("HTTP/1.1, TLSv1.")
        client.close()


def said_of(server: OipServer, ca: str) -> str:
    """What the client says of the certificate."""
    client = Client(read_endpoint(server.description(ca=ca, timeout_ms=3000)))
    with pytest.raises(CallFailed) as caught:
        client.open()
    client.close()
    assert caught.value.kind == "unreachable"
    return caught.value.what


def test_a_certificate_that_is_not_yet_valid_names_the_clock(authority: Authority) -> None:
    with OipServer(context=authority.server(begins=2)) as server:
        said = said_of(server, authority.pem)
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    assert f"not yet valid by this device's clock, which says {today}" in said
    assert "set the clock" in said


def test_a_certificate_that_has_expired_is_named(authority: Authority) -> None:
    with OipServer(context=authority.server(begins=-9, ends=-1)) as server:
        assert "has expired; this device's clock says" in said_of(server, authority.pem)


@pytest.mark.parametrize("host", ["10.0.0.7", "gpu.example"])
def test_a_certificate_for_another_host_is_named(authority: Authority, host: str) -> None:
    with OipServer(context=authority.server(host)) as server:
        assert "is for another host than 127.0.0.1" in said_of(server, authority.pem)


def test_an_unknown_authority_is_named(authority: Authority, tmp_path: Path) -> None:
    with OipServer(context=authority.server()) as server:
        for ca in (Authority(tmp_path, "others").pem, ""):
            assert "name its authority's certificate as ca in the endpoint's file" in said_of(server, ca)


def test_a_port_without_tls_is_named() -> None:
    with OipServer() as server:
        server.url = server.url.replace("http:", "https:")
        assert "speaks no TLS" in said_of(server, "")


def test_a_handshake_that_is_not_answered_is_late() -> None:
    with FaultyServer("silence") as server:
        url = server.url.replace("http:", "https:")
        inputs = [{"name": "x", "dtype": "float32", "shape": [1, 3]}]
        named = {"endpoint": "e", "url": url, "model": "m", "inputs": inputs}
        client = Client(read_endpoint({"schema": 1, "protocol": "oip", **named, "timeout_ms": 250}))
        start = time.monotonic()
        with pytest.raises(CallFailed, match=r"late: no whole answer in time, .* still in TLS's handshake"):
            client.open()
        assert 0.25 <= time.monotonic() - start < 0.37
        client.close()


def test_what_is_no_certificate_is_an_error_before_any_call() -> None:
    with pytest.raises(ValueError, match="wanted the certificate of an authority"):
        make_context("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def test_the_keys_of_a_connection_go_into_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context = make_context("")
    assert context.keylog_filename is None
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
