"""A second key that fits an ECDSA signature: anybody can make one, without any private key (SEC 1, 4.1.6)."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from harness.signing.keys import PublicKey
from harness.signing.public_key import public_key

# P-256: y² = x³ − 3x + b over the prime's field, of this order (FIPS 186-4, D.1.2.3).
PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
CURVE_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
Point = tuple[int, int] | None


def plus(first: Point, second: Point) -> Point:
    """Add two points of the curve; None is the point at infinity."""
    if first is None or second is None:
        return first or second
    (x1, y1), (x2, y2) = first, second
    if x1 == x2 and (y1 + y2) % PRIME == 0:
        return None
    slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, PRIME) if first == second else (y2 - y1) * pow(x2 - x1, -1, PRIME)
    x3 = (slope * slope - x1 - x2) % PRIME
    return x3, (slope * (x1 - x3) - y1) % PRIME


def times(number: int, point: Point) -> Point:
    """Add a point to itself, so many times."""
    result: Point = None
    for bit in f"{number:b}":
        result = plus(result, result)
        result = plus(result, point) if bit == "1" else result
    return result


def keys_that_fit(signature: bytes, data: bytes) -> list[PublicKey]:
    """Make both keys whose signature this can be: whose it is, and a stranger's that fits, too."""
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
