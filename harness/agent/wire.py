"""The wire format between host and device, version 1: all of it but the tensors. Standard library only.

A frame, all numbers little-endian:

    offset  size
         0     4  magic: byte 0x89, then "HIL"
         4     2  version: 1
         6     2  reserved: 0
         8     4  H, the header's length in bytes
        12     8  P, the payload's length in bytes
        20     H  header: a JSON object in UTF-8
      20+H     P  payload: tensors (see frames), or a file's bytes

Nothing in a frame is code: no pickle, no torch.load.

The reader limits how much of a frame it reads (Limits), and reads no byte of one that is too large: a host takes no
more from a device than it has asked for (issue 17), a device takes whatever its host sends.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

MAGIC = b"\x89HIL"  # the first byte is not text: a greeting never looks like a frame
VERSION = 1
PREAMBLE = struct.Struct("<4sHHIQ")
MAX_HEADER = 1 << 26
MAX_PAYLOAD = 1 << 36
MAX_NESTED = 32
MAX_TENSORS = 1 << 20
# Far more than any device sends: a header of thousands of tensors, or of operators, has 200 KB.
MAX_HEADER_OF_DEVICE = 1 << 22

_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)

# Made once: json.dumps makes an encoder at every call with other separators than its defaults.
_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

Buffer = Any  # bytes, bytearray or memoryview: what os.write and numpy.frombuffer take


class FrameError(ValueError):
    """The bytes are not a frame."""


@dataclass(frozen=True)
class Head:
    """What precedes a payload: the header, the payload's size, and the bytes that were skipped before the frame."""

    header: dict[str, Any]
    payload_size: int
    skipped: bytes = b""


class Limits(NamedTuple):
    """How much of a frame is read at most.

    Attributes:
        header, payload: bytes.
        tensors: how many.
        strict: whether NaN and Infinity, which are no JSON, are refused in the header.
    """

    header: int = MAX_HEADER
    payload: int = MAX_PAYLOAD
    tensors: int = MAX_TENSORS
    strict: bool = False


OF_HOST = Limits()


def pack_head(header: dict[str, Any], payload_size: int = 0) -> bytes:
    """Encode preamble and header; a payload of payload_size bytes has to follow."""
    text = _to_json(header).encode()
    return PREAMBLE.pack(MAGIC, VERSION, 0, len(text), payload_size) + text


def read_head(read: Callable[[int], Buffer], *, skip: int = 0, limits: Limits = OF_HOST) -> Head:
    """Read preamble and header; the payload is the caller's to read.

    Args:
        read: returns exactly as many bytes as it is asked for, or raises.
        skip: how many other bytes may precede the magic (a chatty login shell's, before the first frame).
        limits: a larger frame is not read.

    Raises:
        FrameError: these bytes are not a frame, or not of our version, or one that is too large.
    """
    skipped, preamble = _preamble(read, skip)
    _, version, _, header_size, payload_size = PREAMBLE.unpack(preamble)
    if version != VERSION:
        raise FrameError(f"wanted frames of version {VERSION}; found version {version}")
    if header_size > limits.header or payload_size > limits.payload:
        raise FrameError(
            f"a frame of {header_size} + {payload_size} bytes is larger than any of ours, or than was asked for: at "
            f"most {limits.header} + {limits.payload}"
        )
    return Head(_header(bytes(read(header_size)), limits), payload_size, skipped)


def _header(text: bytes, limits: Limits) -> dict[str, Any]:
    if is_nested_deeper(text, MAX_NESTED):  # checked before a recursive parser gets it
        raise FrameError(f"wanted a header in JSON, nested at most {MAX_NESTED} deep; found {text[:80]!r}")
    try:
        header = (_strict_json if limits.strict else json.loads)(text.decode())
    except (ValueError, RecursionError) as error:
        raise FrameError(f"wanted a header in JSON; found {str(error)[:200]}") from error
    if not isinstance(header, dict):
        raise FrameError(f"wanted a header in JSON, an object; found {text[:80]!r}")
    return header


def _no_number(name: str) -> Any:
    raise ValueError(f"{name}, which is no number")


# Made once, as above.
_strict_json = json.JSONDecoder(parse_constant=_no_number).decode


def is_nested_deeper(text: bytes, most: int) -> bool:
    """Whether JSON is nested deeper than most, or its brackets do not match; each replacement removes the innermost.

    The first checks also count the brackets inside strings, and suffice where there are few.
    """
    if text.count(b"[") + text.count(b"{") <= most:
        return False
    for shape in (_shape_of, lambda text: _shape_of(_TEXT.sub(b"", text))):
        left = shape(text)
        for _ in range(most):
            left = left.replace(b"[]", b"")
            if not left:
                return False
    return True


def _shape_of(text: bytes) -> bytes:
    return text.translate(_BRACKETS, _NO_BRACKETS)


def _preamble(read: Callable[[int], Buffer], skip: int) -> tuple[bytes, bytes]:
    preamble = bytes(read(PREAMBLE.size))
    if preamble.startswith(MAGIC):
        return b"", preamble
    return _skip_to(preamble, read, skip)


def _skip_to(first: bytes, read: Callable[[int], Buffer], skip: int) -> tuple[bytes, bytes]:
    seen = bytearray(first)
    while (start := seen.find(MAGIC)) < 0:
        if len(seen) - len(MAGIC) >= skip:
            raise FrameError(f"wanted a frame that starts with {MAGIC!r}; found {bytes(seen[:80])!r}")
        one = read(1)
        if not one:
            raise FrameError(f"wanted a frame; found its end after {bytes(seen[:80])!r}")
        seen += one
    if start > skip:
        raise FrameError(f"wanted a frame that starts with {MAGIC!r}; found {bytes(seen[:80])!r}")
    missing = start + PREAMBLE.size - len(seen)
    return bytes(seen[:start]), bytes(seen[start:]) + bytes(read(missing) if missing else b"")
