"""Verifiers that are not ours accept what we sign, and refuse what of the attacks is theirs to see.

cosign sees one file and the statement about it; model_signing every file of the folder; openssl and sha256sum both.
What they do not see is here, too: whoever verifies with them has to know it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from harness.errors import InputError
from harness.release.model_signing import PREDICATE_TYPE
from harness.signing.envelope import Opened, read_sealed, seal
from harness.signing.keys import load_public, load_signer
from tests.support.foreign import Cosign, ModelSigning, Ran, cosign_or_skip, model_signing_or_skip, run_offline
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
Change = Callable[[SignedFolder], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SignedFolder:
    """A release, made by the command."""
    return make_signed_folder(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def signed(made: SignedFolder, tmp_path: Path) -> SignedFolder:
    """A copy of it, to be attacked."""
    return made.copy(tmp_path)


def new_key(path: Path) -> Path:
    """Make a key pair."""
    make_key(path, path.with_name(f"{path.name}.pub"))
    return path


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
    pytest.param(
        lambda signed: change_payload(signed.attestation, b'"result":"PASSED"', b'"result":"WARNED"'), id="payload"
    ),
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
def test_model_statement_is_what_model_signing_writes(model_signing: ModelSigning, signed: SignedFolder) -> None:
    """Signed by the tool itself, the same folder has the same statement, to the order of its files."""
    own = signed.folder.parent / "own.sig"
    ran = model_signing.sign(signed.folder, own, signed.private)
    assert ran.accepts, ran.output
    theirs, ours = json.loads(payload_of(own)), json.loads(payload_of(signed.model_signature))
    # Its own signature file, which lies outside of the folder here.
    theirs["predicate"]["serialization"].pop("ignore_paths", None)
    assert ours == theirs
    assert [each["name"] for each in ours["predicate"]["resources"]][:3] == [
        "README.md",
        "SHA256SUMS",
        "agent/__init__.py",
    ]


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


def blocks_of(signed: SignedFolder, heading: str) -> list[str]:
    """Return the shell blocks of a section of the release's README, word for word."""
    text = (signed.folder / "README.md").read_text(encoding="utf-8")
    _, _, section = text.partition(f"### {heading}\n")
    return re.findall(r"^```sh\n(.*?)^```$", re.split(r"^##", section, flags=re.MULTILINE)[0], re.MULTILINE | re.DOTALL)


def run_block(signed: SignedFolder, block: str, *programs: Path) -> Ran:
    """Run a block where the release, its signatures and team.pub lie; more programs by their folders."""
    folders = [*map(str, programs), os.environ["PATH"]]
    return run_offline(["sh", "-c", block], cwd=signed.folder.parent, PATH=os.pathsep.join(folders))


ATTACKS_ON_FILES = [
    pytest.param(lambda signed: (signed.folder / "run").write_bytes(b"#!/bin/dash\n"), id="byte"),
    pytest.param(lambda signed: (signed.folder / "sitecustomize.py").touch(), id="added"),
    pytest.param(lambda signed: (signed.folder / "run").unlink(), id="missing"),
    pytest.param(lambda signed: (signed.folder / "agent/link").symlink_to("../run"), id="link"),
]
# What neither cosign nor model_signing looks at: modes, and folders without files, which Python takes for packages.
MODES = [
    pytest.param(lambda signed: (signed.folder / "env").chmod(0o755), id="executable"),
    pytest.param(lambda signed: (signed.folder / "run").chmod(0o4755), id="setuid"),
    pytest.param(lambda signed: (signed.folder / "run").chmod(0o644), id="not-executable"),
    pytest.param(lambda signed: (signed.folder / "runtime/threadpoolctl").mkdir(), id="empty-folder"),
]


def test_readme_openssl_accepts(signed: SignedFolder) -> None:
    """With what every Linux has."""
    (block,) = blocks_of(signed, "With openssl and sha256sum")
    ran = run_block(signed, block)
    assert ran.accepts, ran.output
    assert ran.output.splitlines()[-1] == "net: verified"


@pytest.mark.parametrize("attack", [*ATTACKS_ON_ATTESTATION, *ATTACKS_ON_FILES, *MODES])
def test_readme_openssl_refuses(signed: SignedFolder, attack: Change) -> None:
    """Every attack that cosign and model_signing see between them, and what they do not look at."""
    (block,) = blocks_of(signed, "With openssl and sha256sum")
    attack(signed)
    ran = run_block(signed, block)
    assert not ran.accepts
    assert "net: verified" not in ran.output


def test_readme_openssl_refuses_another_predicate_type(signed: SignedFolder) -> None:
    """The team's key signs other things, too."""
    (block,) = blocks_of(signed, "With openssl and sha256sum")
    statement = {**signed.statement(), "predicateType": OTHER}
    signed.attestation.write_text(seal_by_hand(statement, signed.private), encoding="utf-8")
    ran = run_block(signed, block)
    assert not ran.accepts
    assert "Verified OK" in ran.output  # the signature itself is right


def test_readme_cosign_accepts(cosign: Cosign, signed: SignedFolder) -> None:
    """Both forms."""
    blocks = blocks_of(signed, "With cosign")
    assert len(blocks) == 2
    for block in blocks:
        ran = run_block(signed, block, cosign.program.parent)
        assert ran.accepts, ran.output
        assert "Verified OK" in ran.output


@pytest.mark.parametrize("attack", ATTACKS_ON_ATTESTATION)
def test_readme_cosign_refuses(cosign: Cosign, signed: SignedFolder, attack: Change) -> None:
    """Each of the two forms by itself."""
    blocks = blocks_of(signed, "With cosign")
    attack(signed)
    for block in blocks:
        assert not run_block(signed, block, cosign.program.parent).accepts


def test_readme_cosign_with_sha256sum_refuses_a_changed_file(cosign: Cosign, signed: SignedFolder) -> None:
    """The first form goes on to the files that are listed."""
    block, _ = blocks_of(signed, "With cosign")
    (signed.folder / "env").write_bytes(b"exit\n")
    ran = run_block(signed, block, cosign.program.parent)
    assert not ran.accepts
    assert "env: FAILED" in ran.output


@pytest.mark.slow
@pytest.mark.parametrize("attack", [None, *ATTACKS_ON_FILES])
def test_readme_model_signing(model_signing: ModelSigning, signed: SignedFolder, attack: Change | None) -> None:
    """The command as the README has it."""
    (block,) = blocks_of(signed, "With OpenSSF's model_signing")
    if attack is not None:
        attack(signed)
    ran = run_block(signed, block, model_signing.python.parent)
    assert ran.accepts == (attack is None), ran.output


def opened(signed: SignedFolder) -> Opened:
    """Open the attestation with our own reader."""
    return read_sealed(signed.attestation, [load_public(signed.public)], PREDICATE)


def test_a_bundle_by_another_program_is_read(signed: SignedFolder) -> None:
    """Sealed without our code, and by model_signing's rules."""
    statement = signed.statement()
    signed.attestation.write_text(seal_by_hand(statement, signed.private), encoding="utf-8")
    assert opened(signed).statement == statement


def test_second_signature_is_ours_to_see(cosign: Cosign, signed: SignedFolder) -> None:
    """cosign takes an envelope with a second signature, which is wrong: our reader does not."""
    content = json.loads(signed.attestation.read_bytes())
    junk = {"sig": base64.b64encode(bytes(64)).decode(), "keyid": ""}
    content["dsseEnvelope"]["signatures"].append(junk)
    signed.attestation.write_text(json.dumps(content), encoding="utf-8")
    assert cosign.verify_envelope(signed.sums, signed.attestation, signed.public, PREDICATE).accepts
    with pytest.raises(InputError, match="signature"):
        opened(signed)


@pytest.mark.slow
def test_model_signing_is_read_by_us(model_signing: ModelSigning, signed: SignedFolder) -> None:
    """What the package signs, our reader opens: both know one format."""
    own = signed.folder.parent / "own.sig"
    assert model_signing.sign(signed.folder, own, signed.private).accepts
    ours = read_sealed(signed.model_signature, [load_public(signed.public)], PREDICATE_TYPE)
    theirs = read_sealed(own, [load_public(signed.public)], PREDICATE_TYPE)
    assert theirs.statement["subject"] == ours.statement["subject"]


def test_cosign_accepts_ed25519(cosign: Cosign, signed: SignedFolder) -> None:
    """Such a key signs the attestation, and nothing for model_signing."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = signed.folder.parent / "ed25519"
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signed.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    signed.attestation.write_text(seal(signed.statement(), load_signer(str(private))), encoding="utf-8")
    for verify in (cosign.verify, cosign.verify_envelope):
        ran = verify(signed.sums, signed.attestation, signed.public, PREDICATE)
        assert ran.accepts, ran.output
