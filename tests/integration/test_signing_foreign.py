"""What we sign, read by programs that are not ours: openssl, and in-toto's own classes; and keys that openssl made.

cosign and model_signing read a whole release: tests/integration/test_release_foreign.py.
"""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as Message

from harness.errors import InputError
from harness.signing.envelope import open_sealed, seal
from harness.signing.keys import Signer, load_public, load_signer, make_key
from harness.signing.pkcs8 import ROUNDS
from harness.signing.statement import EVIDENCE_PREDICATE, make_statement
from tests.support.keys import pair

PASSPHRASE = "correct horse battery staple"  # noqa: S105
SUBJECTS = {"SHA256SUMS": "ab" * 32, "artifact/größer.onnx": "01" * 32}
PREDICATE = {
    "result": "PASSED",
    "configuration": [{"name": "gate.toml", "digest": {"sha256": "cd" * 32}}],
    "passedTests": ["digits/rig/onnxruntime/parity"],
    "hilgate": {"schema": 1},
}
# What is signed, put together by sh, as it stands in a release's README.
PARTS = r"""set -eu
sed -n 's/^ *"payload": "\([^"]*\)".*/\1/p' x.sigstore.json | base64 -d > payload
sed -n 's/^ *"sig": "\([^"]*\)".*/\1/p' x.sigstore.json | base64 -d > signature
{ printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(wc -c < payload)"; cat payload; } > signed
"""
VERIFY = {
    "P-256": "openssl dgst -sha256 -verify public.pem -signature signature signed",
    "Ed25519": "openssl pkeyutl -verify -rawin -pubin -inkey public.pem -sigfile signature -in signed",
}


def openssl(folder: Path, *words: str, text: str = "") -> bytes:
    return subprocess.run(["openssl", *words], cwd=folder, input=text.encode(), check=True, capture_output=True).stdout


def verified(folder: Path, kind: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", PARTS + VERIFY[kind]]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return pair(tmp_path)[0]


@pytest.mark.parametrize("kind", list(VERIFY))
def test_openssl_verifies_what_we_sign_and_refuses_what_was_changed(tmp_path: Path, kind: str) -> None:
    signer, _ = pair(tmp_path, kind)
    text = seal(make_statement(SUBJECTS, EVIDENCE_PREDICATE, PREDICATE), signer)
    (tmp_path / "x.sigstore.json").write_text(text)
    done = verified(tmp_path, kind)
    assert (done.returncode, "Verified" in done.stdout) == (0, True), done.stderr
    assert json.loads((tmp_path / "payload").read_bytes())["predicate"] == PREDICATE

    payload = json.loads(text)["dsseEnvelope"]["payload"]
    changed = base64.b64encode(base64.b64decode(payload).replace(b"PASSED", b"FAILED")).decode()
    (tmp_path / "x.sigstore.json").write_text(text.replace(payload, changed))
    assert verified(tmp_path, kind).returncode != 0


def test_in_totos_own_classes_read_the_statement(signer: Signer) -> None:
    text = seal(make_statement(SUBJECTS, EVIDENCE_PREDICATE, PREDICATE), signer)
    payload = base64.b64decode(json.loads(text)["dsseEnvelope"]["payload"])
    message = json_format.Parse(payload, Message())  # refuses keys that it does not know
    statement = Statement.copy_from_pb(message)
    statement.validate()
    assert {subject.name: subject.digest["sha256"] for subject in statement.pb.subject} == SUBJECTS
    assert statement.pb.predicate_type == EVIDENCE_PREDICATE
    predicate = json_format.MessageToDict(statement.pb.predicate)
    result = json_format.ParseDict(predicate, test_result_pb2.TestResult(), ignore_unknown_fields=True)
    assert (result.result, list(result.passed_tests)) == ("PASSED", PREDICATE["passedTests"])
    assert result.configuration[0].digest["sha256"] == "cd" * 32


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_openssl_reads_a_key_that_we_make(tmp_path: Path, passphrase: str | None) -> None:
    public = make_key(tmp_path / "k", passphrase.encode() if passphrase else None)
    words = ["pkey", "-in", "k", "-pubout", "-passin", "stdin"]
    assert openssl(tmp_path, *words, text=passphrase or "none").decode() == public.pem
    der = openssl(tmp_path, "pkey", "-pubin", "-in", "k.pub", "-outform", "DER")
    (tmp_path / "der").write_bytes(der)
    assert openssl(tmp_path, "dgst", "-sha256", "-r", "der").split()[0].decode() == public.fingerprint
    shape = openssl(tmp_path, "asn1parse", "-in", "k").decode()
    assert (f"{ROUNDS:06X}" in shape) is (passphrase is not None)


def test_a_passphrase_is_taken_as_it_is(tmp_path: Path) -> None:
    make_key(tmp_path / "k", PASSPHRASE.encode())
    with pytest.raises(InputError, match="passphrase is wrong"):
        load_signer(str(tmp_path / "k"), lambda: PASSPHRASE + " ")
    assert load_signer(str(tmp_path / "k"), lambda: PASSPHRASE).public == load_public(tmp_path / "k.pub")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], id="P-256"),
        pytest.param(["-algorithm", "ED25519"], id="Ed25519"),
    ],
)
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_key_that_openssl_made_signs(tmp_path: Path, words: list[str], encrypted: bool) -> None:
    cipher = ["-aes256", "-pass", "stdin"] if encrypted else []
    openssl(tmp_path, "genpkey", *words, *cipher, "-out", "k", text=PASSPHRASE)
    (tmp_path / "k").chmod(0o600)
    openssl(tmp_path, "pkey", "-in", "k", "-pubout", "-out", "k.pub", "-passin", "stdin", text=PASSPHRASE)
    signer, public = load_signer(str(tmp_path / "k"), lambda: PASSPHRASE), load_public(tmp_path / "k.pub")
    text = seal(make_statement(SUBJECTS, EVIDENCE_PREDICATE, PREDICATE), signer)
    assert open_sealed(text.encode(), [public], EVIDENCE_PREDICATE, "here").key == public


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "k"], "another format", id="SEC 1"
        ),
        pytest.param(["genpkey", "-algorithm", "RSA", "-out", "k"], "RSA keys are not accepted", id="RSA"),
        pytest.param(
            ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521", "-out", "k"],
            "another curve",
            id="P-521",
        ),
    ],
)
def test_a_key_that_openssl_made_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    openssl(tmp_path, *words)
    (tmp_path / "k").chmod(0o600)
    with pytest.raises(InputError, match=message) as failure:
        load_signer(str(tmp_path / "k"))
    if "openssl pkcs8 -topk8" in failure.value.hint:  # what the message says to do does it
        openssl(tmp_path, "pkcs8", "-topk8", "-nocrypt", "-in", "k", "-out", "new")
        (tmp_path / "new").chmod(0o600)
        load_signer(str(tmp_path / "new"))
