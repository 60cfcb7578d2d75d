"""Statements: made, and their subjects read strictly."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import InputError
from harness.signing.statement import EVIDENCE_PREDICATE, STATEMENT_TYPE, make_statement, subjects_of

SHA = "0123456789abcdef" * 4


def subject(name: Any = "SHA256SUMS", **changes: Any) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": SHA}} | changes


def test_what_was_made_says_its_subjects() -> None:
    subjects = {"SHA256SUMS": SHA, "artifact/größer.onnx": SHA[::-1]}
    statement = make_statement(subjects, EVIDENCE_PREDICATE, {"result": "PASSED"})
    assert subjects_of(statement) == subjects
    assert statement["_type"] == STATEMENT_TYPE
    assert list(statement) == ["_type", "subject", "predicateType", "predicate"]


@pytest.mark.parametrize(
    ("subjects", "message"),
    [
        pytest.param(None, "about nothing", id="null"),
        pytest.param([], "about nothing", id="none"),
        pytest.param({}, "about nothing", id="an object"),
        pytest.param(["x"], "subject of the statement is none", id="text"),
        pytest.param([subject(uri="https://x")], "subject of the statement is none", id="a key more"),
        pytest.param([{"digest": {"sha256": SHA}}], "subject of the statement is none", id="no name"),
        pytest.param([subject("")], "has no name", id="empty name"),
        pytest.param([subject(7)], "has no name", id="a number"),
        pytest.param([subject("a\nb")], "has no name", id="newline"),
        pytest.param([subject("a\0")], "has no name", id="NUL"),
        pytest.param([subject("a\u202eb")], "has no name", id="bidi override"),
        pytest.param([subject("a\ud800")], "has no name", id="half a character"),
        pytest.param([subject("x" * 4000)], "has no name", id="4 000 characters"),
        pytest.param([subject("ü" * 600)], "has no name", id="1 200 bytes"),
        pytest.param([subject(), subject()], "twice", id="twice"),
        pytest.param([subject(digest={"sha256": SHA.upper()})], "has no hash", id="capitals"),
        pytest.param([subject(digest={"sha256": SHA[1:]})], "has no hash", id="short"),
        pytest.param([subject(digest={"sha256": SHA + "\n"})], "has no hash", id="a newline behind"),
        pytest.param([subject(digest={"sha256": 1})], "has no hash", id="a number as hash"),
        pytest.param([subject(digest={"sha512": SHA})], "has no hash", id="another algorithm"),
        pytest.param([subject(digest={"sha256": SHA, "md5": "x"})], "has no hash", id="two algorithms"),
        pytest.param([subject(digest={})], "has no hash", id="no algorithm"),
        pytest.param([subject(digest=SHA)], "has no hash", id="text as digest"),
    ],
)
def test_subjects_that_are_refused(subjects: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as failure:
        subjects_of({"subject": subjects}, "x.sigstore.json")
    assert failure.value.wanted
    assert failure.value.found
    assert failure.value.where.startswith("x.sigstore.json: subject")


@pytest.mark.parametrize("subjects", [{}, {"": SHA}, {"x": "no hash"}])
def test_what_could_not_be_read_is_not_made(subjects: dict[str, str]) -> None:
    with pytest.raises(InputError):
        make_statement(subjects, EVIDENCE_PREDICATE, {})
