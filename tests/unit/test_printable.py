"""What is shown of texts that others wrote: nothing that a terminal would obey, and all that a person could read."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HilgateError
from harness.printable import HIDDEN, IGNORABLE, LINE, REMARK, TEXT, printable, printable_json, printable_lines

FAKED = "\x1b[2J\x1b[H\nverdict: PASS\u202e\r::error::x\n##[error]y"

# As hostile texts are made: of what a terminal, a log's reader or a person's eye takes for something else.
PIECES = (
    *"ab :\n\r\t\\#[]\x1b\x9b\x7f\u202e\u0338\ufe0f⚠\ud800\u3164",
    "::error::",
    "##[",
    "\n\n\n",
    "\\x1b",
    "… (",
    "é",
)
TEXTS = st.one_of(st.text(st.characters()), st.lists(st.sampled_from(PIECES), max_size=200).map("".join))
LIMITS = st.integers(2 * REMARK, 4 * REMARK)


def hidden(text: str) -> set[str]:
    """The characters of a text that do something else than to be seen."""
    return {one for one in text if unicodedata.category(one) in HIDDEN or (one in IGNORABLE and one != "\ufe0f")}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain text, 3 µs ≤ 4", "plain text, 3 µs ≤ 4", id="plain"),
        pytest.param("Größe, 漢字, עברית, кот", "Größe, 漢字, עברית, кот", id="letters of other languages"),
        pytest.param("cafe\u0301", "cafe\u0301", id="a letter with a mark"),
        pytest.param("🤖 ⚠\ufe0f", "🤖 ⚠\ufe0f", id="emoji"),
        pytest.param("\u00a0\u3000", "\u00a0\u3000", id="spaces"),
        pytest.param("C:\\x1b", "C:\\x1b", id="a backslash stays one"),
        pytest.param("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07", id="escape sequences"),
        pytest.param("\x9b2J\x90\x85", r"\x9b2J\x90\x85", id="C1"),
        pytest.param("50 %\r100 %", r"50 %\r100 %", id="carriage return"),
        pytest.param("PASS\b\b\b\bFAIL\x7f", r"PASS\x08\x08\x08\x08FAIL\x7f", id="backspace and delete"),
        pytest.param("\0\x0b\x0c\x1c", r"\x00\x0b\x0c\x1c", id="other controls"),
        pytest.param("a\u202eb\u2066c\u200f", r"a\u202eb\u2066c\u200f", id="bidi"),
        pytest.param("a\u200b\u200d\u2060\ufeff", r"a\u200b\u200d\u2060\ufeff", id="zero width"),
        pytest.param("a\u034f\u115f\u3164\U000e0100", r"a\u034f\u115f\u3164\U000e0100", id="ignorable"),
        pytest.param("a\ufe0f⚠\ufe0f\ufe0f", "a\\ufe0f⚠\ufe0f\\ufe0f", id="forms where there is no emoji"),
        pytest.param("\U000e0041\xad", r"\U000e0041\xad", id="tags and soft hyphens"),
        pytest.param("a\u2028b\u2029c", r"a\u2028b\u2029c", id="line separators"),
        pytest.param("a\ud800", r"a\ud800", id="half of a surrogate pair"),
        pytest.param("\ue000\u0378\U0010ffff", r"\ue000\u0378\U0010ffff", id="private and unassigned"),
        pytest.param("\u0338b" + "c" + "\u0301" * 9, "\\u0338bc" + "\u0301" * 8 + "\\u0301", id="marks without end"),
        pytest.param("a\nb", r"a\nb", id="newline"),
        pytest.param("a\tb", "a    b", id="tab"),
        pytest.param("::error::x", r"\x3a:error::x", id="a workflow command"),
        pytest.param("a::b ##[error]##vso[x]", r"a::b \x23#[error]\x23#vso[x]", id="older commands"),
    ],
)
def test_a_line_shows_what_is_in_it(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("a\nverdict: PASS", "a\n  verdict: PASS", id="no line begins as ours"),
        pytest.param("a\r\nb\n", "a\n  b\n", id="other ends of lines"),
        pytest.param("a\n    b\n  c", "a\n    b\n  c", id="indented already"),
        pytest.param("a\n    b\nc", "a\n      b\n  c", id="indented in part"),
        pytest.param("a\n \n\n\n\n\nb", "a\n\n  b", id="a screen of empty lines"),
        pytest.param("a\n\n  b", "a\n\n  b", id="one empty line"),
        pytest.param("a\n ::error::x", "a\n   \\x3a:error::x", id="a workflow command in a line"),
        pytest.param("a\u2028b\x85c", r"a\u2028b\x85c", id="other separators are none"),
    ],
)
def test_lines_stay_lines_and_are_indented(text: str, shown: str) -> None:
    assert printable_lines(text, indent="  ") == shown
    assert printable_lines(shown, indent="  ") == shown


def test_of_a_long_line_the_beginning_is_shown_and_how_much_is_left_out() -> None:
    assert printable("x" * 12_500, 500) == "x" * 460 + "… (12 040 more characters)"


def test_of_a_long_text_the_end_is_shown_too() -> None:
    text = "Traceback:\n" + "  File x\n" * 9999 + "ValueError: why"
    shown = printable_lines(text)
    assert shown.startswith("Traceback:\n  File x\n")
    assert shown.endswith("  File x\nValueError: why")
    left_out = int(shown.partition("… (")[2].partition(" more")[0].replace(" ", ""))
    assert len(text) - left_out == len(shown.replace(f"… ({left_out:,} more characters) …".replace(",", " "), ""))


@given(TEXTS, LIMITS)
def test_whatever_the_text_a_line_is_one_short_and_seen(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert not hidden(shown)
    assert len(shown) <= limit
    assert printable(shown, limit) == shown


@given(TEXTS, LIMITS, st.sampled_from(["", "  ", " " * 10]))
def test_whatever_the_text_lines_are_short_seen_and_indented(text: str, limit: int, indent: str) -> None:
    shown = printable_lines(text, limit, indent=indent)
    assert hidden(shown) <= {"\n"}
    assert len(shown) <= limit
    assert all(line.startswith(indent) for line in shown.split("\n")[1:] if line)
    assert printable_lines(shown, limit, indent=indent) == shown


@given(TEXTS)
def test_a_json_document_says_the_same_and_shows_it(text: str) -> None:
    document = printable_json(json.dumps({text: [text, 1]}, indent=1, ensure_ascii=False))
    assert json.loads(document) == {text: [text, 1]}
    assert {one for one in document if unicodedata.category(one) in HIDDEN or one in IGNORABLE} <= {"\n"}
    document.encode()


@pytest.mark.parametrize("field", ["what", "wanted", "found", "where", "hint"])
def test_an_error_shows_what_is_in_each_of_its_fields(field: str) -> None:
    fields = {"what": "it is wrong", field: FAKED}
    text = str(HilgateError(fields.pop("what"), **fields))
    assert hidden(text) <= {"\n"}
    assert r"\x1b[2J\x1b[H" in text
    assert r"verdict: PASS\u202e\r::error::x" in text
    assert all(line.startswith("  ") for line in text.split("\n")[1:])


def test_an_error_is_not_longer_than_a_person_reads() -> None:
    error = HilgateError("w" * 10**6, found="f\n" * 10**6)
    assert len(str(error)) < LINE + 2 * TEXT
    assert "more characters" in str(error)


@pytest.mark.parametrize("show", [printable, printable_lines])
def test_of_64_mebibytes_what_is_left_out_is_counted(show: Callable[[str], str]) -> None:
    shown = show("\x1b\n" * (1 << 25))
    assert len(shown) <= TEXT
    left_out = int(shown.partition("… (")[2].partition(" more")[0].replace(" ", ""))
    assert left_out == (1 << 26) - shown.count(r"\x1b") - shown.count("\n") - shown.count(r"\n")
