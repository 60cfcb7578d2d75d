"""Whole runs of the backend oip, against a server in this process: what is measured, left out, refused and kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from harness.agent.frames import Array
from tests.support.oip_server import OipServer

from .conftest import Project

DEVICE = """
    extends = "local"

    [device]
    backends = ["onnxruntime", "oip"]

    [options.oip]
    endpoint = "laptop"

    [measure]
    block_ms = 1
"""
QUICK = ("-k", "parity or memory or load_time or instructions or first_start", "--time-limit", "20")


def tiny(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """The project's model."""
    weight = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    return {"output": np.maximum(inputs["x"] @ weight, 0)}


@pytest.fixture(scope="module")
def server() -> Iterator[OipServer]:
    """Serves the project's model."""
    described = (
        [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        [{"name": "output", "datatype": "FP32", "shape": [-1, 3]}],
    )
    with OipServer(tiny, name="tiny", inputs=described[0], outputs=described[1]) as running:
        yield running


@pytest.fixture
def remote(project: Project, server: OipServer) -> Project:
    """A project with a device that has an endpoint."""
    project.write("devices/robot.toml", DEVICE)
    write_endpoint(project, server.url)
    return project


def write_endpoint(project: Project, url: str, more: str = "") -> Path:
    """Write the endpoint's file."""
    text = f'[endpoint]\ndescription = "a laptop"\nurl = "{url}"\nmodel = "tiny"\n{more}'
    return project.write("endpoints/laptop.toml", text)


NETWORK = """
    [network]
    description = "a field"
    source = "this test"
    measured = true
    delay_ms = 3
    rate_up_mbit = 8
"""


def shape(project: Project) -> None:
    """Have the device's calls shaped."""
    project.write("devices/robot.toml", DEVICE.replace('"laptop"', '"laptop"\n    network = "field"'))
    project.write("networks/field.toml", NETWORK)


def test_a_model_on_another_computer_is_measured_as_any_other(remote: Project, server: OipServer) -> None:
    shape(remote)
    done = remote.run("--device", "robot", "--backend", "oip", *QUICK)
    assert done.status == 0, done.output
    (cell,) = done.evidence["cells"]
    assert (cell["verdict"], done.check("parity")["verdict"]) == ("PASS", "PASS")
    assert done.check("load_time_s")["verdict"] == "MEASURED"
    endpoint = cell["endpoint"]
    assert (endpoint["name"], endpoint["url"], endpoint["model"]) == ("laptop", server.url, "tiny")
    assert endpoint["wire"] == "binary"
    assert min(endpoint["request_bytes"], endpoint["response_bytes"]) > 0
    network = cell["network"]
    assert (network["name"], network["delay_ms"], network["up"]["rate_mbit"]) == ("field", 3, 8)
    assert network["transfer_ms"] == pytest.approx(endpoint["request_bytes"] / 1000)
    assert any("calls go through the network field" in note for note in cell["notes"])
    assert done.check("load_time_s")["value"] > 3 * 0.006  # connection, model, server, inference
    assert cell["artifact"]["exporter"] == "description"
    assert "another computer" in cell["instructions"]["not_done"]
    kinds = {file["kind"]: file for file in done.evidence["files"]}
    assert kinds["endpoint"]["path"] == "endpoints/laptop.toml"
    assert kinds["network"]["path"] == "networks/field.toml"
    manifest = json.loads((done.folder / f"build/hil/bundles/{cell['bundle']['sha256']}.json").read_text())
    names = set(manifest["files"])
    assert {"agent/backend.py", "agent/remote/client.py", "artifact/endpoint.json"} <= names
    for metric in ("artifact_mib", "instructions_per_inference"):
        found = done.check(metric)
        assert (found["verdict"], found["asked"]) == ("NOT_APPLICABLE", False)
        assert "another computer" in found["reason"]


def test_a_rule_leaves_the_backend_out_with_its_reason_everywhere(remote: Project, server: OipServer) -> None:
    remote.write("devices/robot.toml", DEVICE + "\n    [rules]\n    onboard = true\n")
    server.requests.clear()
    done = remote.run("--device", "robot", *QUICK)
    assert done.status == 1, done.output
    assert server.requests == []
    verdicts = {cell["backend"]: cell["verdict"] for cell in done.evidence["cells"]}
    assert verdicts == {"onnxruntime": "PASS", "oip": "INELIGIBLE"}
    assert done.evidence["verdict"] == "INELIGIBLE"
    oip = next(cell for cell in done.evidence["cells"] if cell["backend"] == "oip")
    assert oip["forbidden"].startswith("rules.onboard: ")
    assert (oip["checks"], oip["error"], oip["unfinished"]) == ([], None, [])
    (decision,) = done.evidence["decision"]
    assert decision["taken"] == "onnxruntime"
    assert "rules.onboard" in next(one["reason"] for one in decision["out"] if one["backend"] == "oip")
    assert "rule (oip): rules.onboard" in done.output
    assert "INELIGIBLE: rules.onboard" in (done.folder / "build/hil/junit.xml").read_text()


def test_a_forbidden_backend_that_is_named_is_measured_and_never_a_pass_and_rules_for_the_cloud_allow_a_laptop(
    remote: Project,
) -> None:
    remote.write("devices/robot.toml", DEVICE + "\n    [rules]\n    onboard = true\n")
    remote.write("devices/rover.toml", DEVICE + "\n    [rules]\n    offline = true\n")
    done = remote.run("--device", "robot", "--device", "rover", "--backend", "oip", "-k", "parity")
    assert done.status == 1, done.output
    verdicts = {cell["device"]: cell["verdict"] for cell in done.evidence["cells"]}
    assert verdicts == {"robot": "INELIGIBLE", "rover": "PASS"}
    assert [done.check("parity", cell)["verdict"] for cell in (0, 1)] == ["PASS", "PASS"]


def test_doctor_looks_at_the_endpoint_from_the_device(remote: Project, server: OipServer) -> None:
    shape(remote)
    done = remote.hilgate("doctor", "robot")
    assert "✓   network                field (measured): delay 3 ms each way, up 8 Mbit/s" in done.output
    assert f"✓ endpoint of oip          laptop: model tiny on {server.url}" in done.output
    assert "✓   inference              binary" in done.output
    write_endpoint(remote, "http://127.0.0.1:9")
    done = remote.hilgate("doctor", "robot")
    assert done.status == 1
    assert "✗   connection             Connection refused" in done.output


@pytest.mark.parametrize(
    ("device", "url", "more", "words"),
    [
        pytest.param(
            'endpoint = "lptop"', "", "", ["there is no endpoint 'lptop'", "did you mean 'laptop'?"], id="name"
        ),
        pytest.param("", "http://me:secret@host", "", ["http://…@host", "a password in it"], id="userinfo"),
        pytest.param(
            'endpoint = "laptop"\nmax_request_bytes = 10', "", "", ["at most 10 bytes", "64 bytes"], id="request"
        ),
        pytest.param('endpoint = "laptop"\ntimeout_ms = 0', "", "", ["option 'timeout_ms'", "found:"], id="timeout"),
    ],
)
def test_what_cannot_be_called_is_refused_before_anything_starts(
    remote: Project, device: str, url: str, more: str, words: list[str]
) -> None:
    if device:
        lines = device.replace("\n", "\n    ")
        remote.write("devices/robot.toml", DEVICE.replace('endpoint = "laptop"', lines))
    if url:
        write_endpoint(remote, url, more)
    done = remote.run("--device", "robot", "--backend", "oip")
    assert done.status == 4, done.output
    assert [word for word in words if word not in done.output] == []
    assert "secret" not in done.output


def test_an_answer_that_is_too_large_is_refused_before_any_call(remote: Project, server: OipServer) -> None:
    remote.write("devices/robot.toml", DEVICE.replace('"laptop"', '"laptop"\n    max_response_bytes = 20'))
    server.requests.clear()
    done = remote.run("--device", "robot", "--backend", "oip", "-k", "parity")
    assert done.status == 1, done.output
    assert "48 bytes of tensors" in done.output
    assert "at most 20 bytes" in done.output
    assert server.requests == []
