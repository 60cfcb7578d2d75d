"""The look at an endpoint from a device: each step, what it says where one fails, and that it ends in its time."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from harness.agent.endpoint_look.look import Look
from harness.agent.wire import read_head
from harness.cli.doctor_check import FAILED, OK, WARNING
from harness.cli.endpoint_checks import looked
from harness.deploy.endpoint_look import MODULES, _asked
from harness.deploy.handed import script_for
from harness.endpoint import Calls, Endpoint
from harness.protocol import parse
from harness.protocol.endpoint_look import EndpointLooked
from tests.support.certificates import Authority
from tests.support.oip_server import OipServer
from tests.support.signed_server import SignedServer, error

MODEL = {"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}], "outputs": []}


def endpoint(url: str, **keys: Any) -> Endpoint:
    return Endpoint(name="laptop", path=Path("laptop.toml"), description="", url=url, **{"model": "m", **keys})


def look(url: str, timeout_ms: float = 5000.0, **keys: Any) -> EndpointLooked:
    """Look from this process."""
    limits = {key: keys.pop(key) for key in ("max_request_bytes", "max_response_bytes") if key in keys}
    report = Look(_asked(endpoint(url, **keys), Calls(timeout_ms=timeout_ms, **limits))).report()
    return parse(EndpointLooked, json.loads(json.dumps(report)), to="look", where="here")


def test_each_step_says_what_it_found() -> None:
    with OipServer() as server:
        found = look(server.url)
    assert ([step.name for step in found.steps], found.failed) == (["name", "connection", "model", "inference"], "")
    assert "x FP32[-1, 3] → y FP32[-1, 3]" in found.steps[2].found
    assert found.steps[3].found == "binary"
    assert min(found.request_bytes, found.response_bytes) > 12
    checks = list(looked(found, endpoint(server.url), Calls()))
    assert [check.mark for check in checks] == [OK] * 5


def test_a_server_without_binary_tensors_gets_json() -> None:
    with OipServer(binary=False) as server:
        found = look(server.url)
    assert found.steps[-1].found.startswith("JSON")


def test_it_needs_nothing_but_the_devices_own_python() -> None:
    with OipServer() as server:
        script = script_for(sys.executable, MODULES, json.dumps(_asked(endpoint(server.url), Calls())))
        done = subprocess.run(["sh", "-c", script], capture_output=True, check=True, timeout=60)
    stream = iter([done.stdout])
    content = next(stream)
    place = 0

    def read(size: int) -> bytes:
        nonlocal place
        place += size
        return content[place - size : place]

    assert read_head(read).header["failed"] == ""


def test_sagemakers_runtime_is_asked_without_a_signature_and_its_clock_compared(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    named: dict[str, Any] = {
        "model": "",
        "region": "eu-west-1",
        "endpoint_name": "digits",
        "ca": authority.pem,
        "kind": "sagemaker",
    }
    with SignedServer(authority.server()) as server:
        found = look(server.url, **named)
        assert [step.name for step in found.steps] == ["name", "connection", "service"]
        assert "403 MissingAuthenticationTokenException" in found.steps[-1].found
        assert re.search("the clocks differ by [012] s", found.steps[-1].found)
        checks = list(looked(found, endpoint(server.url, **named), Calls()))
        assert [check.mark for check in checks] == [OK] * 3
        body = error("MissingAuthenticationTokenException", None)
        for date, words in [(time.time() - 1200, "this device's clock says 2"), (None, "does not say")]:
            headers = {"Date": formatdate(date, usegmt=True) if date else "?"}
            server.fault = 403, {**body[1], **headers}, body[2]
            found = look(server.url, **named)
            assert words in (found.failed or found.steps[-1].found)
            assert (found.kind == "service") == bool(date)
    with OipServer(context=authority.server()) as other:
        found = look(other.url, **named)
        assert (found.kind, "is not SageMaker's runtime" in found.failed) == ("service", True)


def test_through_tls_it_trusts_the_endpoints_authority_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with OipServer(context=authority.server()) as server:
        assert look(server.url, ca=authority.pem).failed == ""
        refused = look(server.url)
    assert refused.kind == "connection"
    assert "nobody that this device trusts has signed" in refused.failed


@contextmanager
def answering(text: bytes) -> Iterator[str]:
    """A server that sends the same bytes to whoever connects; none of them: it is silent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = []

        def serve() -> None:
            while True:
                try:
                    one, _ = listener.accept()
                except OSError:
                    return
                kept.append(one)
                if text and one.recv(65536):
                    with contextlib.suppress(OSError):  # whoever asked has read enough
                        one.sendall(text)
                        one.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for one in kept:
            one.close()


def reply(body: bytes, status: str = "200 OK", head: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(reply(b"<html>log in</html>"), "a web page", id="page"),
        pytest.param(reply(b"", "302 Found", "Location: http://portal\r\n"), "no redirect is followed", id="redirect"),
        pytest.param(reply(b'{"error": "no"}', "404 Not Found"), '404 Not Found: {"error": "no"}', id="404"),
        pytest.param(reply(b"[1]"), "no table in JSON", id="list"),
        pytest.param(reply(b"[" * 50_000), "no JSON", id="nested"),
        pytest.param(reply(b'{"inputs": 3}'), "not the protocol's", id="inputs"),
        pytest.param(reply(b"x" * 70_000), "more than 65536 bytes", id="long"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", "BadStatusLine", id="other"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", "", id="cut"),
        pytest.param(
            reply(json.dumps({**MODEL, "inputs": []}).encode()), "does not say what the model takes", id="mute"
        ),
        pytest.param(
            reply(json.dumps({**MODEL, "inputs": [{"name": "x", "datatype": "BYTES", "shape": [1]}]}).encode()),
            "BYTES, which hilgate's client does not send",
            id="bytes",
        ),
        pytest.param(
            reply(json.dumps({**MODEL, "inputs": [{"name": "x", "datatype": "FP32", "shape": [1 << 38]}]}).encode()),
            "max_request_bytes is 6291456",
            id="huge",
        ),
        pytest.param(reply(json.dumps(MODEL).encode()), "the answer has no outputs", id="no-outputs"),
    ],
)
def test_what_answers_otherwise_is_told(answer: bytes, words: str) -> None:
    with answering(answer) as url:
        found = look(url)
    assert found.failed
    assert words in found.failed
    assert [check.mark for check in looked(found, endpoint(url), Calls())][-1] in (FAILED, WARNING)


def test_silence_ends_in_the_time_of_a_call() -> None:
    with answering(b"") as url:
        begun = time.monotonic()
        found = look(url, timeout_ms=300.0)
    assert time.monotonic() - begun < 5.0
    assert (found.kind, found.failed) == ("model", "it was not over after 0.3 s, the time of a call")


def test_nobody_there_is_told_with_the_next_step() -> None:
    found = look("http://127.0.0.1:9")
    *_, last = looked(found, endpoint("http://127.0.0.1:9"), Calls())
    assert (last.mark, last.name, last.found) == (FAILED, "  connection", "Connection refused")
    assert "is the server started" in last.hint


def test_a_name_that_does_not_exist_is_told() -> None:
    found = look("http://no-such-host.invalid:8000")
    assert (found.kind, found.steps) == ("name", ())


@pytest.mark.parametrize(("status", "mark"), [(400, WARNING), (500, FAILED)])
def test_zeros_may_be_no_input_of_the_model(status: int, mark: str) -> None:
    with OipServer() as server:
        server.status = status
        found = look(server.url)
    assert found.kind == "inference"
    assert [check.mark for check in looked(found, endpoint(server.url), Calls())][-1] == mark


def test_a_name_with_several_addresses_is_tried_at_each() -> None:
    with OipServer() as server:
        asked = _asked(endpoint(server.url), Calls())
        taken = Look(asked)
        nobody = socket.AF_INET, ("127.0.0.1", 9)
        taken.addresses = [nobody, (socket.AF_INET, ("127.0.0.1", server.port))]
        taken.deadline.arm(5.0)
        taken._connect().close()
        assert taken.addresses[1] == nobody
