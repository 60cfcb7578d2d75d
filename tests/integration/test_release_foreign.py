"""Verifiers that are not ours accept what we sign, and refuse what of the attacks is theirs to see.

cosign sees one file and the statement about it; model_signing every file of the folder; openssl and sha256sum both.
What they do not see is here, too: whoever verifies with them has to know it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.foreign import Cosign, ModelSigning, cosign_or_skip, model_signing_or_skip
from tests.support.gate_project import make_key
from tests.support.signed_folder import (
    PREDICATE,
    SignedFolder,
    change_payload,
    make_signed_folder,
    payload_of,
    seal_by_hand,
)

from .runners import USERS_CACHE

OTHER = "https://slsa.dev/provenance/v1"
# POSIX sh with openssl and coreutils, in the folder above the release; ends with status 0 if all is well.
WITH_OPENSSL = r"""
set -eu
field() { tr -d ' \n' < net.sigstore.json | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
field payload | base64 -d > statement.json
field sig | base64 -d > statement.sig
{ printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(wc -c < statement.json)"; cat statement.json; } > signed.bin
openssl dgst -sha256 -verify "$KEY" -signature statement.sig signed.bin
sums=$(sha256sum net/SHA256SUMS | cut -c-64)
tr -d ' \n' < statement.json > statement.txt
grep -qF '"predicateType":"https://in-toto.io/attestation/test-result/v0.1"' statement.txt
grep -qF "{\"name\":\"SHA256SUMS\",\"digest\":{\"sha256\":\"$sums\"}}" statement.txt
cd net
sha256sum --check --strict --quiet SHA256SUMS
test "$(find . ! -type d | wc -l)" -eq "$(($(wc -l < SHA256SUMS) + 1))"
"""
Change = Callable[[SignedFolder], object]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key; its public half beside it."""
    return new_key(tmp_path / "team")


def new_key(path: Path) -> Path:
    """Make a key pair."""
    make_key(path, path.with_name(f"{path.name}.pub"))
    return path


@pytest.fixture
def signed(tmp_path: Path, key: Path) -> SignedFolder:
    """A folder that is signed as a release is."""
    return make_signed_folder(tmp_path, key)


@pytest.fixture(scope="module")
def cosign() -> Cosign:
    """Debian's cosign, in the user's cache."""
    return cosign_or_skip(USERS_CACHE)


@pytest.fixture(scope="module")
def model_signing() -> ModelSigning:
    """model_signing in an environment of its own, in the user's cache."""
    return model_signing_or_skip(USERS_CACHE)


def by_another_key(signed: SignedFolder) -> None:
    """Put another key's public half in place of the team's."""
    other = new_key(signed.folder.parent / "other")
    shutil.copy(other.with_name("other.pub"), signed.public)


def with_another_signature(signed: SignedFolder) -> None:
    """Put the signature of another statement by the same key under this one."""
    content = json.loads(signed.attestation.read_bytes())
    other = json.loads(signed.model_signature.read_bytes())
    content["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]
    signed.attestation.write_text(json.dumps(content), encoding="utf-8")


ATTACKS_ON_ATTESTATION = [
    pytest.param(lambda signed: change_payload(signed.attestation, b"PASSED", b"WARNED"), id="payload"),
    pytest.param(by_another_key, id="key"),
    pytest.param(with_another_signature, id="signature"),
    pytest.param(lambda signed: shutil.copy(signed.model_signature, signed.attestation), id="another-statement"),
    pytest.param(lambda signed: signed.sums.write_bytes(signed.sums.read_bytes() + b"\n"), id="file"),
]


def test_cosign_accepts(cosign: Cosign, signed: SignedFolder) -> None:
    """Every subject, in both forms, without a network."""
    for subject in signed.statement()["subject"]:
        blob = signed.folder / subject["name"]
        for ran in (
            cosign.verify(blob, signed.attestation, signed.public, PREDICATE),
            cosign.verify_envelope(blob, signed.attestation, signed.public, PREDICATE),
        ):
            assert ran.accepts, ran.output
            assert "Verified OK" in ran.output


@pytest.mark.parametrize("attack", ATTACKS_ON_ATTESTATION)
def test_cosign_refuses(cosign: Cosign, signed: SignedFolder, attack: Change) -> None:
    """What is not signed by this key, or not about this file."""
    attack(signed)
    for ran in (
        cosign.verify(signed.sums, signed.attestation, signed.public, PREDICATE),
        cosign.verify_envelope(signed.sums, signed.attestation, signed.public, PREDICATE),
    ):
        assert not ran.accepts, ran.output
        assert "Verified OK" not in ran.output


def test_cosign_refuses_a_file_that_no_statement_names(cosign: Cosign, signed: SignedFolder) -> None:
    """The release's script is none of the subjects: SHA256SUMS is, which names it."""
    ran = cosign.verify(signed.folder / "run", signed.attestation, signed.public, PREDICATE)
    assert "does not match any digest" in ran.output
    assert not ran.accepts


def test_cosign_compares_the_predicate_type_of_an_envelope_alone(cosign: Cosign, signed: SignedFolder) -> None:
    """Of a bundle cosign 2.5 compares no type: the README of a release shows the other form."""
    ran = cosign.verify_envelope(signed.sums, signed.attestation, signed.public, OTHER)
    assert f"invalid predicate type, expected {OTHER}" in ran.output
    assert not ran.accepts
    assert cosign.verify(signed.sums, signed.attestation, signed.public, OTHER).accepts


@pytest.mark.slow
def test_model_signing_accepts(model_signing: ModelSigning, signed: SignedFolder) -> None:
    """The whole folder."""
    ran = model_signing.verify(signed.folder, signed.model_signature, signed.public)
    assert ran.accepts, ran.output
    assert "Verification succeeded" in ran.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "said"),
    [
        pytest.param(
            lambda signed: (signed.folder / "artifact/model.onnx").write_bytes(bytes(range(255, -1, -1)) * 64),
            "artifact/model.onnx",
            id="byte",
        ),
        pytest.param(lambda signed: (signed.folder / "agent/evil.so").touch(), "agent/evil.so", id="added"),
        pytest.param(lambda signed: (signed.folder / ".gitignore").touch(), ".gitignore", id="added-of-git"),
        pytest.param(lambda signed: (signed.folder / "evidence.json").unlink(), "evidence.json", id="missing"),
        pytest.param(lambda signed: (signed.folder / "link").symlink_to("run"), "link", id="link"),
        pytest.param(by_another_key, "Key mismatch", id="key"),
        pytest.param(lambda signed: change_payload(signed.model_signature, b'"run"', b'"RUN"'), "", id="payload"),
        pytest.param(
            lambda signed: shutil.copy(signed.attestation, signed.model_signature), "Predicate type", id="predicate"
        ),
    ],
)
def test_model_signing_refuses(model_signing: ModelSigning, signed: SignedFolder, attack: Change, said: str) -> None:
    """A folder with other files, another key, another statement."""
    attack(signed)
    ran = model_signing.verify(signed.folder, signed.model_signature, signed.public)
    assert not ran.accepts
    assert said in ran.output


@pytest.mark.slow
def test_model_statement_is_what_model_signing_writes(
    model_signing: ModelSigning, signed: SignedFolder, key: Path
) -> None:
    """Signed by the tool itself, the same folder has the same statement, to the order of its files."""
    own = signed.folder.parent / "own.sig"
    ran = model_signing.sign(signed.folder, own, key)
    assert ran.accepts, ran.output
    theirs, ours = json.loads(payload_of(own)), json.loads(payload_of(signed.model_signature))
    # Its own signature file, which lies outside of the folder here.
    theirs["predicate"]["serialization"].pop("ignore_paths", None)
    assert ours == theirs
    assert [each["name"] for each in ours["predicate"]["resources"]][:2] == ["README.md", "SHA256SUMS"]


@pytest.mark.slow
def test_in_toto_parses_the_statements(model_signing: ModelSigning, signed: SignedFolder, tmp_path: Path) -> None:
    """Its protobuf classes take both statements, and find our subjects in them."""
    path = tmp_path / "statement.json"
    for bundle in (signed.attestation, signed.model_signature):
        payload = payload_of(bundle)
        path.write_bytes(payload)
        ran = model_signing.parse_statement(path)
        wanted = [f"{each['name']} {each['digest']['sha256']}" for each in json.loads(payload)["subject"]]
        assert (ran.accepts, ran.output.splitlines()) == (True, wanted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"in-toto.io/Statement/v1", b"in-toto.io/Statement/v9", id="version"),
        pytest.param(b'"subject"', b'"subjects"', id="key"),
        pytest.param(b'"digest"', b'"digests"', id="digest"),
    ],
)
def test_in_toto_refuses_what_is_no_statement(
    model_signing: ModelSigning, signed: SignedFolder, tmp_path: Path, old: bytes, new: bytes
) -> None:
    """So it can tell a statement from something else."""
    path = tmp_path / "statement.json"
    path.write_bytes(payload_of(signed.attestation).replace(old, new))
    assert not model_signing.parse_statement(path).accepts


def with_openssl(signed: SignedFolder) -> subprocess.CompletedProcess[str]:
    """Verify with openssl and coreutils alone, where the release lies."""
    return subprocess.run(
        ["sh", "-c", WITH_OPENSSL],
        check=False,
        cwd=signed.folder.parent,
        env={"PATH": os.environ["PATH"], "KEY": str(signed.public)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


def test_openssl_and_sha256sum_accept(signed: SignedFolder) -> None:
    """With what every Linux has."""
    done = with_openssl(signed)
    assert done.returncode == 0, done.stdout
    assert "Verified OK" in done.stdout


@pytest.mark.parametrize(
    "attack",
    [
        *ATTACKS_ON_ATTESTATION,
        pytest.param(lambda signed: (signed.folder / "run").write_bytes(b"#!/bin/dash\n"), id="byte"),
        pytest.param(lambda signed: (signed.folder / "sitecustomize.py").touch(), id="added"),
        pytest.param(lambda signed: (signed.folder / "run").unlink(), id="missing"),
        pytest.param(lambda signed: (signed.folder / "agent/link").symlink_to("../run"), id="link"),
    ],
)
def test_openssl_and_sha256sum_refuse(signed: SignedFolder, attack: Change) -> None:
    """Every attack that cosign and model_signing see between them."""
    attack(signed)
    assert with_openssl(signed).returncode != 0


def test_openssl_refuses_another_predicate_type(signed: SignedFolder, key: Path) -> None:
    """The team's key signs other things, too."""
    statement = {**signed.statement(), "predicateType": OTHER}
    signed.attestation.write_text(seal_by_hand(statement, key), encoding="utf-8")
    done = with_openssl(signed)
    assert done.returncode != 0
    assert "Verified OK" in done.stdout  # the signature itself is right


def test_second_signature_is_ours_to_see(cosign: Cosign, signed: SignedFolder) -> None:
    """cosign takes an envelope with a second signature, which is wrong: open_sealed does not."""
    content = json.loads(signed.attestation.read_bytes())
    junk = {"sig": base64.b64encode(bytes(64)).decode(), "keyid": ""}
    content["dsseEnvelope"]["signatures"].append(junk)
    signed.attestation.write_text(json.dumps(content), encoding="utf-8")
    assert cosign.verify_envelope(signed.sums, signed.attestation, signed.public, PREDICATE).accepts
