"""The process: one line of JSON comes on stdin, the port goes out on stdout; it ends when stdin does.

    {"token": …, "up": {"delay_ms": …, "jitter_ms": …, "bytes_per_s": …, "trace_ms": […]}, "down": the same,
     "outages": [[every_s, for_s], …]}

"up" is from the device to the server. Traces and outages go by the device's clock, the seconds since its start: they
go on from one process of a measurement to the next.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from .link import Link, Outage, Rules
from .relay import Relay


def main() -> None:
    """Read the rules, listen, and relay."""
    asked = json.loads(_read_line())
    outages = [Outage(*each) for each in asked["outages"]]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        up, down = (Link(_rules(asked[name], outages), 0.0, seed) for seed, name in enumerate(("up", "down")))
        os.write(1, b"%d\n" % listener.getsockname()[1])
        Relay(listener, asked["token"], up, down).run(0)


def _read_line() -> bytes:
    content = bytearray()
    while not content.endswith(b"\n"):
        data = os.read(0, 1 << 16)
        if not data:
            break
        content += data
    return bytes(content)


def _rules(asked: dict[str, Any], outages: list[Outage]) -> Rules:
    return Rules(
        asked["delay_ms"] / 1e3, asked["jitter_ms"] / 1e3, asked["bytes_per_s"], asked.get("trace_ms", ()), outages
    )
