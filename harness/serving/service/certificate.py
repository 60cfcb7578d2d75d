"""An authority of the service's own, which lives as long as the service, and a certificate for this machine's loopback.

Nobody is asked to trust it but the device that calls: it gets the authority's certificate with the endpoint.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ADDRESS, NAME = "127.0.0.1", "localhost"
# Before now: a device's clock may be behind this one's.
BEFORE, AFTER = datetime.timedelta(days=1), datetime.timedelta(days=2)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What the service shows, and what it is checked by.

    Attributes:
        authority: the authority's certificate, in PEM.
        context: the service's side of TLS.
    """

    authority: str
    context: ssl.SSLContext


def make_identity() -> Identity:
    """Make an authority and a certificate of it; the authority's key is forgotten at once."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hilgate's emulated service")])
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    signed = _builder(authority, authority, authority_key.public_key(), authority_key.public_key())
    signed = signed.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    signed = signed.add_extension(_usage(is_authority=True), critical=True)
    names = [x509.IPAddress(ipaddress.ip_address(ADDRESS)), x509.DNSName(NAME)]
    server = _builder(own, authority, key.public_key(), authority_key.public_key())
    server = server.add_extension(x509.SubjectAlternativeName(names), critical=False)
    server = server.add_extension(_usage(is_authority=False), critical=True)
    hashed = hashes.SHA256()
    pem = serialization.Encoding.PEM
    return Identity(
        authority=signed.sign(authority_key, hashed).public_bytes(pem).decode(),
        context=_context(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + server.sign(authority_key, hashed).public_bytes(pem)
        ),
    )


def _context(chain: bytes) -> ssl.SSLContext:
    """Load a key and its certificate; ssl reads files only, and this one is in memory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    """Begin a certificate, with all that Python 3.13 and later ask of one (VERIFY_X509_STRICT)."""
    now = datetime.datetime.now(datetime.UTC)
    named = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    named = named.serial_number(x509.random_serial_number()).not_valid_before(now - BEFORE).not_valid_after(now + AFTER)
    named = named.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    return named.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
