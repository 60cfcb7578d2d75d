"""The statement of OpenSSF Model Signing: its digest, its order. The package itself judges it in integration tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from harness.errors import InputError
from harness.release.model_signing import PREDICATE_TYPE, check_statement, model_statement

HASHES = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a.txt", "a/x", "a-b/c", "B", "a/é")}


def test_statement_lists_every_file_by_folders() -> None:
    """As paths sort, not as texts do; the subject's digest is over the digests in that order."""
    statement = model_statement(HASHES, "net")
    resources = statement["predicate"]["resources"]
    assert [each["name"] for each in resources] == ["B", "a/x", "a/é", "a-b/c", "a.txt"]
    assert {each["name"]: each["digest"] for each in resources} == HASHES
    joined = b"".join(bytes.fromhex(each["digest"]) for each in resources)
    assert statement["subject"] == [{"name": "net", "digest": {"sha256": hashlib.sha256(joined).hexdigest()}}]
    assert statement["predicateType"] == PREDICATE_TYPE


def test_order_of_the_files_does_not_matter() -> None:
    """Equal folders have equal statements."""
    assert model_statement(dict(reversed(HASHES.items()))) == model_statement(HASHES)


def test_nothing_is_not_signed() -> None:
    """The package accepts a signature over nothing."""
    with pytest.raises(InputError, match="without files"):
        model_statement({})


def test_own_statement_is_of_its_files() -> None:
    """Whatever the folder is called."""
    check_statement(model_statement(HASHES, "any"), HASHES, "net.model.sig")


def resources(statement: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = statement["predicate"]["resources"]
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda statement: resources(statement).pop(0), "B: SHA-256", id="file-less"),
        pytest.param(lambda statement: resources(statement)[0].update(name="C"), "B: SHA-256", id="file-renamed"),
        pytest.param(
            lambda statement: resources(statement).append({"name": "evil.so", "digest": "0" * 64}),
            "evil.so: no such file",
            id="file-more",
        ),
        pytest.param(lambda statement: resources(statement)[1].update(digest="0" * 64), "a/x: SHA-256", id="hash"),
        pytest.param(
            lambda statement: resources(statement).append(resources(statement)[0]), "every file once", id="twice"
        ),
        pytest.param(lambda statement: resources(statement).reverse(), "by folders", id="order"),
        pytest.param(
            lambda statement: statement["predicate"]["serialization"].update(ignore_paths=["agent"]),
            "another form",
            id="ignoring",
        ),
        pytest.param(lambda statement: statement["subject"].clear(), "another form", id="no-subject"),
        pytest.param(lambda statement: statement["subject"][0].update(digest={}), "another form", id="subject"),
        pytest.param(lambda statement: statement.update(predicate=None), "not among its files", id="no-predicate"),
        pytest.param(lambda statement: statement["predicate"].update(resources=7), "not among its files", id="no-list"),
    ],
)
def test_statement_of_other_files_is_refused(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    """Whatever was changed is named."""
    statement = model_statement(HASHES)
    change(statement)
    with pytest.raises(InputError) as refused:
        check_statement(statement, HASHES, "net.model.sig")
    assert said in str(refused.value)
    assert "net.model.sig" in str(refused.value)
