"""The statement of OpenSSF Model Signing: its digest, its order. The package itself judges it in integration tests."""

from __future__ import annotations

import hashlib

import pytest

from harness.errors import InputError
from harness.release.model_signing import MODEL_PREDICATE, model_statement

HASHES = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a.txt", "a/x", "a-b/c", "B", "a/é")}


def test_statement_lists_every_file_by_folders() -> None:
    """As paths sort, not as texts do; the subject's digest is over the digests in that order."""
    statement = model_statement(HASHES, "net")
    resources = statement["predicate"]["resources"]
    assert [each["name"] for each in resources] == ["B", "a/x", "a/é", "a-b/c", "a.txt"]
    assert {each["name"]: each["digest"] for each in resources} == HASHES
    joined = b"".join(bytes.fromhex(each["digest"]) for each in resources)
    assert statement["subject"] == [{"name": "net", "digest": {"sha256": hashlib.sha256(joined).hexdigest()}}]
    assert statement["predicateType"] == MODEL_PREDICATE


def test_order_of_the_files_does_not_matter() -> None:
    """Equal folders have equal statements."""
    assert model_statement(dict(reversed(HASHES.items()))) == model_statement(HASHES)


def test_nothing_is_not_signed() -> None:
    """The package accepts a signature over nothing."""
    with pytest.raises(InputError, match="without files"):
        model_statement({})
