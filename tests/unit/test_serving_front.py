"""The routes of `hilgate serve`, asked in this process: statuses, content types, sizes, errors."""

import asyncio
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from harness.agent.frames import Array
from harness.model.input_spec import Input
from harness.serving.front import Front
from harness.serving.interface import Interface, OutputFacts
from harness.serving.limits import ServingLimits
from harness.serving.refused import Refused
from harness.serving.worker import Job
from tests.support.asgi import STALLED, Answer, ask
from tests.support.oip import HEADER, TRITON, floats, in_binary, in_json

INTERFACE = Interface(
    name="net",
    platform="hilgate_test",
    inputs=(Input("x", shape=("batch", 2), dtype="float32"),),
    dims={"batch": range(1, 9)},
    outputs=(OutputFacts("y", "FP32", (-1, 2)),),
)
INFER = "/v2/models/net/infer"
BODY = in_json([1, 2], [1, 2])


class Doubling:
    """In the worker's place: doubles x at once."""

    def __init__(self, problem: str = "") -> None:
        self.problem = problem
        self.asked: list[dict[str, Array]] = []

    def submit(self, inputs: dict[str, Array]) -> Job:
        if self.problem:
            raise Refused(503, self.problem)
        self.asked.append(inputs)
        job = Job(inputs=inputs, answer=asyncio.get_running_loop().create_future())
        job.settle([2 * inputs["x"]])
        return job


def answer(
    method: str,
    path: str,
    *parts: bytes,
    headers: Mapping[str, str] | None = None,
    limits: ServingLimits | None = None,
    worker: Any = None,
) -> Answer:
    front = Front(worker or Doubling(), INTERFACE, limits or ServingLimits())
    found = asyncio.run(asyncio.wait_for(ask(front.app(), method, path, parts, headers), 30))
    assert front.held_bytes == 0
    return found


def test_it_says_what_it_is() -> None:
    assert answer("GET", "/v2").json["extensions"] == ["binary_tensor_data"]
    assert answer("GET", "/v2/models/net").json == {
        "name": "net",
        "versions": ["1"],
        "platform": "hilgate_test",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    }


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/net/ready", "/ping"])
def test_it_is_ready_only_while_the_models_process_is(path: str) -> None:
    assert answer("GET", path).status == 200
    refused = answer("GET", path, worker=Doubling("the model's process has ended"))
    assert (refused.status, refused.json) == (503, {"error": "the model's process has ended"})
    assert answer("GET", "/v2/health/live", worker=Doubling("it has ended")).status == 200


def test_pings_body_is_empty() -> None:
    assert answer("GET", "/ping").body == b""


def test_json_is_answered_in_json() -> None:
    found = answer("POST", INFER, in_json([1, 2, 3, 4], [2, 2], id="a"), headers={"Content-Type": "application/json"})
    assert found.headers["content-type"] == "application/json"
    assert found.json == {
        "model_name": "net",
        "model_version": "1",
        "id": "a",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [2, 4, 6, 8]}],
    }


def test_binary_is_answered_in_binary_where_that_is_asked_for() -> None:
    body, size = in_binary([0.1, 2], [1, 2])
    found = answer("POST", INFER, body, headers={HEADER: str(size)})
    assert found.headers["content-type"] == "application/octet-stream"
    assert floats(found.body, int(found.headers[HEADER.lower()])) == np.array([0.2, 4], np.float32).tolist()
    body, size = in_binary([0.1, 2], [1, 2], binary_output=False)
    assert answer("POST", INFER, body, headers={HEADER: str(size)}).json["outputs"][0]["data"][1] == 4


def test_invocations_carry_the_headers_size_in_their_content_type() -> None:
    body, size = in_binary([1, 2], [1, 2])
    found = answer("POST", "/invocations", body, headers={"Content-Type": f"{TRITON}{size}"})
    kind, _, header_bytes = found.headers["content-type"].rpartition("=")
    assert f"{kind}=" == TRITON
    assert floats(found.body, int(header_bytes)) == [2, 4]
    found = answer("POST", "/invocations", BODY, headers={"Content-Type": "application/json"})
    assert found.json["outputs"][0]["data"] == [2, 4]


def test_a_body_may_come_in_parts() -> None:
    assert answer("POST", INFER, *[BODY[index : index + 1] for index in range(len(BODY))]).status == 200


WRONG: dict[str, tuple[str, str, Sequence[bytes], dict[str, str], int]] = {
    "no such route": ("GET", "/nothing", [], {}, 404),
    "no such model": ("GET", "/v2/models/other", [], {}, 404),
    "nothing is inferred of another model": ("POST", "/v2/models/other/infer", [BODY], {}, 404),
    "a model's name from a terminal": ("GET", "/v2/models/\x1b[2J\u202e", [], {}, 404),
    "a route's other method": ("GET", "/invocations", [], {}, 405),
    "nothing is deleted": ("DELETE", "/v2/models/net", [], {}, 405),
    "a form": ("POST", INFER, [BODY], {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "a table of text": ("POST", "/invocations", [BODY], {"Content-Type": "text/csv"}, 415),
    "compressed": ("POST", INFER, [BODY], {"Content-Encoding": "gzip"}, 415),
    "Triton's type without a size": ("POST", "/invocations", [BODY], {"Content-Type": TRITON}, 415),
    "Triton's type with a size too large": ("POST", "/invocations", [BODY], {"Content-Type": f"{TRITON}9999"}, 400),
    "a header's size that is none": ("POST", INFER, [BODY], {HEADER: "many"}, 400),
    "a header's size beyond the body": ("POST", INFER, [BODY], {HEADER: "9999"}, 400),
    "no JSON": ("POST", INFER, [b"<html>"], {}, 400),
    "bytes left over": ("POST", INFER, [BODY, b"more"], {HEADER: str(len(BODY))}, 400),
    "too large, by its own word": ("POST", INFER, [b"x"], {"Content-Length": "6291457"}, 413),
    "too large, as it turns out": ("POST", INFER, [bytes(1 << 20)] * 7, {}, 413),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_in_the_protocols_form(name: str) -> None:
    method, path, parts, headers, status = WRONG[name]
    worker = Doubling()
    found = answer(method, path, *parts, headers=headers, worker=worker)
    assert found.status == status
    assert [*found.json] == ["error"]
    assert found.json["error"].isprintable()
    assert worker.asked == []


def test_how_much_is_allowed_can_be_set() -> None:
    assert answer("POST", INFER, BODY, limits=ServingLimits(request_bytes=len(BODY))).status == 200
    assert answer("POST", INFER, BODY, limits=ServingLimits(request_bytes=len(BODY) - 1)).status == 413


def test_callers_together_hold_no_more_than_there_is_room_for() -> None:
    front = Front(Doubling(), INTERFACE, ServingLimits(request_bytes=100, held_bytes=200))
    front.held_bytes = 200 - 1
    found = asyncio.run(ask(front.app(), "POST", INFER, [BODY]))
    assert found.status == 503
    assert front.held_bytes == 200 - 1


def test_a_request_that_does_not_arrive_is_told_so() -> None:
    limits = ServingLimits(read_s=0.2)
    found = answer("POST", INFER, BODY[:10], STALLED, headers={"Expect": "100-continue"}, limits=limits)
    assert (found.status, found.json) == (408, {"error": "the request did not arrive in 0.2 s"})
    assert found.headers["connection"] == "close"


def test_a_defect_is_told_without_its_words() -> None:
    class Broken(Doubling):
        def submit(self, inputs: dict[str, Array]) -> Job:
            raise KeyError("/a/path/of/ours")

    found: list[Answer] = []

    async def broken() -> None:
        front = Front(Broken(), INTERFACE, ServingLimits())
        found.append(await ask(_keeping(front.app()), "POST", INFER, [BODY]))

    asyncio.run(broken())
    assert found[0].status == 500
    assert "path" not in json.dumps(found[0].json)


def _keeping(app: Any) -> Any:
    """Starlette raises a defect once more when it was told, for the server's own log."""

    async def kept(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except KeyError:
            return

    return kept


NPY = {"content-type": "application/x-npy"}


def saved(array: Any, **keys: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **keys)
    return stream.getvalue()


def test_one_array_as_numpy_saves_it_goes_each_way() -> None:
    found = answer("POST", "/invocations", saved(np.array([[1, 2], [3, 4]], np.float32)), headers=NPY)
    assert (found.status, found.headers["content-type"]) == (200, "application/x-npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(found.body)), np.array([[2, 4], [6, 8]], np.float32))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not an array as numpy saves one"),
        (b"\x93NUMPY\x09\x00", "format 9.0"),
        (b"\x93NUMPY\1\0\x04\0{'a'", "not an array as numpy saves one"),
        (b"\x93NUMPY\1\0\x06\0  x\n y", "not an array as numpy saves one"),
        (b"\x93NUMPY\2\0\x06\0\0\0{[]:1}", "not an array as numpy saves one"),
        (saved(np.zeros((1, 2))), "input x is float32; found 'float64'"),
        (saved(np.array([{}]), allow_pickle=True), "input x is float32; found 'object'"),
        (saved(np.zeros((1, 2), ">f4")), "little-endian"),
        (saved(np.asfortranarray(np.zeros((2, 2), np.float32))), "C's order"),
        (saved(np.zeros((1, 3), np.float32)), "has the shape [batch: 1…8, 2]; found [1, 3]"),
        (saved(np.zeros((1, 2), np.float32))[:-1], "has 7 bytes"),
        (saved(np.zeros((1, 2), np.float32)).replace(b"(1, 2)", b"(9, 2)"), "found [9, 2]"),
    ],
)
def test_an_array_that_the_model_does_not_take_is_refused(body: bytes, words: str) -> None:
    found = answer("POST", "/invocations", body, headers=NPY)
    assert (found.status, words in found.json["error"]) == (400, True), found.json
