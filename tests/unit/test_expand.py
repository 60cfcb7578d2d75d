"""Arrays made from a few numbers: bit for bit what the whole numbers say, and an error for what is no fill."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent.expand import expand
from harness.agent.frames import ITEM_SIZES, Array
from tests.support.fills import BAD, FORMATS, KEPT, Fill, expected, fills, limits, philox, to_keep, words

ONES = (1 << 64) - 1
# Of pi's digits, as Random123's known answers take them.
PI = [
    0x243F6A8885A308D3,
    0x13198A2E03707344,
    0xA4093822299F31D0,
    0x082EFA98EC4E6C89,
    0x452821E638D01377,
    0xBE5466CF34E90C6C,
]
KNOWN = [
    pytest.param([0] * 6, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b", id="zeros"),
    pytest.param([ONES] * 6, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0", id="ones"),
    pytest.param(PI, "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6", id="pi"),
]
KEEP = to_keep(3, (3, 7))


def joined(parts: list[int]) -> int:
    """Words as one number, the lowest first."""
    return sum(part << 64 * index for index, part in enumerate(parts))


@pytest.mark.parametrize(("given_words", "answer"), KNOWN)
def test_words_are_the_published_ones(given_words: list[int], answer: str) -> None:
    counter, key = given_words[:4], given_words[4:]
    before = (joined(counter) - 1) % (1 << 256)  # numpy counts on before it answers
    found = np.random.Philox(counter=before, key=joined(key)).random_raw(4)
    assert [f"{word:016x}" for word in found] == answer.split()
    assert [f"{word:016x}" for word in philox(counter, key)] == answer.split()


def filled(dtype: str, first: int, last: int, shape: tuple[int, ...] = (64,), **more: Any) -> Fill:
    """A fill of a range."""
    scale = {"scale": more.pop("scale", 0)} if dtype in FORMATS else {}
    fill: Fill = {"dtype": dtype, "shape": list(shape), "first": first, "last": last, **scale}
    return {**fill, "order": "random", "key": 7, "set": [], **more}


@pytest.mark.parametrize("kind", ITEM_SIZES)
@given(data=st.data())
def test_elements_are_those_that_whole_numbers_say(kind: str, data: st.DataObject) -> None:
    fill = data.draw(fills(kind, KEEP[kind]))
    found = expand(json.loads(json.dumps(fill)), KEEP[kind])
    assert (found.dtype.name, list(found.shape)) == (kind, fill["shape"])
    assert found.tobytes() == expected(fill, KEEP[kind])


def test_the_whole_range_of_int64_is_the_words() -> None:
    found = expand(filled("int64", -(1 << 63), ONES, (6,), key=ONES))
    assert [int(number) + (1 << 63) for number in found] == words(ONES, 0, 6)


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("kind", ITEM_SIZES)
def test_an_order_reaches_both_ends(kind: str, order: str) -> None:
    smallest, largest = limits(kind)
    found = expand(filled(kind, smallest, largest - smallest, (5,), scale=None, order=order))
    ends = [found[0], found[-1]] if order == "ascending" else [found[-1], found[0]]
    if kind in FORMATS:
        assert ends == [-math.inf, math.inf]
    else:
        assert [int(end) for end in ends] == [smallest, largest]
    steps = np.diff(found.astype(object) if kind == "int64" else found.astype(np.float64)[1:-1])
    assert (steps >= 0).all() if order == "ascending" else (steps <= 0).all()


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [
        pytest.param("bool", 0, 1, id="bool"),
        pytest.param("int8", -128, 255, id="int8"),
        pytest.param("int64", -3, 6, id="int64"),
        pytest.param("float16", -3, 6, id="float16"),
    ],
)
def test_random_numbers_reach_both_ends(kind: str, first: int, last: int) -> None:
    found = expand(filled(kind, first, last, (5000,)))
    assert (int(found.min()), int(found.max())) == (first, first + last)


@pytest.mark.parametrize(
    ("fill", "numbers"),
    [
        pytest.param(filled("float64", 1 << 53, 0, (1,)), [2.0**53], id="float64-53-bits"),
        pytest.param(filled("float64", (1 << 53) - 1, 0, (1,), scale=971), [np.finfo(np.float64).max], id="largest"),
        pytest.param(filled("float16", 2047, 0, (1,), scale=5), [65504], id="float16-largest"),
        pytest.param(
            filled("float16", -1, 2, (3,), scale=-24, order="ascending"), [-(2**-24), 0, 2**-24], id="float16"
        ),
        pytest.param(filled("float32", 0, 2, (3,), scale=None, order="ascending"), [0, 2**-149, 2**-148], id="counted"),
        pytest.param(filled("float32", 0x7F800000, 0, (1,), scale=None), [math.inf], id="counted-to-infinity"),
        pytest.param(filled("float64", 1, 0, (1,), scale=-1074), [5e-324], id="smallest"),
        pytest.param(filled("int8", 3, 0, (), order="descending"), 3, id="no-dimension"),
        pytest.param(filled("int8", -3, 5, (1,), order="ascending"), [-3], id="one-rises-from-the-first"),
        pytest.param(filled("int8", -3, 5, (1,), order="descending"), [2], id="one-falls-from-the-last"),
        pytest.param(filled("int8", 0, 5, (4,), order="ascending"), [0, 2, 4, 5], id="as-even-as-can-be"),
        pytest.param(filled("float32", -9, 18, (2, 0, 3)), np.zeros((2, 0, 3)), id="empty"),
        pytest.param(filled("float32", 0, 0, (3,), set=[[2, 0x80000000]]), [0.0, 0.0, -0.0], id="set"),
    ],
)
def test_elements_are_known_numbers(fill: Fill, numbers: Any) -> None:
    found = expand(fill)
    wanted = np.array(numbers, found.dtype)
    assert (found.shape, found.tobytes()) == (wanted.shape, wanted.tobytes())


def test_specials_keep_their_last_bit() -> None:
    bits = [0x7FF8000000000001, 0xFFF0000000000000, 0x8000000000000000, 1]
    found = expand({"dtype": "float64", "shape": [4], "values": bits, "order": "ascending", "set": []})
    assert found.view(np.uint64).tolist() == bits


@pytest.mark.parametrize(("changed", "share"), [(0, 0.0), (1 << 30, 0.25), (1 << 32, 1.0)])
def test_so_many_elements_of_a_base_are_changed(changed: int, share: float) -> None:
    base: Array = np.full((100, 100), 7, np.int16)
    found = expand(filled("int16", 9, 0, (100, 100), base=1, changed=changed), [base + 1, base])
    assert sorted({*found.ravel().tolist()} - {7, 9}) == []
    assert abs((found == 9).mean() - share) < (0.02 if 0 < share < 1 else 1e-9)


def test_a_base_stays_what_it_was() -> None:
    base: Array = np.full(3, 7, np.int16)
    expand(filled("int16", 9, 0, (3,), base=0, changed=0, set=[[0, 1]]), [base])
    assert base.tolist() == [7, 7, 7]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_fill_is_an_error_that_says_what_was_wanted(name: str) -> None:
    fill, said = BAD[name]
    with pytest.raises(ValueError, match="wanted") as caught:
        expand(fill, [KEPT])
    assert said in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_base_of_nothing_that_was_kept_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was kept"):
        expand(filled("int8", 0, 1, base=0, changed=1))


@pytest.mark.parametrize(
    "fill",
    [
        pytest.param(filled("float32", -5, 1 << 20, (41,), scale=-20), id="half-words"),
        pytest.param(filled("int64", -(1 << 62), 1 << 63, (41,)), id="words"),
        pytest.param({**filled("bool", 0, 1, (41,)), "values": [0, 1, 1]}, id="values"),
    ],
)
def test_a_large_array_is_made_in_parts_that_are_the_same(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = expand(fill)
    monkeypatch.setattr("harness.agent.expand.CHUNK", 6)
    np.testing.assert_array_equal(expand(fill), whole)
