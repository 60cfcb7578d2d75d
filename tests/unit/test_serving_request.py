"""What a caller of `hilgate serve` may send, and that everything else is refused before the model sees it."""

import json
import math
import time
from typing import Any

import numpy as np
import pytest

from harness.model.input_spec import Input
from harness.serving.answer import write_answer
from harness.serving.interface import Interface, OutputFacts, describe_outputs
from harness.serving.refused import Refused
from harness.serving.request import header_size, read_request

INTERFACE = Interface(
    name="net",
    platform="hilgate_test",
    inputs=(
        Input("x", shape=("batch", 2), dtype="float32"),
        Input("n", shape=("batch",), dtype="int8", min_value=0, max_value=3),
        Input("mask", shape=(2,), dtype="bool"),
    ),
    dims={"batch": range(1, 4)},
    outputs=(OutputFacts("y", "FP32", (-1, 2)), OutputFacts("z", "INT64", (1,))),
)
X: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -1]}
N: dict[str, Any] = {"name": "n", "datatype": "INT8", "shape": [1], "data": [3]}
MASK: dict[str, Any] = {"name": "mask", "datatype": "BOOL", "shape": [2], "data": [True, False]}


def body(*tensors: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": list(tensors), **more}).encode()


def raw(described: dict[str, Any], size: Any) -> dict[str, Any]:
    return {
        **{key: value for key, value in described.items() if key != "data"},
        "parameters": {"binary_data_size": size},
    }


def test_inputs_come_in_the_models_order_whatever_the_callers() -> None:
    asked = read_request(body(MASK, N, X, id="a"), None, INTERFACE)
    assert list(asked.inputs) == ["x", "n", "mask"]
    assert asked.inputs["x"].dtype == np.float32
    assert asked.inputs["x"].tolist() == [[0.5, -1.0]]
    assert asked.inputs["n"].dtype == np.int8
    assert asked.inputs["mask"].tolist() == [True, False]
    assert asked.id == "a"
    assert asked.outputs == (("y", False), ("z", False))


@pytest.mark.parametrize("data", [[0, 1, 2, 3], [[0, 1], [2, 3]]])
def test_json_may_be_flat_or_nested_as_the_shape(data: Any) -> None:
    x = {**X, "shape": [2, 2], "data": data}
    n = {**N, "shape": [2], "data": [0, 1]}
    assert read_request(body(x, n, MASK), None, INTERFACE).inputs["x"].tolist() == [[0, 1], [2, 3]]


def test_binary_and_json_inputs_may_be_mixed() -> None:
    header = body(raw(X, 8), N, raw(MASK, 2))
    content = header + np.array([1, 2], "<f4").tobytes() + b"\0\1"
    asked = read_request(content, len(header), INTERFACE)
    assert asked.inputs["x"].tolist() == [[1, 2]]
    assert asked.inputs["mask"].tolist() == [False, True]


def test_outputs_are_returned_as_they_are_asked_for() -> None:
    outputs = [{"name": "z", "parameters": {"binary_data": True}}, {"name": "y"}]
    asked = read_request(body(X, N, MASK, outputs=outputs), None, INTERFACE)
    assert asked.outputs == (("z", True), ("y", False))
    y, z = np.array([[1.5, -2]], np.float32), np.array([7])
    answer, size = write_answer(asked, [y, z], INTERFACE)
    assert size is not None
    assert answer[size:] == b"\7" + bytes(7)
    described = json.loads(answer[:size])["outputs"]
    assert [each["name"] for each in described] == ["z", "y"]
    assert described[1]["data"] == [1.5, -2]


def test_json_does_not_hold_what_it_has_no_words_for() -> None:
    asked = read_request(body(X, N, MASK), None, INTERFACE)
    with pytest.raises(Refused, match="binary_data") as caught:
        write_answer(asked, [np.array([[math.nan, 1]], np.float32), np.array([7])], INTERFACE)
    assert caught.value.status == 400


DEEP = b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
WRONG = {
    "nothing": (b"", "not the JSON"),
    "no JSON": (b"<html>", "not the JSON"),
    "no UTF-8": (b'{"id": "\xff"}', "not the JSON"),
    "a list": (b"[]", "must be an object"),
    "nested too deep": (DEEP, "too deep"),
    "very many objects": (b'{"inputs": [' + b"{}," * 5000 + b"{}]}", "more than"),
    "a key twice": (b'{"inputs": [], "inputs": []}', "twice"),
    "NaN": (body({**X, "data": [math.nan, 0]}, N, MASK), "NaN"),
    "a number of many digits": (b'{"inputs": ' + b"9" * 5000 + b"}", "not the JSON"),
    "no inputs": (b"{}", "inputs must be a list"),
    "inputs that are numbers": (b'{"inputs": [1]}', "inputs must be a list"),
    "an input too few": (body(X, N), "no input mask"),
    "an input twice": (body(X, X, N, MASK), "twice"),
    "another name": (body({**X, "name": "\x1b[2J"}, N, MASK), r"no input '\\x1b"),
    "a name that is none": (body({**X, "name": ["x"]}, N, MASK), "no input a list"),
    "another datatype": (body({**X, "datatype": "FP64"}, N, MASK), "is FP32; found 'FP64'"),
    "a datatype that is none": (body({**X, "datatype": {}}, N, MASK), "is FP32"),
    "no shape": (body({**X, "shape": None}, N, MASK), "has the shape"),
    "fewer axes": (body({**X, "shape": [2]}, N, MASK), "has the shape"),
    "a size out of range": (body({**X, "shape": [4, 2], "data": [0] * 8}, N, MASK), "batch: 1…3"),
    "an enormous size": (body({**X, "shape": [10**30, 2]}, N, MASK), "batch: 1…3"),
    "a negative size": (body({**X, "shape": [-1, 2]}, N, MASK), "batch: 1…3"),
    "a size that is true": (body({**X, "shape": [True, 2]}, N, MASK), "a size True"),
    "a size that is a float": (body({**X, "shape": [1.0, 2]}, N, MASK), "a size 1.0"),
    "two sizes of one dimension": (body(X, {**N, "shape": [2], "data": [0, 0]}, MASK), "two sizes of batch"),
    "too few elements": (body({**X, "data": [1]}, N, MASK), "1 elements"),
    "another nesting": (body({**X, "data": [[1], [2]]}, N, MASK), "not nested"),
    "nested deeper": (body({**X, "data": [[[1], [2]]]}, N, MASK), "another type"),
    "lists among numbers": (body({**X, "data": [1, [2]]}, N, MASK), "another type"),
    "texts": (body({**X, "data": ["1", "2"]}, N, MASK), "another type"),
    "true for a number": (body({**X, "data": [True, 1]}, N, MASK), "another type"),
    "a number for true": (body(X, N, {**MASK, "data": [1, 0]}), "true and false"),
    "a float for a whole number": (body(X, {**N, "data": [1.0]}, MASK), "whole numbers"),
    "more than the type holds": (body(X, {**N, "data": [128]}, MASK), "INT8 cannot hold"),
    "more than a float holds": (body({**X, "data": [1e39, 0]}, N, MASK), "FP32 cannot hold"),
    "a whole number that no float holds": (body({**X, "data": [10**400, 0]}, N, MASK), "FP32 cannot hold"),
    "data that are no list": (body({**X, "data": {}}, N, MASK), "must be a list"),
    "neither data nor binary": (body({"name": "x", "datatype": "FP32", "shape": [1, 2]}, N, MASK), "neither"),
    "both": (body({**X, "parameters": {"binary_data_size": 0}}, N, MASK), "one of them"),
    "binary that is not there": (body(raw(X, 8), N, MASK), "0 bytes are left"),
    "a negative binary size": (body(raw(X, -8), N, MASK), "binary_data_size"),
    "a binary size that is true": (body(raw(X, True), N, MASK), "binary_data_size"),
    "parameters that are none": (body({**X, "parameters": []}, N, MASK), "must be an object"),
    "memory that is shared": (body({**X, "parameters": {"shared_memory_region": "a"}}, N, MASK), "not shared"),
    "an id that is no text": (body(X, N, MASK, id=5), "id must be"),
    "a long id": (body(X, N, MASK, id="a" * 300), "id must be"),
    "an output that is not there": (body(X, N, MASK, outputs=[{"name": "w"}]), "no output 'w'"),
    "an output twice": (body(X, N, MASK, outputs=[{"name": "y"}, {"name": "y"}]), "twice"),
    "outputs that are none": (body(X, N, MASK, outputs=7), "outputs must be"),
    "classes": (body(X, N, MASK, outputs=[{"name": "y", "parameters": {"classification": 2}}]), "classes"),
    "a flag that is none": (body(X, N, MASK, parameters={"binary_data_output": 1}), "true or false"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_in_words_and_at_once(name: str) -> None:
    content, says = WRONG[name]
    start = time.monotonic()
    with pytest.raises(Refused, match=says) as caught:
        read_request(content, None, INTERFACE)
    assert caught.value.status == 400
    assert time.monotonic() - start < 5
    assert len(caught.value.text) < 1100
    assert caught.value.text.isprintable()


@pytest.mark.parametrize(
    ("size", "behind", "says"),
    [
        (8, b"12345678 ", "1 bytes behind"),
        (7, b"1234567", "has 7 bytes; its shape"),
        (9, b"123456789", "has 9 bytes; its shape"),
        (8, b"1234567", "7 bytes are left"),
    ],
)
def test_binary_tensors_have_the_bytes_of_their_shapes_and_none_is_left(size: int, behind: bytes, says: str) -> None:
    header = body(raw(X, size), N, MASK)
    with pytest.raises(Refused, match=says):
        read_request(header + behind, len(header), INTERFACE)


def test_a_byte_of_a_bool_is_0_or_1() -> None:
    header = body(X, N, raw(MASK, 2))
    with pytest.raises(Refused, match="no BOOL"):
        read_request(header + b"\1\2", len(header), INTERFACE)


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "0x1", "1 1", "٣", "9" * 11, "101"])
def test_the_headers_size_is_a_number_within_the_body(text: str) -> None:
    with pytest.raises(Refused, match="JSON header"):
        header_size(text, 100)


def test_sizes_that_differ_between_two_inferences_vary() -> None:
    (facts,) = describe_outputs(["y"], [np.zeros((1, 5), np.int16)], [np.zeros((2, 5), np.int16)])
    assert facts == OutputFacts("y", "INT16", (-1, 5))
