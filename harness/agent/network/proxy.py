"""The process: one line of JSON comes on stdin, the port goes out on stdout; it ends when stdin does.

    {"token": …, "up": {"delay_ms": …, "jitter_ms": …, "bytes_per_s": …}, "down": the same,
     "outages": [[every_s, for_s], …], "traces": {"up": BYTES, "down": BYTES}}

"up" is from the device to the server. Of each direction that "traces" names as many bytes follow the line: the trace,
in 32-bit integers. Traces and outages go by the device's clock, the seconds since its start: they go on from one
process of a measurement to the next.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from .link import Link, Outage, Rules
from .relay import Relay


def main() -> None:
    """Read the rules, listen, and relay."""
    asked = json.loads(sys.stdin.buffer.readline())
    traces = {name: array("i", sys.stdin.buffer.read(size)) for name, size in asked["traces"].items()}
    outages = [Outage(*each) for each in asked["outages"]]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        up, down = (
            Link(_rules(asked[name], traces.get(name, ()), outages), 0.0, seed=place)
            for place, name in enumerate(("up", "down"))
        )
        os.write(1, b"%d\n" % listener.getsockname()[1])
        Relay(listener, asked["token"], up, down).run(0)


def _rules(way: dict[str, Any], trace_ms: Sequence[int], outages: list[Outage]) -> Rules:
    return Rules(way["delay_ms"] / 1e3, way["jitter_ms"] / 1e3, way["bytes_per_s"], trace_ms, outages)
