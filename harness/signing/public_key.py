"""Public keys: ECDSA on P-256, or Ed25519. Others are refused wherever they come from."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from .bounded_file import read_bounded
from .passphrase import leaving_no_frames

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

# A P-256 key in PEM has some 180 bytes; comments around it may take more.
KEY_BYTES = 1 << 16
Scheme = Literal["ecdsa-sha2-nistp256", "ed25519"]
P256: Scheme = "ecdsa-sha2-nistp256"
ED25519: Scheme = "ed25519"
WANTED = "a key for ECDSA on the curve P-256, or for Ed25519"
MAKE = "make one: hilgate key FILE"
_LABEL = re.compile(rb"-----BEGIN ([^\r\n]{0,100}?)-----")


@dataclass(frozen=True)
class PublicKey:
    """A public key.

    Attributes:
        pem: as SubjectPublicKeyInfo in PEM, as `openssl pkey -pubout` writes it.
        fingerprint: SHA-256 of its DER, in hexadecimal digits.
        scheme: of its signatures: ECDSA in DER, over SHA-256; or Ed25519.
    """

    pem: str
    fingerprint: str
    scheme: Scheme

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether a signature over data was made with this key."""
        from securesystemslib.exceptions import UnverifiedSignatureError
        from securesystemslib.signer import Signature

        key = self.as_securesystemslib
        try:
            key.verify_signature(Signature(key.keyid, signature.hex()), data)
        except UnverifiedSignatureError:
            return False
        return True

    @functools.cached_property
    def as_securesystemslib(self) -> SSlibKey:
        """The key as securesystemslib has it."""
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from securesystemslib.signer import SSlibKey

        return SSlibKey.from_crypto(load_pem_public_key(self.pem.encode()))

    @property
    def hint(self) -> str:
        """What a bundle calls the key: SHA-256 of its PEM.

        That is model_signing's way, which refuses a bundle with any other; cosign writes base64 of the DER's, and reads
        anything.
        """
        return hashlib.sha256(self.pem.encode()).hexdigest()


@leaving_no_frames  # a private key may be there by mistake
def load_public(path: Path) -> PublicKey:
    """Load a public key from a file in PEM.

    Raises:
        InputError: it cannot be read, is a private key, no key, more than one, or of a kind that is not accepted.
    """
    content, _ = read_bounded(path, KEY_BYTES, "the public key")
    where = str(path)
    label = label_of(content, "the public key", where)
    if "PRIVATE KEY" in label:
        hint = (
            f"name its public half (hilgate key wrote {path.name}.pub); if others have seen this file, make a new key"
        )
        what = "this is a private key, and a public one belongs here"
        raise InputError(what, wanted="PUBLIC KEY", found=label, where=where, hint=hint)
    if label != "PUBLIC KEY":
        hint = "openssl x509 -pubkey -noout -in FILE takes it out of a certificate" if label == "CERTIFICATE" else MAKE
        what = "the public key has another format"
        raise InputError(what, wanted="-----BEGIN PUBLIC KEY-----", found=label, where=where, hint=hint)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        found, hint = str(error)[:300], "get the file again from whoever made the key"
        raise InputError("the public key is damaged", wanted=WANTED, found=found, where=where, hint=hint) from None
    return public_key(key, where)


def label_of(content: bytes, what: str, where: str) -> str:
    """Return the label of the one block of PEM in a text, such as "PUBLIC KEY"; nothing of the text is shown.

    Raises:
        InputError: there is none, or more than one.
    """
    labels: list[str] = [label.decode("ascii", "replace") for label in _LABEL.findall(content)]
    if len(labels) != 1:
        found = f"{len(labels)} keys: {', '.join(labels)}" if labels else "no -----BEGIN … KEY-----"
        problem = "holds more than one key" if labels else "is no key"
        raise InputError(f"{what} {problem}", wanted="one key in PEM", found=found[:300], where=where, hint=MAKE)
    return labels[0]


def public_key(key: Any, where: str) -> PublicKey:
    """Accept one of cryptography's public keys.

    Raises:
        InputError: it is neither of P-256 nor of Ed25519.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if isinstance(key, RSAPublicKey):
        found = f"RSA, {key.key_size} bits"
        raise InputError("RSA keys are not accepted", wanted=WANTED, found=found, where=where, hint=MAKE)
    if isinstance(key, EllipticCurvePublicKey) and not isinstance(key.curve, SECP256R1):
        what = "the key is on another curve"
        raise InputError(what, wanted=WANTED, found=key.curve.name, where=where, hint=MAKE)
    if not isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey):
        found = type(key).__name__.removesuffix("PublicKey")
        raise InputError("keys of this kind are not accepted", wanted=WANTED, found=found, where=where, hint=MAKE)
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    scheme = ED25519 if isinstance(key, Ed25519PublicKey) else P256
    return PublicKey(pem, hashlib.sha256(der).hexdigest(), scheme)
