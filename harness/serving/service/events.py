"""Frames of an event stream, by smithy's specification (aws/amazon-eventstream.rst).

A frame: its size and its headers' (each uint32), the CRC of these eight bytes, headers, payload, and the CRC of all
before it. Numbers are big-endian. A header: the size of its name (uint8), the name, its type, which is text (7) here,
the size of its value (uint16), and the value.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping

TEXT = 7
# Of a payload (smithy: 16 MiB); parts of an answer are far smaller.
MOST_PAYLOAD = 1 << 24


def encode_event(headers: Mapping[str, str], payload: bytes | memoryview) -> bytes:
    """Write a frame."""
    described = b"".join(map(_header, headers, headers.values()))
    prelude = struct.pack(">II", len(described) + len(payload) + 16, len(described))
    before = b"".join([prelude, struct.pack(">I", zlib.crc32(prelude)), described, payload])
    return before + struct.pack(">I", zlib.crc32(before))


def part(payload: bytes | memoryview) -> bytes:
    """Write a part of an answer."""
    headers = {
        ":event-type": "PayloadPart",
        ":content-type": "application/octet-stream",
        ":message-type": "event",
    }
    return encode_event(headers, payload)


def exception(name: str, content: Mapping[str, str]) -> bytes:
    """Write an error that comes in the middle of an answer."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return encode_event(headers, json.dumps(content).encode())


def _header(name: str, value: str) -> bytes:
    raw_name, raw_value = name.encode(), value.encode()
    return b"".join([struct.pack(">B", len(raw_name)), raw_name, struct.pack(">BH", TEXT, len(raw_value)), raw_value])
