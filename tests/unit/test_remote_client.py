"""The client of a model elsewhere: descriptions, both forms of requests, and models that are other ones."""

from __future__ import annotations

import ast
import json
import math
import sys
import time
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import harness.agent.remote
from harness.agent.failure import KINDS, CallFailed, Failures, Repeats
from harness.agent.frames import ITEM_SIZES, Array
from harness.agent.remote.answer import Answer
from harness.agent.remote.client import Client
from harness.agent.remote.deadline import Deadline
from harness.agent.remote.description import load_endpoint, read_endpoint
from harness.agent.remote.npy import NpyReader
from harness.agent.remote.protocol import AnswerReader
from harness.agent.remote.tensors import DTYPES, NAMES
from harness.agent.remote.url import parse_url
from harness.protocol.agent import FailureKind
from tests.support.oip_server import OipServer, doubling, linear

X = np.arange(6, dtype=np.float32).reshape(2, 3)
LINEAR = ({"name": "y", "datatype": "FP32", "shape": [-1, 2]}, {"name": "n", "datatype": "INT64", "shape": [1]})


def opened(server: OipServer, **others: Any) -> Client:
    """A client that has asked for the model."""
    client = Client(read_endpoint(server.description(**{"timeout_ms": 5000, **others})))
    client.open()
    return client


# Inferences


@pytest.mark.parametrize("binary", [True, False])
def test_outputs_come_in_the_order_in_which_they_are_asked_for(binary: bool) -> None:
    with OipServer(linear, outputs=LINEAR, binary=binary) as server:
        for names in ([], ["n", "y"], ["y"]):
            client = opened(server, outputs=names)
            found = dict(zip(client.output_names, client.infer([X]), strict=True))
            assert [*found] == (names or ["y", "n"])
            np.testing.assert_array_equal(found["y"], linear({"x": X})["y"])
            assert client.facts()["wire"] == ("binary" if binary else "json")
            client.close()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("dtype", ITEM_SIZES)
def test_every_element_type_arrives_bit_for_bit(dtype: str, binary: bool) -> None:
    values: Array = np.array([0, 1, 0, 1] if dtype == "bool" else [0, 1, 2, 3], dtype)
    if dtype.startswith("float"):
        values = np.array([-0.0, 0.1, float(np.finfo(dtype).max), float(np.finfo(dtype).smallest_subnormal)], dtype)
    elif dtype != "bool":
        values[-2:] = np.iinfo(dtype).min, np.iinfo(dtype).max
    spec = {"datatype": NAMES[dtype], "shape": [4]}
    identity: dict[str, Any] = {"inputs": [{"name": "x", **spec}], "outputs": [{"name": "y", **spec}], "binary": binary}
    with OipServer(lambda inputs: {"y": inputs["x"]}, **identity) as server:
        client = opened(server)
        for _ in range(2):
            (found,) = client.infer([values])
            assert (found.dtype.name, found.tobytes()) == (dtype, values.tobytes())
        client.close()


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 0)])
def test_scalars_and_empty_tensors_are_tensors(shape: tuple[int, ...]) -> None:
    spec = {"datatype": "INT64", "shape": list(shape)}
    with OipServer(inputs=[{"name": "x", **spec}], outputs=[{"name": "y", **spec}]) as server:
        client = opened(server)
        (found,) = client.infer([np.full(shape, 4, np.int64)])
        assert (found.shape, found.sum()) == (shape, 8 * math.prod(shape))
        client.close()


def test_arrays_of_any_order_in_memory_are_sent_as_they_are_meant() -> None:
    image = np.arange(120_000, dtype=np.float32).reshape(3, 200, 200).transpose(1, 2, 0)
    spec = {"datatype": "FP32", "shape": [200, 200, 3]}
    with OipServer(inputs=[{"name": "x", **spec}], outputs=[{"name": "y", **spec}]) as server:
        client = opened(server)
        np.testing.assert_array_equal(client.infer([image])[0], 2 * image)
        np.testing.assert_array_equal(client.infer([image[:, ::-1]])[0], 2 * image[:, ::-1])
        client.close()


def test_what_the_server_does_not_say_the_first_answer_says() -> None:
    with OipServer(inputs=[], outputs=[]) as server:
        described = {"inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 3]}]}
        client = opened(server, **described)
        client.infer([X])
        assert client.output_names == ["y"]
        server.model = lambda inputs: {"y": inputs["x"].astype(np.float64)}
        with pytest.raises(CallFailed, match=r"broken: the answer has the output y FP64\[2, 3\]; wanted y FP32"):
            client.infer([X])
        client.close()


def test_a_server_that_refuses_both_forms_is_quoted_for_both() -> None:
    with OipServer() as server:
        client = opened(server)
        server.status = 400
        with pytest.raises(CallFailed, match=r"refused: .* 400 .*told to.* \(in JSON; and with binary tensors: .*400"):
            client.infer([X])
        assert client.wire == ""
        server.status = 200
        client.infer([X])
        assert client.wire == "binary"
        client.close()


@pytest.mark.parametrize("extensions", [[], None, 7, [["binary_tensor_data"]]])
def test_a_server_that_dies_of_binary_tensors_and_does_not_list_them_gets_json(extensions: Any) -> None:
    with OipServer(binary=False) as server:
        server.refusal, server.extensions = 500, extensions
        client = opened(server)
        client.infer([X])
        assert client.wire == "json"
        client.close()


def test_a_server_that_lists_binary_tensors_and_fails_is_not_asked_in_json() -> None:
    with OipServer() as server:
        client = opened(server)
        server.status = 500
        with pytest.raises(CallFailed, match="answered 500"):
            client.infer([X])
        assert server.inferences == 1
        server.status = 200
        client.infer([X])
        assert client.wire == "binary"
        client.close()


def test_json_has_no_nan() -> None:
    with OipServer(binary=False) as server:
        client = opened(server)
        client.infer([X])
        with pytest.raises(CallFailed, match="rejected: an input has NaN or infinity in it"):
            client.infer([X * np.nan])
        client.close()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "has no data"),
        ([1, 2], "has 2 elements; its sizes say 6"),
        ([1, 2, 3, 4, 5, "6"], "elements of another type"),
        ([1, 2, 3, 4, 5, None], "elements of another type"),
        ([1, 2, 3, 4, 5, True], "elements of another type"),
        ([[1, 2, 3], 4], "lists and elements side by side"),
        ([[1, 2], [3], [4, 5, 6]], "lists of several lengths side by side"),
        ([[1, 2], [3, 4], [5, 6]], r"elements in lists of \[3, 2\]"),
        ([1, 2, 3, 4, 5, 1 << 40], "beyond its type"),
        ([1, 2, 3, 4, 5, 1.5], "elements of another type"),
    ],
)
def test_elements_in_json_that_are_none_are_refused(data: Any, words: str) -> None:
    spec = {"datatype": "INT32", "shape": [2, 3]}
    with OipServer(binary=False, inputs=[{"name": "x", **spec}], outputs=[{"name": "y", **spec}]) as server:
        client = opened(server)
        (found,) = client.infer([X.astype(np.int32)])
        assert found.tolist() == (2 * X).tolist()
        server.data = data
        with pytest.raises(CallFailed, match=f"broken: .*{words}"):
            client.infer([X.astype(np.int32)])
        server.data = [[1, 2, 3], [4, 5, 6]]
        assert client.infer([X.astype(np.int32)])[0].tolist() == [[1, 2, 3], [4, 5, 6]]
        client.close()


def test_a_tensor_without_elements_that_is_larger_than_memory_is_a_broken_answer() -> None:
    sizes = [0, 1 << 39, 1 << 39]
    table = {"name": "y", "datatype": "FP32", "shape": sizes, "parameters": {"binary_data_size": 0}}
    header = json.dumps({"outputs": [table]}).encode()
    npy = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(sizes)!r}, }}".encode()
    answers: list[tuple[AnswerReader | NpyReader, bytes, str | None]] = [
        (AnswerReader(["y"], ()), header, str(len(header))),
        (NpyReader(["y"]), b"\x93NUMPY\1\0" + len(npy).to_bytes(2, "little") + npy, None),
    ]
    for reader, body, said in answers:
        with pytest.raises(CallFailed, match=r"broken: .* no (tensor|array): array is too big"):
            reader.read(Answer(HTTPMessage(), memoryview(body)), said)


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with OipServer() as server:
        client = opened(server)
        client.infer([X])
        client.close()


# Models that are other ones


@pytest.mark.parametrize(
    ("served", "words"),
    [
        ({"inputs": [{"name": "z", "datatype": "FP32", "shape": [-1, 3]}]}, r"wanted x FP32\[any, 3\]; found z FP32"),
        ({"inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 3]}]}, r"found x FP64\[any, 3\]"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]}, r"found x FP32\[any, 4\]"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [3]}]}, r"found x FP32\[3\]"),
        (
            {"outputs": [{"name": "z", "datatype": "FP32", "shape": [-1, 3]}]},
            "has other outputs than this one: wanted y",
        ),
        ({"outputs": [{"name": "y", "datatype": "BYTES", "shape": [-1]}]}, r"found y BYTES\[any\]"),
    ],
)
def test_another_model_is_a_clear_error(served: dict[str, Any], words: str) -> None:
    inputs = [{"name": "x", "dtype": "float32", "shape": ["batch", 3]}]
    with OipServer(**served) as server, pytest.raises(ValueError, match=words):
        opened(server, inputs=inputs, outputs=["y"])


def test_a_model_that_is_not_there_is_refused_with_the_servers_words() -> None:
    with OipServer() as server, pytest.raises(CallFailed, match=r"refused: .* answered 404 Not Found.*no /v2/models/n"):
        opened(server, model="n")


def test_outputs_beyond_the_limit_are_rejected_before_a_call() -> None:
    large = [{"name": "y", "datatype": "FP32", "shape": [-1, 1000]}]
    with OipServer(outputs=large) as server:
        with pytest.raises(
            CallFailed, match="rejected: the outputs take 4000 bytes at least; max_response_bytes is 3999"
        ):
            opened(server, max_response_bytes=3999)
        assert not [path for path in server.requests if path.endswith("infer")]


def test_a_models_name_is_quoted() -> None:
    with OipServer(name="my%20model%2Fone") as server:
        client = opened(server, model="my model/one")
        client.infer([X])
        client.close()


# Descriptions


GOOD = {
    "schema": 1,
    "protocol": "oip",
    "endpoint": "laptop",
    "url": "http://192.168.1.20:8000/prefix/",
    "model": "m",
    "version": "3",
    "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", -1, 3]}],
}


def test_a_description_is_read(tmp_path: Path) -> None:
    (tmp_path / "endpoint.json").write_text(json.dumps(GOOD))
    endpoint = load_endpoint(str(tmp_path / "endpoint.json"))
    assert endpoint.model_path == "/prefix/v2/models/m/versions/3"
    assert endpoint.inputs[0].shape == (-1, -1, 3)
    assert (endpoint.timeout_s, endpoint.attempts, endpoint.max_request_bytes) == (10, 1, 6_291_456)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"protocol": "grpc"},
        {"url": 7},
        {"url": "ftp://host"},
        {"url": "http://"},
        {"url": "http://a b:80"},
        {"url": "http://host:99999"},
        {"url": "http://host/?a=b"},
        {"model": None},
        {"inputs": [{"name": "x", "dtype": "complex64", "shape": []}]},
        {"inputs": {}},
        {"timeout_ms": 0},
        {"timeout_ms": True},
        {"attempts": -1},
        {"max_response_bytes": "6"},
    ],
)
def test_what_is_no_description_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="wanted"):
        read_endpoint({**GOOD, **change})


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="without a name and a password") as caught:
        parse_url("https://me:hunter2@host/")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("http://[::1]:8000", "[::1]:8000"),
        ("https://host", "host"),
        ("http://host:80/a/", "host"),
        ("https://host:80", "host:80"),
    ],
)
def test_a_host_is_named_as_a_request_names_it(text: str, authority: str) -> None:
    assert parse_url(text).authority == authority


# Parts


def test_the_words_for_failures_are_everywhere_the_same() -> None:
    assert get_args(FailureKind) == KINDS
    assert [CallFailed(kind, "x").code for kind in KINDS] == [1, 2, 3, 4, 5]


def test_types_are_those_of_the_frames() -> None:
    assert [*NAMES] == [*ITEM_SIZES]
    assert {name: dtype.itemsize for name, dtype in zip(ITEM_SIZES, DTYPES.values(), strict=True)} == ITEM_SIZES


def test_failures_report_codes_counts_and_the_first_texts() -> None:
    failures = Failures(10)
    assert (failures.header(), failures.tensors(10)) == ({}, [])
    for number, kind in ((1, "late"), (4, "refused"), (5, "late"), (6, "broken")):
        failures.add(number, CallFailed(kind, f"number {number}"), 7)
    assert failures.header() == {
        "failed": {"late": 2, "refused": 1, "broken": 1},
        "failures": ["late: number 1", "refused: number 4", "late: number 5"],
        "failed_ns": 28,
    }
    (codes,) = failures.tensors(8)
    assert [str(codes.dtype), *codes.tolist()] == ["uint8", 0, 3, 0, 0, 2, 3, 4, 0]


def test_a_rejected_call_is_not_repeated() -> None:
    calls = []

    def reject() -> None:
        calls.append(1)
        raise CallFailed("rejected", "too large")

    with pytest.raises(CallFailed):
        Repeats()(reject)
    assert len(calls) == 1


def test_arming_a_deadline_costs_microseconds() -> None:
    deadline = Deadline()
    deadline.arm(60)
    start = time.process_time()
    for _ in range(1000):
        deadline.arm(60)
        deadline.disarm()
    assert time.process_time() - start < 0.1  # 1 to 2 µs each here; the thread is not woken
    deadline.close()


def test_what_connects_imports_the_standard_library_only() -> None:
    """So that hilgate doctor can look from a device that has no numpy yet."""
    folder = Path(harness.agent.remote.__file__).parent
    paths = [
        folder / f"{name}.py"
        for name in (
            "answer",
            "bounded_reader",
            "connection",
            "deadline",
            "dialing",
            "failure",
            "resolving",
            "tls",
            "tunnel",
            "url",
        )
    ]
    for path in (*paths, folder.parent / "failure.py", folder.parent / "wire.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
        for node in tree.body:
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= sys.stdlib_module_names
            elif isinstance(node, ast.ImportFrom) and node.level:
                known = {each.stem for each in paths} | {"wire"}
                assert node.module in known, (path.name, node.module)


def test_the_client_is_written_for_python_3_9() -> None:
    folder = Path(harness.agent.remote.__file__).parent
    for path in (*folder.glob("*.py"), *folder.parent.glob("network/*.py")):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_doubling_is_what_the_tests_server_does() -> None:
    assert doubling({"x": X})["y"].tolist() == (2 * X).tolist()
