"""A folder with SHA256SUMS, signed as a release is, laid out by hand: what verifiers of others are tried on."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from harness.release.model_signing import model_statement

PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
FILES: Mapping[str, bytes] = {
    "README.md": b"# net\n",
    "agent/__init__.py": b"",
    "artifact/model.onnx": bytes(range(256)) * 64,
    "check/0-in-0.bin": bytes(64),
    "evidence.json": b'{"schema": 1}\n',
    "manifest.json": b'{"schema": 1}\n',
    "run": b"#!/bin/sh\n",
}


@dataclass(frozen=True, kw_only=True)
class SignedFolder:
    """A signed folder.

    Attributes:
        folder: the release.
        attestation: the Sigstore bundle over SHA256SUMS and some files, beside it.
        model_signature: the signature in OpenSSF Model Signing's format, beside it.
        public: the public key.
    """

    folder: Path
    attestation: Path
    model_signature: Path
    public: Path

    @property
    def sums(self) -> Path:
        """SHA256SUMS, whose hash is the release's name."""
        return self.folder / "SHA256SUMS"

    def statement(self) -> dict[str, Any]:
        """Return the attestation's statement."""
        found: dict[str, Any] = json.loads(payload_of(self.attestation))
        return found


def make_signed_folder(tmp_path: Path, private: Path) -> SignedFolder:
    """Lay out a folder and sign it.

    Args:
        tmp_path: an empty folder.
        private: the private key, PEM without a passphrase; its public half beside it, with ".pub" behind the name.
    """
    folder = tmp_path / "net"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "run").chmod(0o755)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    text = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items()))
    (folder / "SHA256SUMS").write_text(text, encoding="utf-8")
    sums["SHA256SUMS"] = hashlib.sha256(text.encode()).hexdigest()
    attested = ("SHA256SUMS", "manifest.json", "evidence.json", "artifact/model.onnx")
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": sums[name]}} for name in attested],
        "predicateType": PREDICATE,
        "predicate": {"result": "PASSED", "configuration": [], "passedTests": ["net/rig/onnxruntime/parity"]},
    }
    made = SignedFolder(
        folder=folder,
        attestation=tmp_path / "net.sigstore.json",
        model_signature=tmp_path / "net.model.sig",
        public=private.with_name(f"{private.name}.pub"),
    )
    made.attestation.write_text(seal_by_hand(statement, private), encoding="utf-8")
    made.model_signature.write_text(seal_by_hand(model_statement(sums, "net"), private), encoding="utf-8")
    return made


def seal_by_hand(statement: Mapping[str, Any], private: Path) -> str:
    """Seal a statement without hilgate's own code: a second opinion on the format.

    Args:
        statement: anything that JSON can hold.
        private: a P-256 key, PEM.
    """
    key = load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    payload = json.dumps(statement).encode()
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
