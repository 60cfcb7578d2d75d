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

MODEL_PREDICATE = "https://model_signing/signature/v1.0"
STATEMENT = "https://in-toto.io/Statement/v1"


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
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest.hexdigest()}}],
        "predicateType": MODEL_PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": resources,
        },
    }
