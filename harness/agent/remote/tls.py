"""TLS: whom we trust, and what is wrong with a certificate, in words that say what to do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

# OpenSSL's numbers of what is wrong with a certificate (openssl-verification-options(1), x509_vfy.h).
NOT_YET_VALID, EXPIRED = 9, 10
UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
WRONG_HOST = (62, 64)


def make_context(ca: str) -> ssl.SSLContext:
    """Trust the authorities in this PEM text alone, or those of this device where it is empty.

    Not ssl.create_default_context: that writes the connection's keys to a file which the environment names.

    Raises:
        ValueError: the text has no certificate.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not ca:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cadata=ca)
    except ssl.SSLError as error:
        raise ValueError(f"wanted the certificate of an authority, in PEM, as ca; found {error.reason}") from error
    return context


def explain(error: ssl.SSLError, host: str) -> str:
    """Say why a handshake failed, and what to do."""
    code = getattr(error, "verify_code", 0)
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    if code == NOT_YET_VALID:
        return (
            f"the server's certificate is not yet valid by this device's clock, which says {now}: set the clock (a "
            "board without one begins in the past), or look at the certificate"
        )
    if code == EXPIRED:
        return f"the server's certificate has expired; this device's clock says {now}"
    if code in WRONG_HOST:
        return f"the server's certificate is for another host than {host}: {error.verify_message}"  # type: ignore[attr-defined]
    if code in UNKNOWN_ISSUER:
        return (
            f"nobody that this device trusts has signed the server's certificate ({error.verify_message}): name its "  # type: ignore[attr-defined]
            "authority's certificate as ca in the endpoint's file"
        )
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
        return "what answers there speaks no TLS: is it http:// in place of https://?"
    return f"TLS failed: {getattr(error, 'verify_message', '') or error.reason or error}"
