"""Cells whose model another computer has: described, bundled, forbidden, and what of them is not asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import Input, Model
from harness.agent.remote.description import read_endpoint
from harness.backends import load_backend
from harness.bundle import make_bundle
from harness.bundle.runtime import Runtime
from harness.cell import Cell
from harness.checks.check import Check, Verdict
from harness.checks.finding import Finding
from harness.checks.limits import Limit, Metric
from harness.cli.device_file import backends_for
from harness.device import load_device
from harness.device.device import Device
from harness.endpoint import Calls, Endpoint
from harness.endpoint import describe_endpoint as write_description
from harness.errors import BackendError, EndpointError, ExportError, InputError, NetworkError
from harness.evidence.cell_record import CellRecord
from harness.evidence.parts import describe_endpoint
from harness.export import load_format
from harness.export.endpoint import check_request, make_description
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.measure.artifact_size import ARTIFACT_SIZE
from harness.measure.elsewhere import not_on_device
from harness.model.build import build_model
from harness.model.model_file import ModelFile
from harness.run.plan import _backends_of, _cell
from tests.unit.test_backend_and_format_files import BACKEND, Write, write

__all__ = ["write"]

ENDPOINT = Endpoint(
    name="laptop", path=Path("endpoints/laptop.toml"), description="a laptop", url="http://10.0.0.2:8000", model="net"
)
PARITY = Metric("parity", "", "worst error ratio")
SPEED, OPTION = '"speed": (("fast", "slow"), \'"fast" or "slow"\')', '"endpoint": ("text", "a name")'
REMOTE = BACKEND.replace('"toy"', '"endpoint"').replace(SPEED, OPTION) + "\nREMOTE = True\n"


def build() -> Any:
    """A small module."""
    import torch

    return torch.nn.Linear(4, 3).eval()


def model_file(**keys: Any) -> ModelFile:
    """A model file with dimensions."""
    inputs = [Input("x", shape=("batch", 4), min_value=-1.0, max_value=1.0)]
    model = Model(build=_seeded, inputs=inputs, dims={"batch": (1, 4)}, name="net", **keys)
    return ModelFile(Path("net.py"), model, ())


def _seeded() -> Any:
    import torch

    torch.manual_seed(0)
    return build()


def test_an_endpoint_of_sagemaker_is_described_with_its_region_name_and_form() -> None:
    options = {"endpoint": "arm", "stream": True, "format": "npy"}
    backend = load_backend("sagemaker")
    backend.check_options(options, "robot.toml")
    assert (backend.cloud, backend.packages) == (True, ("numpy", "botocore"))
    for wrong in ({"stream": "yes"}, {"format": "csv"}, {"fall_back": "onnxruntime"}):
        with pytest.raises(BackendError, match=next(iter(wrong))):
            backend.check_options(wrong, "robot.toml")
    url = "https://runtime.sagemaker.eu-west-1.amazonaws.com"
    arm = replace(ENDPOINT, kind="sagemaker", url=url, model="", region="eu-west-1", endpoint_name="arm")
    described = write_description(arm, Calls.of_options(options, 20.0), [], ["y"])
    read = read_endpoint(described, "sagemaker")
    assert (read.region, read.endpoint_name, read.format, read.stream) == ("eu-west-1", "arm", "npy", True)
    assert (str(read.url), read.timeout_s) == (url, 0.02)
    with pytest.raises(ValueError, match="protocol oip; found schema 1, protocol 'sagemaker'"):
        read_endpoint(described)


def cell_of(**keys: Any) -> Cell:
    """A cell of the backend oip."""
    options = {"oip": {"endpoint": "laptop"}}
    device = Device(
        name="robot", path=Path("robot.toml"), description="a robot", link="local", backends=("oip",), options=options
    )
    return Cell(model_file(), device, load_backend("oip"), **{"endpoint": ENDPOINT, **keys})


def test_the_artifact_is_what_the_devices_client_reads() -> None:
    built = build_model(model_file())
    artifact = make_description(built, ENDPOINT, Calls(timeout_ms=20.0))
    assert (artifact.format, artifact.exporter, artifact.files[0].name) == ("endpoint", "description", "endpoint.json")
    read = read_endpoint(json.loads((artifact.folder / "endpoint.json").read_text()))
    assert (read.name, str(read.url), read.model, read.timeout_s) == ("laptop", ENDPOINT.url, "net", 0.02)
    assert [(spec.name, spec.datatype, spec.shape) for spec in read.inputs] == [("x", "FP32", (-1, 4))]
    assert read.outputs == built.outputs
    again = make_description(built, ENDPOINT, Calls(timeout_ms=20.0))
    assert (again.cached, again.sha256) == (True, artifact.sha256)
    assert make_description(built, ENDPOINT, Calls(timeout_ms=21.0)).sha256 != artifact.sha256


def test_sizes_beyond_the_limits_are_refused_with_both() -> None:
    file = model_file()
    check_request(file.model, ENDPOINT, Calls(max_request_bytes=64), "robot.toml")
    with pytest.raises(EndpointError) as caught:
        check_request(file.model, ENDPOINT, Calls(max_request_bytes=63), "robot.toml: options.oip.max_request_bytes")
    assert all(
        word in str(caught.value) for word in ("at most 63 bytes", "64 bytes of tensors, at batch = 4", "robot.toml")
    )
    smaller = model_file(measure={"batch": 1})
    check_request(smaller.model, ENDPOINT, Calls(max_request_bytes=16), "")
    with pytest.raises(EndpointError, match="an answer of endpoint laptop is larger") as caught:
        make_description(build_model(file), ENDPOINT, Calls(max_response_bytes=47))
    assert "48 bytes of tensors" in caught.value.found
    make_description(build_model(file), ENDPOINT, Calls(max_response_bytes=48))


def test_the_format_is_made_and_not_exported() -> None:
    found = load_format("endpoint")
    (exporter,) = found.exporters.values()
    with pytest.raises(ExportError, match="served, and not exported"):
        exporter(build(), model_file().model, (), Path())
    assert found.open(Path(), "description") is None
    with pytest.raises(ExportError, match="cannot be given"):
        found.read_interface(Path(), model_file().model)


def test_a_remote_backends_bundle_has_the_client_and_no_others() -> None:
    runtime = Runtime(described={"python": "3.11"}, packages={})
    remote, own = (set(make_bundle(None, load_backend(name), runtime).agent) for name in ("oip", "onnxruntime"))
    assert {"agent/remote/__init__.py", "agent/remote/client.py", "agent/backend.py"} <= remote
    rooms = ("agent/remote/", "agent/network/")
    assert not any(path.startswith(rooms) for path in own)
    assert {path for path in remote if not path.startswith(rooms)} == own
    assert "agent/network/proxy.py" in remote
    assert "agent/remote/client.py" in make_bundle(None, load_backend("oip"), runtime).entries[-1].texts


def test_hilgate_add_leaves_remote_backends_out() -> None:
    assert "oip" not in backends_for(["numpy==2.4.6", "onnxruntime==1.32.0"], native=True)


def test_a_call_may_take_as_long_as_the_models_deadline() -> None:
    cell = cell_of()
    assert cell.calls == Calls(timeout_ms=10_000.0)
    limited = replace(cell, file=replace(cell.file, limits=(Limit("deadline_ms", 40.0, "net.py"),)))
    assert limited.calls.timeout_ms == 40.0


# Rules


@pytest.mark.parametrize(
    ("verdicts", "is_named", "verdict"),
    [
        ([], False, Verdict.INELIGIBLE),
        ([Verdict.PASS], True, Verdict.INELIGIBLE),
        ([Verdict.MEASURED, Verdict.NOT_APPLICABLE], True, Verdict.INELIGIBLE),
        ([Verdict.PASS, Verdict.FAIL], True, Verdict.FAIL),
        ([Verdict.PASS, Verdict.INCONCLUSIVE], True, Verdict.INCONCLUSIVE),
    ],
)
def test_what_a_rule_forbids_is_never_a_pass(verdicts: list[Verdict], is_named: bool, verdict: Verdict) -> None:
    cell = cell_of(forbidden="rules.onboard: no", is_named=is_named)
    record = CellRecord(cell, checks=[Check(Finding(PARITY, 1.0, 1.0), None, each, "") for each in verdicts])
    assert record.verdict is verdict
    assert cell.is_left_out is not is_named
    assert record.has_outcome
    entry = record.make_entry({}).as_json()
    assert (entry["forbidden"], entry["verdict"]) == ("rules.onboard: no", verdict)


def test_a_forbidden_cell_that_is_named_needs_an_outcome() -> None:
    assert not CellRecord(cell_of(forbidden="rules.onboard: no", is_named=True)).has_outcome


# Evidence


def test_the_evidence_has_the_endpoint_and_what_calls_were_like() -> None:
    record = CellRecord(cell_of())
    record.endpoint = describe_endpoint(ENDPOINT)
    entry = record.make_entry({}).as_json()
    assert entry["endpoint"] == {"name": "laptop", "url": ENDPOINT.url, "model": "net", "version": ""}
    assert "forbidden" not in entry
    said = {"wire": "binary", "request_bytes": 100, "response_bytes": 50, "server": "triton 2.51", "threads": 1}
    found = describe_endpoint(ENDPOINT, said).as_json()
    assert {key: found[key] for key in said if key != "threads"} == {k: v for k, v in said.items() if k != "threads"}
    assert "threads" not in found


def test_what_is_not_of_the_device_is_not_applicable_with_a_reason() -> None:
    assert not_on_device(ARTIFACT_SIZE).unasked
    asked = not_on_device(ARTIFACT_SIZE, 3.0)
    assert (asked.unasked, "another computer" in asked.not_applicable) == (False, True)


# A backend's file


def test_a_remote_backend_says_so_in_its_file(write: Write) -> None:
    write("backends/toy.py", REMOTE)
    toy = load_backend("toy")
    assert (toy.remote, toy.cloud) == (True, False)
    write("backends/toy_cloud.py", REMOTE + "CLOUD = True\n")
    assert (load_backend("toy-cloud").remote, load_backend("toy-cloud").cloud) == (True, True)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("REMOTE = True", "REMOTE = 1", ["REMOTE: it is 1"], id="a-number"),
        pytest.param(
            'ARTIFACT = "endpoint"', 'ARTIFACT = "onnx"', ["ARTIFACT: it is 'onnx'", "endpoint"], id="artifact"
        ),
        pytest.param(OPTION, "", ["OPTIONS: it has no 'endpoint'"], id="no-endpoint"),
    ],
)
def test_a_remote_backend_that_lacks_something_is_named(write: Write, old: str, new: str, words: list[str]) -> None:
    write("backends/toy.py", REMOTE.replace(old, new))
    with pytest.raises(BackendError) as caught:
        load_backend("toy")
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("text", ["a"], ["", " ", 1, None, ["a"]]),
        ("count", [1, 1 << 40], [0, -1, 1.0, True, "1"]),
        ("positive", [1, 0.5], [0, -1.0, float("nan"), float("inf"), True, "1", 10**400]),
    ],
)
def test_options_are_of_a_kind(kind: str, good: list[Any], bad: list[Any]) -> None:
    backend = replace(load_backend("oip"), options={"key": (kind, "what is wanted")})
    for value in good:
        backend.check_options({"key": value}, "robot.toml")
    for value in bad:
        with pytest.raises(BackendError, match="what is wanted"):
            backend.check_options({"key": value}, "robot.toml")


# Planning

LAPTOP = '[endpoint]\ndescription = "a laptop"\nurl = "http://10.0.0.2:8000"\nmodel = "net"\n'


def plan(tmp_path: Path, device: str, *, backends: tuple[str, ...] = (), endpoint: str = LAPTOP) -> list[Cell]:
    """Plan the cells of a device whose file has this in it."""
    for name, text in (("devices/robot.toml", f'extends = "local"\n{device}'), ("endpoints/laptop.toml", endpoint)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    folders = (tmp_path / "devices", DEVICES)
    robot = load_device("robot", folders, known_metrics().values())
    options = SimpleNamespace(device_folders=folders)
    named = [load_backend(name) for name in backends]
    return [
        _cell(model_file(), robot, backend, is_named=backend in named, options=cast(Any, options))
        for backend in _backends_of(robot, named)
    ]


OIP = '[device]\nbackends = ["onnxruntime", "oip"]\n[options.oip]\n'


def test_a_cell_is_planned_with_its_endpoint(tmp_path: Path) -> None:
    own, remote = plan(tmp_path, f'{OIP}endpoint = "laptop"\nattempts = 2\n')
    assert own.endpoint is None
    assert (remote.endpoint and remote.endpoint.url, remote.calls.attempts) == ("http://10.0.0.2:8000", 2)
    assert remote.network is None


def test_a_cell_is_planned_with_its_network(tmp_path: Path) -> None:
    _, remote = plan(tmp_path, f'{OIP}endpoint = "laptop"\nnetwork = "lte"\n')
    assert remote.network is not None
    assert (remote.network.name, remote.network.delay_ms) == ("lte", 25)
    with pytest.raises(NetworkError, match="there is no network 'ltd'") as caught:
        plan(tmp_path, f'{OIP}endpoint = "laptop"\nnetwork = "ltd"\n')
    assert caught.value.where.endswith("robot.toml: options.oip.network")


@pytest.mark.parametrize(
    ("options", "endpoint", "words"),
    [
        ("attempts = 2", LAPTOP, ["backend oip has no endpoint to call", "name one of emulated, laptop"]),
        ('endpoint = "labtop"', LAPTOP, ["there is no endpoint 'labtop'", "did you mean 'laptop'?"]),
        ('endpoint = "laptop"', LAPTOP.replace("http", "ftp"), ["its scheme is 'ftp'", "laptop.toml: endpoint.url"]),
        ('endpoint = "laptop"', LAPTOP.replace("8000", "80000"), ["Port out of range"]),
        ('endpoint = "laptop"', LAPTOP + "price = 1\n", ["unknown key 'endpoint.price'"]),
        ('endpoint = "laptop"\nmax_request_bytes = 8', LAPTOP, ["at most 8 bytes", "64 bytes of tensors"]),
        ('endpoint = "laptop"\nattempts = 0', LAPTOP, ["option 'attempts'", "found:  0"]),
        ('endpoint = "laptop"\ntimeout_ms = "1 s"', LAPTOP, ["option 'timeout_ms'", "milliseconds"]),
        ('endpoint = "laptop"\nretries = 1', LAPTOP, ["unknown option 'retries'", "attempts"]),
    ],
)
def test_what_cannot_be_called_is_refused_before_anything_starts(
    tmp_path: Path, options: str, endpoint: str, words: list[str]
) -> None:
    with pytest.raises((InputError, BackendError)) as caught:
        plan(tmp_path, f"{OIP}{options}\n", endpoint=endpoint)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_forbidden_cell_is_left_out_unless_it_is_named(tmp_path: Path) -> None:
    rule = f'{OIP}endpoint = "laptop"\n[rules]\nonboard = true\n'
    own, remote = plan(tmp_path, rule)
    assert (own.forbidden, own.is_left_out, remote.is_left_out, remote.endpoint) == ("", False, True, None)
    (named,) = plan(tmp_path, rule, backends=("oip",))
    assert named.forbidden.startswith("rules.onboard: ")
    assert (named.is_left_out, named.endpoint is not None) == (False, True)


def test_a_forbidden_backend_needs_no_endpoint(tmp_path: Path) -> None:
    assert plan(tmp_path, f"{OIP}[rules]\nonboard = true\n")[1].is_left_out
