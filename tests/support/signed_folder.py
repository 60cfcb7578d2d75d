"""A release that the gate made: what verifiers of others are tried on."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from harness.signing.statement import EVIDENCE_PREDICATE

from .gate_project import make_project

PREDICATE = EVIDENCE_PREDICATE
PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, kw_only=True)
class SignedFolder:
    """A release, its signatures beside it, and the key pair.

    Attributes:
        folder: the release.
        attestation: the Sigstore bundle over SHA256SUMS and some files, beside it.
        model_signature: the signature in OpenSSF Model Signing's format, beside it.
        public: the public key, team.pub, beside it.
        private: the private key.
        policy: the policy that it was made by, in its project.
    """

    folder: Path
    attestation: Path
    model_signature: Path
    public: Path
    private: Path
    policy: Path

    @property
    def sums(self) -> Path:
        """SHA256SUMS, whose hash is the release's name."""
        return self.folder / "SHA256SUMS"

    def statement(self) -> dict[str, Any]:
        """Return the attestation's statement."""
        found: dict[str, Any] = json.loads(payload_of(self.attestation))
        return found

    def copy(self, place: Path) -> SignedFolder:
        """Copy the release, its signatures and the public key to another folder, to be attacked there."""
        for path in (self.folder, self.attestation, self.model_signature, self.public):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, place / path.name)
        return replace(
            self,
            folder=place / self.folder.name,
            attestation=place / self.attestation.name,
            model_signature=place / self.model_signature.name,
            public=place / self.public.name,
        )


def make_signed_folder(tmp_path: Path, **options: Any) -> SignedFolder:
    """Have ``hilgate gate`` make a release of a project that was made by hand.

    Args:
        tmp_path: an empty folder.
        options: of make_project.
    """
    project = make_project(tmp_path, **{"samples": 600, **options})
    made = project.root / "build" / "release"
    command = [sys.executable, "-c", "import sys; from harness.cli import main; sys.exit(main())", "gate"]
    subprocess.run(
        [*command, project.evidence, "--policy", project.policy, "--key", project.key, "-o", made],
        check=True,
        cwd=project.root,
        env={**os.environ, **project.environment},
        stdout=subprocess.DEVNULL,
    )
    public = made / "team.pub"
    shutil.copy(project.public, public)
    return SignedFolder(
        folder=made / "net",
        attestation=made / "net.sigstore.json",
        model_signature=made / "net.model.sig",
        public=public,
        private=project.key,
        policy=project.policy,
    )


def seal_by_hand(statement: Mapping[str, Any], private: Path) -> str:
    """Seal a statement without hilgate's own code: a second opinion on the format.

    Args:
        statement: anything that JSON can hold.
        private: a P-256 key, PEM.
    """
    key = load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    payload = json.dumps(statement, separators=(",", ":")).encode()
    signature = key.sign(pre_authentication(payload), ec.ECDSA(hashes.SHA256()))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
    }
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": hashlib.sha256(public).hexdigest()}, "tlogEntries": []},
        "dsseEnvelope": envelope,
    }
    return json.dumps(bundle, indent=1) + "\n"


def pre_authentication(payload: bytes) -> bytes:
    """Return what is signed of a payload: DSSE's pre-authentication encoding."""
    head = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} "
    return head.encode() + payload


def payload_of(bundle: Path) -> bytes:
    """Return the payload of a Sigstore bundle."""
    return base64.b64decode(json.loads(bundle.read_bytes())["dsseEnvelope"]["payload"])


def change_payload(bundle: Path, old: bytes, new: bytes) -> None:
    """Replace something in a bundle's payload; the signature stays."""
    content = json.loads(bundle.read_bytes())
    payload = payload_of(bundle)
    assert old in payload
    content["dsseEnvelope"]["payload"] = base64.b64encode(payload.replace(old, new)).decode()
    bundle.write_text(json.dumps(content), encoding="utf-8")
