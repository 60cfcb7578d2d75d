"""Keys of the kinds that are accepted, and of those that are not, made once for all tests that sign."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from harness.signing.keys import PublicKey, Signer, load_public, load_signer

MAKERS: dict[str, Callable[[], PrivateKeyTypes]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-256 of another": lambda: ec.generate_private_key(ec.SECP256R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    # Only ever refused; a longer one takes a second to make, whenever tests are collected.
    "DSA": lambda: dsa.generate_private_key(1024),  # noqa: S505
    "Ed448": ed448.Ed448PrivateKey.generate,
    "X25519": x25519.X25519PrivateKey.generate,
}


@functools.cache
def key_of(kind: str) -> PrivateKeyTypes:
    """Return a private key of a kind, always the same."""
    return MAKERS[kind]()


def private_pem(kind: str, passphrase: bytes | None = None, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    """Return the key in PEM."""
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key_of(kind).private_bytes(Encoding.PEM, form, encryption)


def public_pem(kind: str) -> bytes:
    """Return its public half in PEM."""
    return key_of(kind).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    """Write a key's file."""
    path.write_bytes(content)
    path.chmod(mode)
    return path


def pair(folder: Path, kind: str = "P-256") -> tuple[Signer, PublicKey]:
    """Load a pair of a kind, from files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "public.pem", public_pem(kind), 0o644)
    return load_signer(str(write(folder / "private.pem", private_pem(kind)))), load_public(folder / "public.pem")
