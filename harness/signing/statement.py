"""In-toto Statements v1: what is claimed (a predicate) of which files (subjects, by SHA-256).

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..printable import is_hidden

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
# What a run's evidence and a release are attested with: passedTests, failedTests, configuration.
EVIDENCE_PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
# The OpenSSF's format of a folder's hashes.
MODEL_PREDICATE = "https://model_signing/signature/v1.0"
NAME_BYTES = 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = ("_type", "predicate", "predicateType", "subject")


def make_statement(subjects: Mapping[str, str], predicate_type: str, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """Make a statement.

    Args:
        subjects: the SHA-256 of each file by its name, in hexadecimal digits.
        predicate_type: the URI of the kind of claim.
        predicate: the claim; JSON can hold it.

    Raises:
        InputError: there is no subject, or one with a name or a hash that ``subjects_of`` would refuse.
    """
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in subjects.items()],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }
    subjects_of(statement)
    return statement


def check_statement(statement: object, predicate_type: str, where: str) -> dict[str, Any]:
    """Refuse what is not a statement of this kind; returns it.

    Raises:
        InputError: it is of another type, or has other keys or subjects than a statement may have.
    """
    if not isinstance(statement, dict) or tuple(sorted(statement)) != _KEYS:
        found = ", ".join(sorted(statement)) if isinstance(statement, dict) else type(statement).__name__
        what = "what was signed is no statement"
        raise InputError(what, wanted=f"an object with {', '.join(_KEYS)}", found=found[:300], where=where)
    if statement["_type"] != STATEMENT_TYPE:
        what, found = "the statement is of another version", repr(statement["_type"])[:200]
        raise InputError(what, wanted=STATEMENT_TYPE, found=found, where=f"{where}: _type")
    if statement["predicateType"] != predicate_type:
        what, hint = "the key signed something else here", "name the file that was made for this purpose"
        found = repr(statement["predicateType"])[:200]
        raise InputError(what, wanted=predicate_type, found=found, where=f"{where}: predicateType", hint=hint)
    if not isinstance(statement["predicate"], dict):
        what, found = "the statement claims nothing", type(statement["predicate"]).__name__
        raise InputError(what, wanted="an object", found=found, where=f"{where}: predicate")
    subjects_of(statement, where)
    return statement


def subjects_of(statement: Mapping[str, Any], where: str = "the statement") -> dict[str, str]:
    """Return the SHA-256 of each subject by its name.

    Raises:
        InputError: there is none, a name is there twice or is none, or there is another hash than one SHA-256.
    """
    place, what = f"{where}: subject", "a subject of the statement is none"
    listed = statement.get("subject")
    if not isinstance(listed, list) or not listed:
        found = "none" if listed == [] else type(listed).__name__
        raise InputError("the statement is about nothing", wanted="a list of subjects", found=found, where=place)
    subjects: dict[str, str] = {}
    for index, entry in enumerate(listed):
        if not isinstance(entry, dict) or set(entry) != {"name", "digest"}:
            raise _refusal(what, "an object with name and digest", entry, f"{place}[{index}]")
        name, digest = entry["name"], entry["digest"]
        if not _is_name(name):
            wanted = f"text of 1 to {NAME_BYTES} bytes, without hidden characters"
            raise _refusal("a subject of the statement has no name", wanted, name, f"{place}[{index}].name")
        if not isinstance(digest, dict) or set(digest) != {"sha256"} or not _is_sha256(digest["sha256"]):
            wanted = '{"sha256": 64 hexadecimal digits}'
            raise _refusal("a subject of the statement has no hash", wanted, digest, f"{place}[{index}].digest")
        if name in subjects:
            raise _refusal("a subject is in the statement twice", "each name once", name, f"{place}[{index}].name")
        subjects[name] = digest["sha256"]
    return subjects


def _refusal(what: str, wanted: str, found: object, where: str) -> InputError:
    return InputError(what, wanted=wanted, found=repr(found)[:200], where=where)


def _is_name(name: object) -> bool:
    if not isinstance(name, str) or not 0 < len(name) <= NAME_BYTES:
        return False
    if name.isascii():
        return name.isprintable()
    return not any(map(is_hidden, name)) and len(name.encode("utf-8", "replace")) <= NAME_BYTES


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None
