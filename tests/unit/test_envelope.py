"""Bundles: what was sealed is opened, and whatever was done to it on the way is refused with a message of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from harness.errors import InputError
from harness.signing.envelope import MEDIA_TYPE, MOST_BYTES, PAYLOAD_TYPE, open_sealed, read_sealed, seal
from harness.signing.keys import PublicKey, Signer
from harness.signing.public_key import public_key
from harness.signing.statement import EVIDENCE_PREDICATE, MODEL_PREDICATE, make_statement
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda text: text.replace('"mediaType"', '"mediaType": "x", "mediaType"'), "twice", id="a key twice"
        ),
        pytest.param(
            lambda text: text.replace('"payload"', r'"payload": "", "payl\u006fad"'), "twice", id="twice, escaped once"
        ),
        pytest.param(lambda text: text.encode("utf-16"), "not UTF-8", id="UTF-16"),
        pytest.param(lambda text: b"\xef\xbb\xbf" + text.encode(), "not JSON", id="a byte order mark"),
        pytest.param(
            lambda text: text.replace('"keyid": ""', '"keyid": "\\ud800"'), "not UTF-8", id="half a character"
        ),
        pytest.param(lambda text: text[: len(text) // 2], "not JSON", id="cut short"),
        pytest.param(lambda text: "", "not JSON", id="empty"),
        pytest.param(lambda text: text + text, "not JSON|nested", id="two bundles"),
        pytest.param(lambda text: text + "\n# a comment", "not JSON", id="a comment"),
        pytest.param(lambda text: text.replace('""', "NaN"), "not JSON", id="NaN"),
        pytest.param(lambda text: text.replace('""', "1e999"), "not JSON", id="too large a number"),
        pytest.param(lambda text: text.replace('""', "9" * 5000), "not JSON", id="thousands of digits"),
        pytest.param(lambda text: "[" * 10_000 + "]" * 10_000, "nested too deep", id="10 000 levels"),
        pytest.param(lambda text: '{"a":' * 10_000 + "1" + "}" * 10_000, "nested too deep", id="10 000 objects"),
        pytest.param(lambda text: text.replace("[]", "[" + "{}," * 99 + "{}]"), "too many parts", id="a hundred parts"),
    ],
)
def test_what_is_no_bundle_is_refused(
    signer: Signer, public: PublicKey, change: Callable[[str], str | bytes], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        opened_text(change(seal(STATEMENT, signer)), public)


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
    assert public.fingerprint in failure.value.wanted
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


# P-256: y² = x³ − 3x + b over the prime's field, of this order (FIPS 186-4, D.1.2.3).
PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
CURVE_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
Point = tuple[int, int] | None


def plus(first: Point, second: Point) -> Point:
    if first is None or second is None:
        return first or second
    (x1, y1), (x2, y2) = first, second
    if x1 == x2 and (y1 + y2) % PRIME == 0:
        return None
    slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, PRIME) if first == second else (y2 - y1) * pow(x2 - x1, -1, PRIME)
    x3 = (slope * slope - x1 - x2) % PRIME
    return x3, (slope * (x1 - x3) - y1) % PRIME


def times(number: int, point: Point) -> Point:
    result: Point = None
    for bit in f"{number:b}":
        result = plus(result, result)
        result = plus(result, point) if bit == "1" else result
    return result


def keys_that_fit(signature: bytes, data: bytes) -> list[PublicKey]:
    """Make both keys whose signature this can be: whose it is, and a stranger's that fits, too (SEC 1, 4.1.6)."""
    r, s = decode_dss_signature(signature)
    digest = int.from_bytes(hashlib.sha256(data).digest(), "big")
    y = pow(r**3 - 3 * r + CURVE_B, (PRIME + 1) // 4, PRIME)
    one = ec.derive_private_key(1, ec.SECP256R1()).public_key().public_numbers()
    found = []
    for root in (y, PRIME - y):
        point = plus(times(s, (r, root)), times(-digest % ORDER, (one.x, one.y)))
        numbers = times(pow(r, -1, ORDER), point)
        assert numbers is not None
        found.append(public_key(ec.EllipticCurvePublicNumbers(*numbers, ec.SECP256R1()).public_key(), "here"))
    return found


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


def test_every_byte_counts(signer: Signer, public: PublicKey) -> None:
    """Each byte of a bundle, changed: it is refused, or it was a space between two parts."""
    content = seal(STATEMENT, signer).encode()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        try:
            opened = opened_text(bytes(changed), public)
        except InputError:
            continue
        assert json.loads(bytes(changed)) == json.loads(content), f"byte {place} changed, and nobody saw it"
        assert opened == STATEMENT


def test_a_file_of_100_mb_is_refused_without_being_read(tmp_path: Path, public: PublicKey) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    began = time.process_time()
    with pytest.raises(InputError, match="too large"):
        read_sealed(path, [public], EVIDENCE_PREDICATE)
    assert time.process_time() - began < 0.5
    with pytest.raises(InputError, match="too large"):
        open_sealed(bytes(MOST_BYTES + 1), [public], EVIDENCE_PREDICATE, "here")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" * 10_000_000, id="open"),
        pytest.param(b"[]" * 10_000_000, id="wide"),
        pytest.param(b'"' + b"\\" * 10_000_000, id="one text"),
        pytest.param(b"1" * 10_000_000, id="one number"),
    ],
)
def test_hostile_text_is_refused_at_once(public: PublicKey, content: bytes) -> None:
    began = time.process_time()
    with pytest.raises(InputError):
        open_sealed(content, [public], EVIDENCE_PREDICATE, "here")
    assert time.process_time() - began < 1


def test_fifty_thousand_files_fit(signer: Signer, public: PublicKey) -> None:
    subjects = {f"runtime/site-packages/{'x' * 80}/{index}": f"{index:064x}" for index in range(50_000)}
    text = seal(make_statement(subjects, MODEL_PREDICATE, {"resources": []}), signer)
    assert len(text) < MOST_BYTES / 2
    assert len(opened_text(text, public, MODEL_PREDICATE)["subject"]) == len(subjects)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    (path.parent / "target").write_text("{}")
    path.symlink_to("target")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: None, "not there", id="nothing"),
        pytest.param(fifo, "no regular file", id="FIFO"),
        pytest.param(link, "is a link", id="link"),
        pytest.param(lambda path: path.mkdir(), "no regular file", id="folder"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "is a link", id="device"),
    ],
)
def test_what_is_no_file_is_refused(
    tmp_path: Path, public: PublicKey, make: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "x.sigstore.json"
    make(path)
    with pytest.raises(InputError, match=message):
        read_sealed(path, [public], EVIDENCE_PREDICATE)
