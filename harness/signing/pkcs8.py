"""An encrypted PKCS#8 key whose passphrase is dear to guess.

cryptography derives the key of the encryption by 2 048 rounds of PBKDF2, and lets nobody ask for more: a graphics card
tries millions of passphrases a second on a stolen file. OWASP asks for 600 000 rounds (Password Storage Cheat Sheet).
So the few bytes around the same encryption (PBES2: PBKDF2 with HMAC-SHA-256, AES-256 in CBC; RFC 8018, appendix A) are
written here. openssl and cryptography read them.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import textwrap

ROUNDS = 600_000
SALT_BYTES, BLOCK_BYTES, KEY_BYTES = 16, 16, 32
INTEGER, OCTETS, NULL, SEQUENCE = 0x02, 0x04, b"\x05\x00", 0x30
# RFC 8018 (PKCS#5), appendix C; NIST's arc for AES.
PBES2 = bytes.fromhex("06092a864886f70d01050d")
PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
HMAC_SHA256 = bytes.fromhex("06082a864886f70d0209")
AES256_CBC = bytes.fromhex("060960864801650304012a")


def encrypted_pem(der: bytes, passphrase: bytes) -> bytes:
    """Encrypt a private key.

    Args:
        der: PKCS#8, unencrypted.
        passphrase: what it is encrypted with.

    Returns:
        PEM with the label ENCRYPTED PRIVATE KEY.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES256
    from cryptography.hazmat.primitives.ciphers.modes import CBC

    salt, start = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(BLOCK_BYTES)
    cipher = Cipher(AES256(hashlib.pbkdf2_hmac("sha256", passphrase, salt, ROUNDS, KEY_BYTES)), CBC(start)).encryptor()
    missing = BLOCK_BYTES - len(der) % BLOCK_BYTES  # PKCS#7: a whole block where none is missing
    content = cipher.update(der + bytes([missing]) * missing) + cipher.finalize()
    rounds = ROUNDS.to_bytes(ROUNDS.bit_length() // 8 + 1, "big")
    derived = _der(SEQUENCE, _der(OCTETS, salt), _der(INTEGER, rounds), _der(SEQUENCE, HMAC_SHA256, NULL))
    parameters = _der(SEQUENCE, _der(SEQUENCE, PBKDF2, derived), _der(SEQUENCE, AES256_CBC, _der(OCTETS, start)))
    whole = _der(SEQUENCE, _der(SEQUENCE, PBES2, parameters), _der(OCTETS, content))
    lines = textwrap.wrap(base64.b64encode(whole).decode(), 64)
    label = "ENCRYPTED PRIVATE KEY"
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:  # X.690, 8.1.3: the short form
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content
