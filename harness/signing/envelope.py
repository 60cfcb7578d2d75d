"""A statement in a DSSE envelope in a Sigstore bundle v0.3: written as cosign and model_signing read it, read strictly.

    {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
     "verificationMaterial": {"publicKey": {"hint": …}, "tlogEntries": []},
     "dsseEnvelope": {"payload": BASE64, "payloadType": …, "signatures": [{"sig": BASE64, "keyid": ""}]}}

What is signed is the payload as it is, with its type and both lengths in front (DSSE's pre-authentication encoding,
https://github.com/secure-systems-lab/dsse/blob/master/protocol.md). Nothing of the payload is parsed before a key that
is accepted has verified its signature.

Readers differ where a bundle says more than one thing: cosign takes a doubled key, and a second signature that is
wrong. This one refuses whatever ``seal`` would not write.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from .bounded_file import read_bounded
from .keys import PublicKey, Signer
from .statement import check_statement
from .strict_json import parse

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
# Room for 50 000 files with long names, each in base64.
MOST_BYTES = 64 << 20
# A bundle has seven brackets and braces; there are none in base64.
MOST_BRACKETS = 16
# Ed25519's have 64 bytes, ECDSA's on P-256 at most 72 in DER.
MOST_SIGNATURE_BYTES = 72
AGAIN = "get the file again from whoever made it; it is not what hilgate wrote"


@dataclass(frozen=True)
class Opened:
    """A statement that one of the accepted keys has signed.

    Attributes:
        statement: the statement, checked as far as its predicate.
        key: which key signed it.
        payload: what was signed, as it stands there.
    """

    statement: dict[str, Any] = field(repr=False)
    key: PublicKey
    payload: bytes = field(repr=False)


def seal(statement: Mapping[str, Any], signer: Signer) -> str:
    """Sign a statement; returns the bundle's text, which ``open_sealed`` has read again.

    Raises:
        InputError: it is not a statement that could be read again, or the key's store did not sign.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Signature

    payload = json.dumps(statement, separators=(",", ":"), allow_nan=False).encode()
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.signatures[""] = Signature("", signer.sign(envelope.pae()).hex())
    material = {"publicKey": {"hint": signer.public.hint}, "tlogEntries": []}
    bundle = {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope.to_dict()}
    text = json.dumps(bundle, indent=1) + "\n"
    open_sealed(text.encode(), [signer.public], str(statement["predicateType"]), "what was just signed")
    return text


def read_sealed(path: Path, keys: Sequence[PublicKey], predicate_type: str) -> Opened:
    """Read a file's bundle as ``open_sealed`` does. Raises: InputError, also where it is a link or no regular file."""
    content, _ = read_bounded(path, MOST_BYTES, "the bundle", follow=False)
    return open_sealed(content, keys, predicate_type, str(path))


def open_sealed(content: bytes, keys: Sequence[PublicKey], predicate_type: str, where: str) -> Opened:
    """Read a bundle that one of some keys has signed, and refuse everything else.

    Args:
        content: the bundle.
        keys: those that are accepted.
        predicate_type: the kind of claim that is expected: the same key signs other things, too.
        where: where it is from, for messages.

    Raises:
        InputError: it is damaged, says more than ``seal`` would, was not signed by an accepted key, or is about
            something else. Each has a message of its own.
    """
    from securesystemslib.dsse import Envelope

    accepted = {key.fingerprint: key for key in keys}
    if not accepted:
        what, advice = "no key is accepted, so nothing can be verified", "name the signers' public keys in the policy"
        raise InputError(what, wanted="a public key", found="none", where=where, hint=advice)
    hint, envelope = _parts(content, where)
    payload, signature = _signed(envelope, where)
    pae = Envelope(payload, PAYLOAD_TYPE, {}).pae()
    verified = [key for key in accepted.values() if key.verify(signature, pae)]
    if not verified:
        raise _not_verified(hint, list(accepted.values()), where)
    if len(verified) > 1:  # ECDSA: anybody can make a second key that fits a signature
        found = ", ".join(key.fingerprint for key in verified)
        raise InputError("more than one key made this signature", wanted="exactly one", found=found, where=where)
    place = f"{where}: verificationMaterial.publicKey.hint"
    _same(hint, verified[0].hint, "the bundle names another key than the one that signed it", place)
    statement = parse(payload, "the signed statement", f"{where}: payload")
    return Opened(check_statement(statement, predicate_type, f"{where}: payload"), verified[0], payload)


def _parts(content: bytes, where: str) -> tuple[object, dict[str, Any]]:
    """Return what a bundle says about its key, and its envelope with the keys that it must have."""
    if len(content) > MOST_BYTES:
        what, found = "the bundle is too large", f"{len(content)} bytes"
        raise InputError(what, wanted=f"at most {MOST_BYTES} bytes", found=found, where=where, hint=AGAIN)
    brackets = content.count(b"[") + content.count(b"{")
    if brackets > MOST_BRACKETS:
        what, wanted = "the bundle is nested too deep, or has too many parts", f"at most {MOST_BRACKETS} brackets"
        raise InputError(what, wanted=wanted, found=str(brackets), where=where, hint=AGAIN)
    bundle = _object(parse(content, "the bundle", where), ("dsseEnvelope", "mediaType", "verificationMaterial"), where)
    _same(bundle["mediaType"], MEDIA_TYPE, "the bundle is of another kind or version", f"{where}: mediaType")
    place = f"{where}: verificationMaterial"
    material = _object(bundle["verificationMaterial"], ("publicKey", "tlogEntries"), place)
    _same(material["tlogEntries"], [], "the bundle refers to a transparency log", f"{place}.tlogEntries")
    public = _object(material["publicKey"], ("hint",), f"{place}.publicKey")
    place = f"{where}: dsseEnvelope"
    envelope = _object(bundle["dsseEnvelope"], ("payload", "payloadType", "signatures"), place)
    _same(envelope["payloadType"], PAYLOAD_TYPE, "the envelope holds something else", f"{place}.payloadType")
    return public["hint"], envelope


def _signed(envelope: dict[str, Any], where: str) -> tuple[bytes, bytes]:
    """Return an envelope's payload and its one signature."""
    place, listed = f"{where}: dsseEnvelope", envelope["signatures"]
    if not isinstance(listed, list) or len(listed) != 1:
        found = f"{len(listed)} signatures" if isinstance(listed, list) else type(listed).__name__
        what = "the envelope has not exactly one signature"
        raise InputError(what, wanted="one", found=found, where=f"{place}.signatures", hint=AGAIN)
    entry = _object(listed[0], ("keyid", "sig"), f"{place}.signatures[0]")
    _same(entry["keyid"], "", "the signature names a key", f"{place}.signatures[0].keyid")
    signature = _bytes(entry["sig"], f"{place}.signatures[0].sig")
    if len(signature) > MOST_SIGNATURE_BYTES:
        what, wanted = (
            "the signature is none of an accepted kind",
            f"ECDSA's on P-256 or Ed25519's: at most {MOST_SIGNATURE_BYTES} bytes",
        )
        found = f"{len(signature)} bytes, as RSA's have"
        raise InputError(what, wanted=wanted, found=found, where=f"{place}.signatures[0].sig", hint=AGAIN)
    return _bytes(envelope["payload"], f"{place}.payload"), signature


def _object(value: object, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    if isinstance(value, dict) and tuple(sorted(value)) == keys:
        return value
    found = ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__
    wanted = f"an object with {', '.join(keys)}"
    raise InputError("the bundle is not what hilgate writes", wanted=wanted, found=found[:300], where=where, hint=AGAIN)


def _same(value: object, wanted: object, what: str, where: str) -> None:
    if type(value) is not type(wanted) or value != wanted:
        raise InputError(what, wanted=json.dumps(wanted), found=repr(value)[:200], where=where, hint=AGAIN)


def _bytes(value: object, where: str) -> bytes:
    """Decode base64, if it is written as everybody writes it: RFC 4648's alphabet, padded, no bits left over."""
    try:
        decoded = base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        decoded = None
    if decoded is None or base64.b64encode(decoded).decode() != value:
        found = repr(value)[:100]
        what = "there is something in the base64 that does not belong there"
        raise InputError(what, wanted="base64, padded, and nothing else", found=found, where=where, hint=AGAIN)
    return decoded


def _not_verified(hint: object, accepted: list[PublicKey], where: str) -> InputError:
    """Say which of the two it is, as far as the bundle's own word goes: an unknown key, or a changed content."""
    claimed = next((key for key in accepted if key.hint == hint), None)
    wanted = f"a signature by {' or '.join(key.fingerprint for key in accepted)}"[:600]
    if claimed:
        what = "what was signed has been changed since, or its signature has"
        found = f"it says that it was signed by {claimed.fingerprint}"
        return InputError(what, wanted=wanted, found=found, where=where, hint="get the file again; do not use it")
    wanted = f"a signature by a key whose file has the SHA-256 {' or '.join(key.hint for key in accepted)}"[:600]
    found = f"it says that its key's file has {hint!r:.100}"
    advice = "ask whoever made it; take a public key from your team, never from where this file came from"
    return InputError("no accepted key signed this", wanted=wanted, found=found, where=where, hint=advice)
