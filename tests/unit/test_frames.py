"""The wire format: what goes in comes out, its bytes are the documented ones, and no garbage gets further than a
FrameError."""

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.agent.frames import (
    ALIGNMENT,
    ITEM_SIZES,
    JOIN_BELOW,
    Array,
    Frame,
    encode,
    read_frame,
)
from harness.agent.wire import MAX_HEADER, MAX_PAYLOAD, PREAMBLE, FrameError

MAGIC = b"\x89HIL"


class Source:
    """The other end: gives out bytes, and notes what it was asked for."""

    def __init__(self, data: bytes) -> None:
        self.stream = io.BytesIO(data)
        self.asked: list[int] = []

    def read(self, size: int) -> bytes:
        self.asked.append(size)
        data = self.stream.read(size)
        if len(data) < size:
            raise EOFError
        return data


def decode(data: bytes, skip: int = 0) -> Frame:
    return read_frame(Source(data).read, skip=skip)


def joined(header: dict[str, Any], *tensors: Array) -> bytes:
    return b"".join(bytes(part) for part in encode(header, tensors))


def raw(header: bytes, payload: bytes = b"", *, magic: bytes = MAGIC, version: int = 1) -> bytes:
    """A frame whose parts need not be right, laid out as the module's docstring says."""
    return struct.pack("<4sHHIQ", magic, version, 0, len(header), len(payload)) + header + payload


def described(tensors: Any, payload: bytes = b"") -> bytes:
    return raw(json.dumps({"tensors": tensors}).encode(), payload)


def assert_same(found: Array, sent: Array) -> None:
    """Alike in type, shape and bits, so that a NaN's payload counts too; the byte order is the wire's."""
    little = np.ascontiguousarray(sent).astype(sent.dtype.newbyteorder("<"))
    assert (found.dtype, found.shape) == (little.dtype, sent.shape)
    assert found.tobytes() == little.tobytes()


# Round trips


@pytest.mark.parametrize(
    "array",
    [
        *(pytest.param(np.arange(6).astype(name).reshape(2, 3), id=name) for name in ITEM_SIZES),
        pytest.param(np.array(2.5), id="0-d"),
        pytest.param(np.array(2.5, dtype=">f8"), id="0-d-big-endian"),
        pytest.param(np.empty((0,), np.float32), id="empty"),
        pytest.param(np.empty((3, 0, 2), np.int64), id="empty-3-d"),
        pytest.param(np.arange(24, dtype=np.int16).reshape(4, 6)[::2, 1::2], id="slice"),
        pytest.param(np.arange(6, dtype=np.float32).reshape(2, 3).T, id="transposed"),
        pytest.param(np.arange(4, dtype=np.float64)[::-1], id="reversed"),
        pytest.param(np.broadcast_to(np.float16(1.5), (2, 2)), id="broadcast"),
        pytest.param(np.asfortranarray(np.arange(6, dtype=np.int8).reshape(2, 3)), id="fortran-order"),
        pytest.param(np.arange(5, dtype=">f4"), id="big-endian-float"),
        pytest.param(np.arange(5, dtype=">i8"), id="big-endian-int"),
        pytest.param(np.array([np.nan, np.inf, -np.inf, -0.0]), id="nan-inf-minus-zero"),
        pytest.param(np.ones((1,) * 32, np.uint8), id="32-dimensions"),
    ],
)
def test_a_tensor_comes_back(array: Array) -> None:
    (found,) = decode(joined({}, array)).tensors
    assert_same(found, array)


def test_a_header_comes_back_without_the_description_of_tensors() -> None:
    header = {"op": "infer", "größe": [1, 2.5, None, True], "nested": {"ß": "€"}}
    assert decode(joined(header, np.zeros(3))).header == header


DTYPES = st.sampled_from([order + np.dtype(name).str[1:] for name in ITEM_SIZES for order in "<>"])
TENSORS: st.SearchStrategy[list[Array]] = st.lists(
    hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)), max_size=4
)


@settings(max_examples=100, deadline=None)
@given(TENSORS)
def test_any_tensors_come_back_in_their_order(tensors: list[Array]) -> None:
    found = decode(joined({}, *tensors)).tensors
    assert len(found) == len(tensors)
    for one, other in zip(found, tensors, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        pytest.param(JOIN_BELOW - 1, 1, id="below"),
        pytest.param(JOIN_BELOW, 2, id="at"),
    ],
)
def test_a_payload_from_a_certain_size_on_is_not_copied_into_one_buffer(size: int, parts: int) -> None:
    tensor = np.arange(size, dtype=np.uint8)
    buffers = encode({}, [tensor])
    assert len(buffers) == parts
    assert_same(decode(b"".join(map(bytes, buffers))).tensors[0], tensor)


def test_a_large_tensor_is_sent_from_where_it_lies() -> None:
    tensor = np.zeros(JOIN_BELOW, np.uint8)
    assert np.shares_memory(np.frombuffer(encode({}, [tensor])[1], np.uint8), tensor)


# The bytes


def test_a_frame_has_exactly_the_documented_bytes() -> None:
    header = b'{"op":"echo","tensors":[["int8",[1]],["int16",[2]]]}'
    payload = b"\x07" + bytes(63) + b"\x01\x02\xff\xff"
    preamble = b"\x89HIL" + b"\x01\x00" + b"\x00\x00" + bytes([len(header), 0, 0, 0]) + bytes([68, 0, 0, 0, 0, 0, 0, 0])
    arrays: list[Array] = [np.array([7], np.int8), np.array([0x0201, -1], np.int16)]
    assert joined({"op": "echo"}, *arrays) == preamble + header + payload


@pytest.mark.parametrize(
    ("sizes", "offsets", "total"),
    [
        pytest.param([1, 8, 2], [0, 64, 128], 130, id="small"),
        pytest.param([64, 4], [0, 64], 68, id="just-full"),
        pytest.param([65, 4], [0, 128], 132, id="one-over"),
        pytest.param([4, 0, 8], [0, 64, 64], 72, id="empty-between"),
        pytest.param([4, 0], [0, 64], 64, id="empty-last"),
    ],
)
def test_every_tensor_starts_at_a_multiple_of_64_bytes(sizes: list[int], offsets: list[int], total: int) -> None:
    data = joined({}, *(np.full(size, 0xFF, np.uint8) for size in sizes))
    *_, header_size, payload_size = PREAMBLE.unpack(data[: PREAMBLE.size])
    payload = data[PREAMBLE.size + header_size :]
    expected = bytearray(total)
    for offset, size in zip(offsets, sizes, strict=True):
        assert offset % ALIGNMENT == 0
        expected[offset : offset + size] = b"\xff" * size
    assert (payload_size, payload) == (total, bytes(expected))


# What stands before the first frame


@pytest.mark.parametrize(
    "greeting",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"Welcome to Debian!\r\n", id="shell"),
        pytest.param(b"HIL HILG hilgate", id="the-magics-letters"),
        pytest.param(b"\x89", id="first-byte"),
        pytest.param(b"\x89HI", id="all-but-the-last-byte"),
        pytest.param(b"\x89\x89H\x89HI\x89HIHIL", id="parts-of-the-magic"),
        pytest.param(b"LIH\x89\0\xff", id="reversed-and-binary"),
    ],
)
def test_a_greeting_before_the_magic_is_skipped(greeting: bytes) -> None:
    frame = decode(greeting + joined({"hello": 1}, np.arange(3)), skip=len(greeting))
    assert (frame.skipped, frame.header, len(frame.tensors)) == (greeting, {"hello": 1}, 1)


@pytest.mark.parametrize(
    ("greeting", "skip"),
    [
        pytest.param(b"x", 0, id="none-allowed"),
        pytest.param(b"Welcome", 6, id="one-too-many"),
        pytest.param(b"x" * 5000, 4096, id="chatty"),
    ],
)
def test_a_greeting_that_is_too_long_is_shown(greeting: bytes, skip: int) -> None:
    with pytest.raises(FrameError, match=f"{greeting[:20].decode()}"):
        decode(greeting + joined({}), skip=skip)


def test_a_greeting_is_read_no_further_than_the_frame() -> None:
    source = Source(b"hello\n" + joined({"first": 1}) + joined({"second": 2}))
    read_frame(source.read, skip=64)
    assert read_frame(source.read).header == {"second": 2}


# Garbage


def test_what_the_garbage_is_made_of_is_right_in_itself() -> None:
    assert decode(described([["int8", [1]], ["float16", []]], b"\x07" + bytes(65))).tensors == [7, 0]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(raw(b'{"tensors":[]}', magic=b"HILG"), id="magic"),
        pytest.param(raw(b'{"tensors":[]}', version=2), id="version-2"),
        pytest.param(raw(b'{"tensors":[]}', version=0), id="version-0"),
        pytest.param(raw(b""), id="no-header"),
        pytest.param(raw(b"{tensors}"), id="not-json"),
        pytest.param(raw(b'{"tensors":[]} {}'), id="two-values"),
        pytest.param(raw(b"\xff\xfe\xfd"), id="not-utf-8"),
        pytest.param(raw(b"7"), id="header-a-number"),
        pytest.param(raw(b'"tensors"'), id="header-a-string"),
        pytest.param(raw(b"null"), id="header-null"),
        pytest.param(raw(b"[]"), id="header-a-list"),
        pytest.param(raw(b'["tensors"]'), id="header-a-list-with-the-key"),
        pytest.param(raw(b"{}"), id="no-tensors"),
        pytest.param(raw(b"[" * 100_000), id="nested-too-deep"),
        pytest.param(raw(b'{"tensors":[],"n":' + b"9" * 5000 + b"}"), id="number-too-long"),
        pytest.param(described(None), id="tensors-null"),
        pytest.param(described(3), id="tensors-a-number"),
        pytest.param(described("ab"), id="tensors-a-string"),
        pytest.param(described([["int8"]], b"x"), id="tensor-without-shape"),
        pytest.param(described([["int8", [1], 0]], b"x"), id="tensor-of-three"),
        pytest.param(described([["int8", 1]], b"x"), id="shape-a-number"),
        pytest.param(described([["int8", ""]], b"x"), id="shape-a-string"),
        pytest.param(described([["int8", {}]], b"x"), id="shape-an-object"),
        pytest.param(described([["int8", None]], b"x"), id="shape-null"),
        pytest.param(described([["int8", [-1]]], b"x"), id="negative-size"),
        pytest.param(described([["int8", [-1, -1]]], b"x"), id="negative-sizes-of-a-positive-product"),
        pytest.param(described([["int8", [1.0]]], b"x"), id="float-size"),
        pytest.param(described([["int8", [True]]], b"x"), id="bool-size"),
        pytest.param(described([["int8", ["1"]]], b"x"), id="string-size"),
        pytest.param(described([["int8", [[1]]]], b"x"), id="list-size"),
        pytest.param(described([["int8", [[1], 10**12]]], b"x"), id="list-times-a-size"),
        pytest.param(described([["int8", ["x", 10**12]]], b"x"), id="string-times-a-size"),
        pytest.param(described([["int8", [2**63]]], b"x"), id="size-beyond-int64"),
        pytest.param(described([["int8", [2**62, 2**62]]], b"x"), id="product-beyond-int64"),
        pytest.param(described([["int8", [0, 2**63]]]), id="empty-and-beyond-int64"),
        pytest.param(described([["int8", [10**400]]], b"x"), id="size-beyond-float"),
        pytest.param(described([["int8", [1] * 100]], b"x"), id="too-many-dimensions"),
        pytest.param(described([["object", [1]]], bytes(8)), id="dtype-object"),
        pytest.param(described([["complex64", [1]]], bytes(8)), id="dtype-not-ours"),
        pytest.param(described([["float128", [1]]], bytes(16)), id="dtype-of-some-machines"),
        pytest.param(described([["V8", [1]]], bytes(8)), id="dtype-void"),
        pytest.param(described([["", [1]]], bytes(8)), id="dtype-empty"),
        pytest.param(described([[None, [1]]], bytes(8)), id="dtype-null"),
        pytest.param(described([[["int8"], [1]]], b"x"), id="dtype-a-list"),
        pytest.param(described([["float32", [2]]], bytes(7)), id="payload-too-short"),
        pytest.param(described([["float32", [2]]], bytes(9)), id="payload-too-long"),
        pytest.param(described([["int8", [1]], ["int8", [1]]], bytes(2)), id="second-not-aligned"),
        pytest.param(described([["int8", [1]], ["int8", [0]]], bytes(1)), id="gap-missing"),
        pytest.param(described([], b"x"), id="payload-of-nothing"),
    ],
)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode(data)


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        pytest.param(MAX_HEADER + 1, 0, id="header"),
        pytest.param(2**32 - 1, 0, id="largest-header"),
        pytest.param(14, MAX_PAYLOAD + 1, id="payload"),
        pytest.param(14, 2**64 - 1, id="largest-payload"),
    ],
)
def test_lengths_over_the_limits_are_refused_before_anything_is_read(header: int, payload: int) -> None:
    source = Source(PREAMBLE.pack(MAGIC, 1, 0, header, payload))
    with pytest.raises(FrameError, match="larger than any of ours"):
        read_frame(source.read)
    assert sum(source.asked) == PREAMBLE.size


@pytest.mark.parametrize("size", [pytest.param(size, id=f"{size}-bytes") for size in (0, 3, 19, 30, 75)])
def test_an_end_inside_a_frame_is_an_end_not_garbage(size: int) -> None:
    with pytest.raises(EOFError):
        decode(joined({}, np.arange(6, dtype=np.float64))[:size])


@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param("O", id="object"),
        pytest.param("c8", id="complex"),
        pytest.param("U3", id="text"),
        pytest.param("M8[ns]", id="time"),
        pytest.param("u4", id="uint32"),
        pytest.param([("a", "i4")], id="record"),
    ],
)
def test_a_dtype_that_is_not_ours_is_not_sent(dtype: Any) -> None:
    with pytest.raises(FrameError, match="wanted a tensor of bool, uint8"):
        encode({}, [np.zeros(2, dtype)])


# Whatever comes

VALID = joined({"op": "x"}, np.arange(5, dtype=np.int16), np.array(1.5), np.ones((2, 3), np.float32))
POSITIONS = st.integers(0, len(VALID) - 1)
EDITS = st.lists(st.tuples(POSITIONS, st.integers(0, 2), st.binary(min_size=1, max_size=9)), min_size=1, max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([*ITEM_SIZES, "object", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=12,
)
SIZES = st.integers(-2, 9) | st.integers() | st.floats() | st.booleans()
DESCRIPTIONS = JSON | st.lists(st.tuples(st.sampled_from([*ITEM_SIZES, "O"]), st.lists(SIZES, max_size=4)), max_size=3)


def survive(data: bytes, skip: int = 0) -> None:
    """Decodes, or raises what it may; asks for no more than the limits and makes no more than was sent."""
    source = Source(data)
    try:
        frame = read_frame(source.read, skip=skip)
    except (FrameError, EOFError):
        pass
    else:
        assert sum(tensor.nbytes for tensor in frame.tensors) <= len(data)
    assert max(source.asked) <= MAX_PAYLOAD


@settings(max_examples=400, deadline=None)
@given(EDITS, st.integers(0, 40))
def test_a_damaged_frame_is_decoded_or_refused(edits: list[tuple[int, int, bytes]], skip: int) -> None:
    data = bytearray(VALID)
    for position, kind, new in edits:
        end = {0: position + len(new), 1: position, 2: len(data)}[kind]  # overwritten, inserted, cut off
        data[position:end] = new
    survive(bytes(data), skip)


@settings(max_examples=400, deadline=None)
@given(DESCRIPTIONS, st.integers(0, 200))
def test_a_frame_of_any_description_is_decoded_or_refused(tensors: Any, size: int) -> None:
    survive(described(tensors, bytes(size)))
