"""A release, laid out and signed: what verifiers of others are tried on."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from harness.evidence.reading import read_evidence
from harness.release.facts import ReleaseFacts
from harness.release.layout import lay_out
from harness.release.model_signing import model_statement
from harness.release.parts import collect
from harness.signing.envelope import seal
from harness.signing.keys import load_signer
from harness.signing.statement import EVIDENCE_PREDICATE, make_statement

from .gate_project import make_project

PREDICATE = EVIDENCE_PREDICATE
PAYLOAD_TYPE = "application/vnd.in-toto+json"
ATTESTED = ("SHA256SUMS", "manifest.json", "evidence.json", "artifact/model.onnx")


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
    """Lay out a release and sign it.

    Args:
        tmp_path: a folder, in which "net" and its signatures are made, and the project that it comes from.
        private: the private key, PEM without a passphrase; its public half beside it, with ".pub" behind the name.
    """
    (tmp_path / "from").mkdir()
    project = make_project(tmp_path / "from", samples=600)
    run = read_evidence(project.evidence / "evidence.json").run
    (cell,) = run.cells
    assert cell.answers is not None
    folder = tmp_path / "net"
    folder.mkdir()
    facts = ReleaseFacts(name="net", model="net", device="rig", backend="onnxruntime", created="2026-11-27T12:00:00Z")
    evidence, answers = project.evidence / "evidence.json", project.evidence / cell.answers.path
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILGATE_CACHE", str(project.cache))
        parts = collect(project.evidence, cell)
        laid = lay_out(folder, parts, cell, evidence.read_bytes(), answers.read_bytes(), facts)
    sums = {**laid.hashes, "SHA256SUMS": laid.sha256}
    predicate = {"result": "PASSED", "configuration": [], "passedTests": ["net/rig/onnxruntime/parity"]}
    statement = make_statement({name: sums[name] for name in ATTESTED}, PREDICATE, predicate)
    made = SignedFolder(
        folder=folder,
        attestation=tmp_path / "net.sigstore.json",
        model_signature=tmp_path / "net.model.sig",
        public=tmp_path / "team.pub",
    )
    made.public.write_bytes(private.with_name(f"{private.name}.pub").read_bytes())
    signer = load_signer(str(private))
    made.attestation.write_text(seal(statement, signer), encoding="utf-8")
    made.model_signature.write_text(seal(model_statement(sums, "net"), signer), encoding="utf-8")
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
