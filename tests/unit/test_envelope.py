"""Bundles: what was sealed is opened, and whatever was done to it on the way is refused with a message of its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from harness.errors import InputError
from harness.signing.envelope import MEDIA_TYPE, PAYLOAD_TYPE, open_sealed, seal
from harness.signing.keys import PublicKey, Signer
from harness.signing.statement import EVIDENCE_PREDICATE, MODEL_PREDICATE, make_statement
from tests.support.fitting_keys import keys_that_fit
from tests.support.keys import pair

STATEMENT = make_statement({"SHA256SUMS": "ab" * 32}, EVIDENCE_PREDICATE, {"result": "PASSED"})
Json = dict[str, Any]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Signer, PublicKey]]:
    """A pair of each kind that is accepted, and a stranger's."""
    return {kind: pair(tmp_path_factory.mktemp("keys"), kind) for kind in ("P-256", "P-256 of another", "Ed25519")}


@pytest.fixture
def signer(keys: dict[str, tuple[Signer, PublicKey]]) -> Signer:
    return keys["P-256"][0]


@pytest.fixture
def public(keys: dict[str, tuple[Signer, PublicKey]]) -> PublicKey:
    return keys["P-256"][1]


def signed(payload: bytes, signer: Signer, payload_type: str = PAYLOAD_TYPE) -> Json:
    """A bundle over any payload, whose signature is right."""
    kind = payload_type.encode()
    pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"sig": base64.b64encode(signer.sign(pae)).decode(), "keyid": ""}],
    }
    material = {"publicKey": {"hint": signer.public.hint}, "tlogEntries": []}
    return {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}


def opened_text(text: str | bytes, public: PublicKey, predicate_type: str = EVIDENCE_PREDICATE) -> Json:
    content = text.encode() if isinstance(text, str) else text
    return open_sealed(content, [public], predicate_type, "x.sigstore.json").statement


@pytest.mark.parametrize("kind", ["P-256", "Ed25519"])
def test_what_was_sealed_is_opened(keys: dict[str, tuple[Signer, PublicKey]], kind: str) -> None:
    signer, public = keys[kind]
    text = seal(STATEMENT, signer)
    opened = open_sealed(text.encode(), [key for _, key in keys.values()], EVIDENCE_PREDICATE, "here")
    assert (opened.statement, opened.key) == (STATEMENT, public)
    assert json.loads(opened.payload) == STATEMENT
    assert json.loads(text) == signed(opened.payload, signer) | {"dsseEnvelope": json.loads(text)["dsseEnvelope"]}


def with_payload(change: Callable[[bytes], bytes]) -> Callable[[Json], Json]:
    """Change the payload, and leave the signature."""

    def changed(bundle: Json) -> Json:
        payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(change(payload)).decode()
        return bundle

    return changed


def with_value(*place: Any, value: Any) -> Callable[[Json], Json]:
    """Put a value in a place."""

    def changed(bundle: Json) -> Json:
        inner: Any = bundle
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        return bundle

    return changed


def with_text(*place: Any, change: Callable[[str], str]) -> Callable[[Json], Json]:
    """Change a text in a place."""

    def changed(bundle: Json) -> Json:
        inner: Any = bundle
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = change(inner[place[-1]])
        return bundle

    return changed


def without(*place: Any) -> Callable[[Json], Json]:
    """Take a key out."""

    def changed(bundle: Json) -> Json:
        inner: Any = bundle
        for key in place[:-1]:
            inner = inner[key]
        del inner[place[-1]]
        return bundle

    return changed


def two_signatures(bundle: Json) -> Json:
    listed = bundle["dsseEnvelope"]["signatures"]
    listed.append({"sig": base64.b64encode(b"\x30\x06\x02\x01\x01\x02\x01\x01").decode(), "keyid": ""})
    return bundle


def bits_left_over(text: str) -> str:
    """The same bytes in base64 to most readers: bits that nobody reads are set in the last digit."""
    stem = text.rstrip("=")
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    assert len(text) > len(stem), "without padding there are no such bits"
    return f"{stem[:-1]}{digits[digits.index(stem[-1]) + 1]}{'=' * (len(text) - len(stem))}"


PAYLOAD, SIGNATURE = ("dsseEnvelope", "payload"), ("dsseEnvelope", "signatures", 0, "sig")
CHANGED = "has been changed since"
BASE64 = "does not belong there"
SHAPE = "not what hilgate writes"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(with_payload(lambda text: text.replace(b"ab", b"ac", 1)), CHANGED, id="payload changed"),
        pytest.param(
            with_payload(lambda text: json.dumps(json.loads(text)).encode()), CHANGED, id="payload re-encoded"
        ),
        pytest.param(with_payload(lambda text: text + b"\n"), CHANGED, id="a newline more"),
        pytest.param(with_payload(lambda _: b""), CHANGED, id="payload empty"),
        pytest.param(with_text(*SIGNATURE, change=lambda _: "MAYCAQECAQE="), CHANGED, id="another signature"),
        pytest.param(with_text(*SIGNATURE, change=lambda _: ""), CHANGED, id="signature empty"),
        pytest.param(with_text(*SIGNATURE, change=lambda _: "A" * 88), CHANGED, id="signature junk"),
        pytest.param(
            with_text(*SIGNATURE, change=lambda _: base64.b64encode(bytes(256)).decode()), "none of an", id="RSA's"
        ),
        pytest.param(
            with_value("dsseEnvelope", "payloadType", value="text/plain"), "holds something else", id="payloadType"
        ),
        pytest.param(
            with_value("dsseEnvelope", "payloadType", value=None), "holds something else", id="payloadType null"
        ),
        pytest.param(two_signatures, "exactly one signature", id="two signatures"),
        pytest.param(with_value("dsseEnvelope", "signatures", value=[]), "exactly one signature", id="no signature"),
        pytest.param(
            with_value("dsseEnvelope", "signatures", value={}), "exactly one signature", id="signatures an object"
        ),
        pytest.param(with_value("dsseEnvelope", "signatures", 0, "keyid", value="k"), "names a key", id="keyid"),
        pytest.param(with_text(*PAYLOAD, change=lambda text: text[:40] + "\n" + text[40:]), BASE64, id="a newline"),
        pytest.param(with_text(*PAYLOAD, change=lambda text: text + "="), BASE64, id="padding more"),
        pytest.param(with_text(*PAYLOAD, change=lambda text: text + "!"), BASE64, id="junk behind"),
        pytest.param(with_text(*PAYLOAD, change=lambda text: f" {text}"), BASE64, id="a space"),
        pytest.param(with_text(*PAYLOAD, change=lambda text: text[:-1]), BASE64, id="cut"),
        pytest.param(with_text(*PAYLOAD, change=lambda text: "é" + text), BASE64, id="not ASCII"),
        pytest.param(with_text(*PAYLOAD, change=lambda text: "QUJD" + text), CHANGED, id="more base64"),
        pytest.param(
            with_text(*SIGNATURE, change=lambda text: text.replace("=", "") + "-_"), BASE64, id="URL alphabet"
        ),
        pytest.param(with_value(*PAYLOAD, value=7), BASE64, id="payload a number"),
        pytest.param(
            with_value("mediaType", value=MEDIA_TYPE.replace("3", "2")), "another kind or version", id="version"
        ),
        pytest.param(with_value("mediaType", value=["x"]), "another kind or version", id="mediaType a list"),
        pytest.param(with_value("messageSignature", value={}), SHAPE, id="a second content"),
        pytest.param(with_value("Payload", value="x"), SHAPE, id="a key more"),
        pytest.param(with_value("dsseEnvelope", "PAYLOAD", value="x"), SHAPE, id="a key more in the envelope"),
        pytest.param(with_value("verificationMaterial", "certificate", value={}), SHAPE, id="a certificate"),
        pytest.param(
            with_value("verificationMaterial", "tlogEntries", value=[{}]), "transparency log", id="a log's entry"
        ),
        pytest.param(without("dsseEnvelope"), SHAPE, id="no envelope"),
        pytest.param(without("dsseEnvelope", "signatures", 0, "keyid"), SHAPE, id="no keyid"),
        pytest.param(lambda _: ["x"], SHAPE, id="a list"),
        pytest.param(
            with_value("verificationMaterial", "publicKey", "hint", value="x"), "names another key", id="hint"
        ),
        pytest.param(
            with_value("verificationMaterial", "publicKey", "hint", value=1), "names another key", id="hint a number"
        ),
    ],
)
def test_a_changed_bundle_is_refused(
    signer: Signer, public: PublicKey, change: Callable[[Json], Json], message: str
) -> None:
    bundle = json.loads(seal(STATEMENT, signer))
    with pytest.raises(InputError, match=message) as failure:
        opened_text(json.dumps(change(bundle)), public)
    assert failure.value.wanted
    assert failure.value.found
    assert failure.value.where.startswith("x.sigstore.json")


def test_bits_that_nobody_reads_are_refused(signer: Signer, public: PublicKey) -> None:
    for length in range(3):  # one of them has no padding
        statement = make_statement({f"x{'y' * length}": "ab" * 32}, EVIDENCE_PREDICATE, {})
        bundle = json.loads(seal(statement, signer))
        if bundle["dsseEnvelope"]["payload"].endswith("="):
            changed = with_text(*PAYLOAD, change=bits_left_over)(bundle)
            with pytest.raises(InputError, match=BASE64):
                opened_text(json.dumps(changed), public)


DEEP = b'{"_type":' + b"[" * 10_000 + b"]" * 10_000 + b"}"


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        pytest.param(b"not JSON", "the signed statement is not JSON", id="no JSON"),
        pytest.param(b"[]", "no statement", id="a list"),
        pytest.param(json.dumps(STATEMENT | {"extra": 1}).encode(), "no statement", id="a key more"),
        pytest.param(json.dumps(STATEMENT | {"_type": "v0.1"}).encode(), "another version", id="_type"),
        pytest.param(json.dumps(STATEMENT | {"subject": []}).encode(), "about nothing", id="no subject"),
        pytest.param(json.dumps(STATEMENT | {"predicate": 1}).encode(), "claims nothing", id="no predicate"),
        pytest.param(json.dumps(STATEMENT)[:-1].encode() + b',"subject":[]}', "statement twice", id="subject twice"),
        pytest.param(DEEP, "the signed statement is nested too deep", id="10 000 levels"),
        pytest.param(
            json.dumps(STATEMENT | {"predicateType": MODEL_PREDICATE}).encode(),
            "signed something else",
            id="predicateType",
        ),
    ],
)
def test_what_the_right_key_signed_for_another_purpose_is_refused(
    signer: Signer, public: PublicKey, payload: bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        opened_text(json.dumps(signed(payload, signer)), public)


def test_another_payload_type_that_the_key_signed_is_refused(signer: Signer, public: PublicKey) -> None:
    with pytest.raises(InputError, match="holds something else"):
        opened_text(json.dumps(signed(b"{}", signer, "application/vnd.other")), public)


def test_a_strangers_key_is_refused_and_named(keys: dict[str, tuple[Signer, PublicKey]], public: PublicKey) -> None:
    stranger = keys["P-256 of another"][0]
    with pytest.raises(InputError, match="no accepted key signed this") as failure:
        opened_text(seal(STATEMENT, stranger), public)
    assert public.hint in failure.value.wanted
    assert stranger.public.hint in failure.value.found


def test_a_stranger_who_names_an_accepted_key_is_refused(
    keys: dict[str, tuple[Signer, PublicKey]], public: PublicKey
) -> None:
    bundle = json.loads(seal(STATEMENT, keys["P-256 of another"][0]))
    bundle["verificationMaterial"]["publicKey"]["hint"] = public.hint
    with pytest.raises(InputError, match=CHANGED):
        opened_text(json.dumps(bundle), public)


def test_without_a_key_nothing_is_accepted(signer: Signer) -> None:
    with pytest.raises(InputError, match="no key is accepted"):
        open_sealed(seal(STATEMENT, signer).encode(), [], EVIDENCE_PREDICATE, "here")


def test_a_key_that_is_named_twice_counts_once(signer: Signer, public: PublicKey) -> None:
    opened = open_sealed(seal(STATEMENT, signer).encode(), [public, public], EVIDENCE_PREDICATE, "here")
    assert opened.key == public


def test_a_second_accepted_key_that_was_made_to_fit_is_refused(signer: Signer, public: PublicKey) -> None:
    text = seal(STATEMENT, signer)
    envelope = json.loads(text)["dsseEnvelope"]
    payload, signature = (base64.b64decode(part) for part in (envelope["payload"], envelope["signatures"][0]["sig"]))
    pae = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    fitting = keys_that_fit(signature, pae)
    assert public in fitting
    assert all(key.verify(signature, pae) for key in fitting)
    with pytest.raises(InputError, match="more than one key"):
        open_sealed(text.encode(), fitting, EVIDENCE_PREDICATE, "here")


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param({"predicateType": EVIDENCE_PREDICATE}, id="no statement"),
        pytest.param(STATEMENT | {"predicate": {"a": "\ud800"}}, id="half a character"),
    ],
)
def test_what_could_not_be_opened_is_not_sealed(signer: Signer, statement: Json) -> None:
    with pytest.raises(InputError):
        seal(statement, signer)
