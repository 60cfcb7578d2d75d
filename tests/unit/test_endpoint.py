"""Endpoint files: what they may say, how one extends another, and what a message says when they are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from harness.agent.remote.description import load_endpoint as read_description
from harness.backends import Backend, load_backend
from harness.endpoint import (
    Calls,
    describe_endpoint,
    endpoint_folders,
    endpoint_names,
    load_endpoint,
    named_endpoint,
    why_forbidden,
)
from harness.endpoint.url import why_unusable
from harness.errors import EndpointError
from tests.support.certificates import Authority

LAPTOP = """
[endpoint]
description = "a laptop"
url = "http://10.0.0.2:8000/"
model = "digits"
"""
CLOUD = """
[endpoint]
description = "the endpoint of the season"
region = "eu-central-1"
name = "digits-prod"
role = "arn:aws:iam::111122223333:role/robots/caller"
target_variant = "AllTraffic"

[prices]
per_instance_hour_usd = 0.1
instances = 3
per_million_requests_usd = 0.2
per_gb_in_usd = 0.016
source = "the price list of 2026-11-27"
"""
EMULATED = '[endpoint]\ndescription = "to look"\nemulated = true\nserve = "onnxruntime-cpp"\n'
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an endpoint file into ``mine``, or ``shipped``."""

    def write(name: str, text: str, folder: str = "mine") -> Path:
        path = tmp_path / folder / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The user's folder, and hilgate's."""
    return tmp_path / "mine", tmp_path / "shipped"


def test_a_file_says_where_the_server_is(write: Write, folders: tuple[Path, Path]) -> None:
    path = write("laptop", LAPTOP)
    found = load_endpoint("laptop", folders)
    assert (found.name, found.path, found.url, found.model) == ("laptop", path, "http://10.0.0.2:8000", "digits")
    assert (found.version, found.ca, [each.name for each in found.files]) == ("", "", ["laptop"])


def test_a_file_extends_another(write: Write, folders: tuple[Path, Path]) -> None:
    write("laptop", LAPTOP, "shipped")
    write("laptop", 'extends = "laptop"\n[endpoint]\nversion = "2"\n')
    write("other", 'extends = "laptop"\n[endpoint]\nmodel = "net"\n')
    found = load_endpoint("other", folders)
    assert (found.model, found.version, found.url) == ("net", "2", "http://10.0.0.2:8000")
    assert [each.name for each in found.files] == ["other", "laptop", "laptop"]
    assert endpoint_names(folders) == ["laptop", "other"]


def test_a_file_names_an_endpoint_of_sagemaker_and_its_prices(write: Write, folders: tuple[Path, Path]) -> None:
    write("cloud", CLOUD)
    found = load_endpoint("cloud", folders)
    assert (found.kind, found.region, found.endpoint_name) == ("sagemaker", "eu-central-1", "digits-prod")
    assert (found.role[-7:], found.target_variant, found.model) == ("/caller", "AllTraffic", "")
    assert found.url == "https://runtime.sagemaker.eu-central-1.amazonaws.com"
    assert found.prices is not None
    assert found.prices.per_instance_hour_usd * found.prices.instances == Decimal("0.3")  # and not 0.30000000000000004
    assert (found.prices.per_gb_in_usd, found.prices.per_gb_out_usd) == (Decimal("0.016"), Decimal(0))
    write("vpc", 'extends = "cloud"\n[endpoint]\nurl = "https://vpce-1.vpce.amazonaws.com/"\nregion = "cn-north-1"')
    assert load_endpoint("vpc", folders).url == "https://vpce-1.vpce.amazonaws.com"
    write("china", 'extends = "cloud"\n[endpoint]\nregion = "cn-north-1"')
    assert load_endpoint("china", folders).url == "https://runtime.sagemaker.cn-north-1.amazonaws.com.cn"


def test_a_file_asks_for_the_emulated_service(write: Write, folders: tuple[Path, Path]) -> None:
    write("look", EMULATED)
    found = load_endpoint("look", folders)
    assert (found.kind, found.serve, found.url, found.prices) == ("emulated", "onnxruntime-cpp", "", None)


@pytest.mark.parametrize(
    ("backend", "fits"),
    [("oip", "oip emulated"), ("sagemaker", "sagemaker emulated"), ("mine", "oip sagemaker emulated")],
)
@pytest.mark.parametrize(("name", "text"), [("oip", LAPTOP), ("sagemaker", CLOUD), ("emulated", EMULATED)])
def test_a_backend_refuses_an_endpoint_that_it_does_not_call(
    write: Write, folders: tuple[Path, Path], backend: str, fits: str, name: str, text: str
) -> None:
    write(name, text)
    if name in fits.split():
        assert named_endpoint(backend, {"endpoint": name}, folders, "d").kind == name
        return
    with pytest.raises(EndpointError, match=f"backend {backend} does not call") as caught:
        named_endpoint(backend, {"endpoint": name}, folders, "d.toml: options.x")
    assert ("region and name" if backend == "sagemaker" else "url and model") in caught.value.wanted


def test_endpoints_are_beside_the_folder_of_devices(tmp_path: Path) -> None:
    assert endpoint_folders([tmp_path / "devices", tmp_path / "hilgate"])[0] == tmp_path / "endpoints"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(LAPTOP.replace("model", "modl"), ["unknown key 'endpoint.modl'", "'model'?"], id="key"),
        pytest.param(LAPTOP.replace('model = "digits"', ""), ["'endpoint.model' is missing"], id="missing"),
        pytest.param(LAPTOP.replace('"digits"', '"a/../b"'), ["'endpoint.model' is wrong", "a/../b"], id="model"),
        pytest.param(
            LAPTOP.replace('"digits"', '"digits"\nversion = 2'), ["'endpoint.version' is wrong"], id="version"
        ),
        pytest.param(LAPTOP.replace('"digits"', '"digits"\nprice = 2'), ["unknown key 'endpoint.price'"], id="price"),
        pytest.param(
            '[endpoint]\ndescription = "d"', ["and 'endpoint.model' are missing", "region and name"], id="kind"
        ),
        pytest.param(CLOUD.replace("region =", "model ="), ["'endpoint.region' is missing", "eu-central-1"], id="half"),
        pytest.param(CLOUD.replace("role =", "version ="), ["'endpoint.version' is wrong"], id="version-of-none"),
        pytest.param(CLOUD.replace("AllTraffic", "-x"), ["'endpoint.target_variant' is wrong"], id="variant"),
        pytest.param(CLOUD.replace("digits-prod", "d" * 64), ["'endpoint.name' is wrong", "63"], id="long"),
        pytest.param(CLOUD.replace("eu-central-1", "evil.example/"), ["'endpoint.region' is wrong"], id="region"),
        pytest.param(CLOUD.replace(":role/", ":user/"), ["'endpoint.role' is wrong", ":role/robot"], id="role"),
        pytest.param(CLOUD.replace("role =", "url = 'http://h'\nrole ="), ["a token in it"], id="not-tls"),
        pytest.param(EMULATED + "ca = 'x.pem'", ["'endpoint.ca' is no key of an emulated service"], id="emulated-ca"),
        pytest.param(
            LAPTOP + 'role = "arn:aws:iam::111122223333:role/r"', ["no key of a server of the"], id="oip-role"
        ),
        pytest.param(CLOUD.replace("hour_usd", "hour_cent"), ["did you mean 'per_instance_hour_usd'"], id="cent"),
        pytest.param(CLOUD.replace("= 0.1", '= "0.1 EUR"'), ["US dollars an hour", "0.1 EUR"], id="euro"),
        pytest.param(CLOUD.replace("= 0.1", "= 2300"), ["US dollars an hour", "0 to 1,000"], id="yearly"),
        pytest.param(CLOUD.replace("= 0.1", "= -0.1"), ["'prices.per_instance_hour_usd' is wrong"], id="negative"),
        pytest.param(CLOUD.replace("= 0.1", "= nan"), ["'prices.per_instance_hour_usd' is wrong"], id="nan"),
        pytest.param(CLOUD.replace("source", "sauce"), ["'prices.source' is missing"], id="no-source"),
        pytest.param("[endpoint", ["an endpoint file cannot be read"], id="no-toml"),
        pytest.param('extends = "laptop"', ["laptop -> laptop"], id="itself"),
        pytest.param('url = "http://a"', ["its place is 'endpoint.url'"], id="no-table"),
        pytest.param(LAPTOP.replace('"digits"', '"d"\nca = "no.pem"'), ["cannot be read", "endpoint.ca"], id="no-ca"),
    ],
)
def test_what_is_wrong_is_named(write: Write, folders: tuple[Path, Path], text: str, words: list[str]) -> None:
    path = write("laptop", text)
    with pytest.raises(EndpointError) as caught:
        load_endpoint("laptop", folders)
    assert [word for word in [*words, path.name] if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://10.0.0.2:8000", ""),
        ("https://laptop.local", ""),
        ("http://[fe80::1]:8000", ""),
        ("https://host/models/of/mine", ""),
        ("host:8000", "its scheme|it has no scheme"),
        ("file:///etc/passwd", "its scheme is 'file'"),
        ("http://", "it has no host"),
        ("http://:80", "it has no host"),
        ("http://host:", "it has a colon, and no port"),
        ("http://host:0", "its port is 0"),
        ("http://host:65536", "Port out of range"),
        ("http://host:a", "Port could not be cast"),
        ("http://me@host", "a user's name or a password"),
        ("http://me:pass@host", "a user's name or a password"),
        ("http://me:pass@host:port", "cannot be read"),
        ("http://host?key=1", "a query or a fragment"),
        ("http://ho st", "a blank"),
        ("http://host\n", "a blank or a control"),
        ("http://hörst", "beyond ASCII"),
        ("http://a\\b", "its host is"),
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://" + "a" * 3000, "3007 characters"),
    ],
)
def test_a_url_has_a_scheme_a_host_and_no_secret(url: str, problem: str) -> None:
    found = why_unusable(url)
    assert any(word in found for word in problem.split("|")) if problem else found == ""


@pytest.mark.parametrize(
    "url", ["http://me:hunter2@host", "ftp://me:hunter2@host", "http://me:hunter2@host:x", "me:hunter2@h"]
)
def test_a_password_is_in_no_message(write: Write, folders: tuple[Path, Path], url: str) -> None:
    write("laptop", LAPTOP.replace("http://10.0.0.2:8000/", url))
    with pytest.raises(EndpointError) as caught:
        load_endpoint("laptop", folders)
    assert "hunter2" not in str(caught.value)


def test_a_certificate_is_read_beside_the_file_that_names_it(
    write: Write, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    path = write("laptop", LAPTOP.replace('"digits"', '"digits"\nca = "laptop.pem"'), "shipped")
    certificate, key = Authority(tmp_path).pem, "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"
    path.with_name("laptop.pem").write_text(certificate)
    write("mine", 'extends = "laptop"\n')
    assert load_endpoint("mine", folders).ca == certificate
    for content, words in ((certificate + key, "a private key"), ("nothing", "no certificate"), ("é", "no ASCII")):
        path.with_name("laptop.pem").write_text(content)
        with pytest.raises(EndpointError, match=words):
            load_endpoint("mine", folders)


def test_options_without_an_endpoint_name_those_that_there_are(write: Write, folders: tuple[Path, Path]) -> None:
    write("laptop", LAPTOP)
    assert named_endpoint("oip", {"endpoint": "laptop"}, folders, "d.toml: options.oip").name == "laptop"
    with pytest.raises(EndpointError, match="name one of laptop"):
        named_endpoint("oip", {}, folders, "d.toml: options.oip")
    with pytest.raises(EndpointError, match=r"did you mean 'laptop'\?") as caught:
        named_endpoint("oip", {"endpoint": "labtop"}, folders, "d.toml: options.oip")
    assert caught.value.where == "d.toml: options.oip.endpoint"
    with pytest.raises(EndpointError, match="this is not an endpoint's name"):
        named_endpoint("oip", {"endpoint": "../laptop"}, folders, "d.toml: options.oip")


@pytest.mark.parametrize(
    ("options", "deadline_ms", "timeout_ms"),
    [({}, None, 10_000.0), ({}, 50.0, 50.0), ({"timeout_ms": 5}, 50.0, 5.0)],
)
def test_a_call_may_take_what_the_device_or_the_models_deadline_says(
    options: dict[str, Any], deadline_ms: float | None, timeout_ms: float
) -> None:
    assert Calls.of_options(options, deadline_ms).timeout_ms == timeout_ms


def test_the_devices_client_reads_the_description(write: Write, folders: tuple[Path, Path], tmp_path: Path) -> None:
    write("laptop", LAPTOP)
    endpoint = load_endpoint("laptop", folders)
    inputs = [{"name": "x", "dtype": "float32", "shape": ["batch", 64]}]
    calls = Calls(timeout_ms=50.0, attempts=2, max_request_bytes=1000, max_response_bytes=2000)
    path = tmp_path / "endpoint.json"
    path.write_text(json.dumps(describe_endpoint(endpoint, calls, inputs, ["y"])))
    read = read_description(str(path))
    assert (str(read.url), read.model, read.outputs, read.inputs[0].shape) == (endpoint.url, "digits", ("y",), (-1, 64))
    assert (read.timeout_s, read.attempts, read.max_request_bytes, read.max_response_bytes) == (0.05, 2, 1000, 2000)


def backend(**keys: Any) -> Backend:
    return Backend(name="b", artifact="endpoint", providers=(), options={}, source=Path("b.py"), **keys)


@pytest.mark.parametrize(
    ("keys", "onboard", "offline", "words"),
    [
        ({}, True, True, ""),
        ({"remote": True}, False, True, ""),
        ({"remote": True}, True, False, "rules.onboard"),
        ({"remote": True, "cloud": True}, False, True, "rules.offline"),
        ({"remote": True, "cloud": True}, True, True, "rules.onboard"),
        ({"remote": True, "cloud": True}, False, False, ""),
    ],
)
def test_rules_forbid_what_is_not_on_the_device(
    keys: dict[str, bool], onboard: bool, offline: bool, words: str
) -> None:
    assert why_forbidden(backend(**keys), onboard=onboard, offline=offline).partition(":")[0] == words


def test_oip_is_remote_and_no_other_backend_is() -> None:
    assert load_backend("oip").remote
    assert not any(load_backend(name).remote for name in ("onnxruntime", "torchscript", "libtorch"))
