"""A run that signs its evidence: its key, and a search of all that it leaves and prints for that."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from harness.evidence.folder import SIGNATURE
from harness.signing.envelope import read_sealed
from harness.signing.keys import load_public, make_key
from harness.signing.statement import EVIDENCE_PREDICATE, subjects_of

from .conftest import Outcome, Project

PASSPHRASE = "correct horse battery staple"  # noqa: S105
# In a model file: the user's code looks for what is none of its business.
NOSY = """
import os

assert not [name for name in os.environ if "SIGNING" in name], "the model's process has the signing key"
"""


@dataclass(frozen=True)
class Secrets:
    """A private key with a passphrase, outside of the project; only the environment of its runs has both."""

    key: Path

    @classmethod
    def in_environment(cls, project: Project) -> Secrets:
        """Make a key, and give a project's runs what CI gives them."""
        key = project.folder.with_name(f"{project.folder.name}-key") / "signing"
        key.parent.mkdir()
        make_key(key, PASSPHRASE.encode())
        project.environment |= {"HILGATE_SIGNING_KEY": key.read_text(), "HILGATE_SIGNING_PASSPHRASE": PASSPHRASE}
        return cls(key)

    def check(self, done: Outcome) -> dict[str, Any]:
        """Check a run's signature, and that the key is nowhere; return what was signed of its tests."""
        folder = done.folder / "build/hil"
        public = load_public(self.key.with_name("signing.pub"))
        opened = read_sealed(folder / SIGNATURE, [public], EVIDENCE_PREDICATE)
        subjects = subjects_of(opened.statement)
        assert "evidence.json" in subjects
        assert set(subjects) == {"evidence.json", *(f"bundles/{path.name}" for path in (folder / "bundles").iterdir())}
        for name, sha256 in subjects.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
        assert f"signed: build/hil/{SIGNATURE}, by the key {public.fingerprint}" in done.output
        for secret in self._texts():
            assert secret not in done.output.encode()
            for place in (done.folder, Path(os.environ["HILGATE_CACHE"])):
                assert [path for path in place.rglob("*") if path.is_file() and secret in path.read_bytes()] == []
        predicate: dict[str, Any] = opened.statement["predicate"]
        return predicate

    def _texts(self) -> Iterator[bytes]:
        """Yield what must be found nowhere: the passphrase, the key as it lies in its file, and its number."""
        pem = self.key.read_bytes()
        yield PASSPHRASE.encode()
        yield from pem.splitlines()[1:-1]
        private = load_pem_private_key(pem, PASSPHRASE.encode())
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        number = private.private_numbers().private_value.to_bytes(32, "big")
        yield number
        yield number.hex().encode()
        yield base64.b64encode(number)[:-2]
        yield str(int.from_bytes(number, "big")).encode()
