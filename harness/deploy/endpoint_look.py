"""A look at an endpoint from a device that is not locked; see harness.agent.endpoint_look."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from ..agent.remote.url import PORTS
from ..endpoint import Calls, Endpoint
from ..links import GREETING_ALLOWED, LinkType
from ..protocol import BoardFacts, parse
from ..protocol.endpoint_look import EndpointLooked
from .handed import END_S, read_header, script_for

# The program's modules, in the order in which they import each other.
MODULES = (
    "wire",
    "remote.deadline",
    "remote.tls",
    "remote.clock",
    "endpoint_look.answers",
    "endpoint_look.service",
    "endpoint_look.look",
)
WHAT = "the program that looks at the endpoint"
OPERATION = "look at the endpoint"
# What the program's start takes on a slow board, and that it takes so many calls.
START_S = 30.0
CALLS = 6


def look_at(link: LinkType, facts: BoardFacts, endpoint: Endpoint, calls: Calls, where: str) -> EndpointLooked:
    """Have a device look at an endpoint.

    Args:
        link: reaches the device.
        facts: what it says of itself.
        endpoint: the server.
        calls: how it is called.
        where: which device and backend it is, for errors.

    Raises:
        DaemonFailure: the program ended, or did not answer in time.
        ProtocolError: what it sent is no report.
        LinkError: the device cannot be reached.
    """
    script = script_for(facts.executable, MODULES, json.dumps(_asked(endpoint, calls)))
    channel = link.start(script)
    try:
        limit_s = START_S + CALLS * calls.timeout_ms / 1e3
        header = read_header(channel, limit_s, where, WHAT, skip=GREETING_ALLOWED)
        return parse(EndpointLooked, header, to=OPERATION, where=where)
    finally:
        channel.finish(END_S)


def _asked(endpoint: Endpoint, calls: Calls) -> dict[str, Any]:
    parts = urlsplit(endpoint.url)
    version = f"/versions/{endpoint.version}" if endpoint.version else ""
    path = f"{parts.path}/v2/models/{endpoint.model}{version}"
    if endpoint.endpoint_name:
        path = f"{parts.path}/endpoints/{endpoint.endpoint_name}/invocations"
    return {
        "protocol": "sagemaker" if endpoint.endpoint_name else "oip",
        "scheme": parts.scheme,
        "host": parts.hostname,
        "port": parts.port or PORTS[parts.scheme],
        "authority": parts.netloc,
        "path": path,
        "server_path": f"{parts.path}/v2",
        "ca": endpoint.ca,
        "timeout_s": calls.timeout_ms / 1e3,
        "max_request_bytes": calls.max_request_bytes,
        "max_response_bytes": calls.max_response_bytes,
    }
