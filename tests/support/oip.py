"""Requests of the Open Inference Protocol, written down by hand: as a caller that has none of hilgate's code."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

HEADER = "Inference-Header-Content-Length"
TRITON = "application/vnd.sagemaker-triton.binary+json;json-header-size="


def in_json(data: Any, shape: Sequence[int], name: str = "x", datatype: str = "FP32", **more: Any) -> bytes:
    """One input in JSON."""
    tensor = {"name": name, "datatype": datatype, "shape": list(shape), "data": data}
    return json.dumps({"inputs": [tensor], **more}).encode()


def in_binary(
    values: Sequence[float], shape: Sequence[int], name: str = "x", binary_output: bool = True, **more: Any
) -> tuple[bytes, int]:
    """One FP32 input in binary; the body, and how many bytes of it are JSON."""
    raw = struct.pack(f"<{len(values)}f", *values)
    parameters = {"binary_data_size": len(raw)}
    tensor = {"name": name, "datatype": "FP32", "shape": list(shape), "parameters": parameters}
    asked: dict[str, Any] = {"inputs": [tensor], **more}
    if binary_output:
        asked["parameters"] = {"binary_data_output": True}
    head = json.dumps(asked).encode()
    return head + raw, len(head)


def floats(body: bytes, header_bytes: int) -> list[float]:
    """Read the FP32 elements behind an answer's header."""
    raw = body[header_bytes:]
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))
