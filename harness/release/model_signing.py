"""The statement of OpenSSF Model Signing v1.0 over a release's folder, for ``model_signing verify key``.

The specification: github.com/ossf/model-signing-spec, spec/v1.0.md; written and read by the package model-signing 1.1.
One file of the folder is one resource. The subject stands for all of them: SHA-256 over their digests, 32 bytes each,
in the order of their names.

    {"_type": "https://in-toto.io/Statement/v1",
     "subject": [{"name": NAME, "digest": {"sha256": …}}],
     "predicateType": "https://model_signing/signature/v1.0",
     "predicate": {"serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": false},
                   "resources": [{"name": PATH, "algorithm": "sha256", "digest": …}, …]}}

There is no ``ignore_paths``: nothing of a release is ignored, and the signature lies beside the folder. (The package
ignores .git, .github, .gitattributes and .gitignore whatever a statement says; SHA256SUMS and `run --check` do not.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ..errors import InputError
from ..signing.statement import MODEL_PREDICATE, make_statement

PREDICATE_TYPE = MODEL_PREDICATE
NOT_OF_THIS = "the signature in OpenSSF Model Signing's format is not of this release"


def model_statement(hashes: Mapping[str, str], name: str = "release") -> dict[str, Any]:
    """Make the statement over a folder's files.

    Args:
        hashes: the SHA-256 of each file, hexadecimal, by its path in the folder.
        name: the subject's, which no verifier compares with anything.

    Raises:
        InputError: there is no file: the package accepts a signature over nothing (model-transparency #661).
    """
    if not hashes:
        what = "a release without files cannot be signed"
        raise InputError(what, wanted="at least one file", found="none")
    digest = hashlib.sha256()
    resources = []
    for path in sorted(hashes, key=PurePosixPath):  # by folders, as the package sorts: "a/b" before "a.txt"
        digest.update(bytes.fromhex(hashes[path]))
        resources.append({"name": path, "algorithm": "sha256", "digest": hashes[path]})
    predicate = {
        "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
        "resources": resources,
    }
    return make_statement({name: digest.hexdigest()}, PREDICATE_TYPE, predicate)


def check_statement(statement: Mapping[str, Any], hashes: Mapping[str, str], where: str) -> None:
    """Refuse a statement that is not the one over these files, whatever it calls them together.

    Args:
        statement: as it was signed.
        hashes: the SHA-256 of each file of the folder, by its path.
        where: the signature's file, for messages.

    Raises:
        InputError: it names another file, another hash, or has another form; the message says which first.
    """
    wanted = model_statement(hashes)
    hint = "take the signature that the gate made together with the release"
    resources = _resources(statement.get("predicate"))
    for path in sorted({*hashes, *resources}):
        if hashes.get(path) != resources.get(path):
            found = f"SHA-256 {resources[path]}" if path in resources else "it is not among its files"
            named = f"SHA-256 {hashes[path]}" if path in hashes else "no such file"
            raise InputError(NOT_OF_THIS, wanted=f"{path}: {named}", found=found[:300], where=where, hint=hint)
    digests = [subject.get("digest") for subject in statement.get("subject", []) if isinstance(subject, Mapping)]
    if statement.get("predicate") != wanted["predicate"] or digests != [wanted["subject"][0]["digest"]]:
        what = "every file once, by folders, and their digests' digest"
        raise InputError(NOT_OF_THIS, wanted=what, found="another form of the same", where=where, hint=hint)


def _resources(predicate: object) -> dict[str, str]:
    """Return what a predicate lists: hashes by path, as texts, whatever stands there."""
    listed = predicate.get("resources") if isinstance(predicate, Mapping) else None
    entries = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    return {str(each.get("name")): str(each.get("digest")) for each in entries}
