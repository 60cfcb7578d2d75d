"""What is called: artifact/endpoint.json, schema 1, which the host writes in place of a model.

    {"schema": 1, "protocol": "oip", "endpoint": NAME, "url": "http://HOST:PORT", "model": NAME, "version": "",
     "inputs": [{"name": …, "dtype": "float32", "shape": ["batch" | -1 | 3, …]}], "outputs": [NAME, …],
     "timeout_ms": 10000, "attempts": 1, "max_request_bytes": 6291456, "max_response_bytes": 6291456, "ca": PEM or ""}

A size that is a text, or -1, is any size. Without "outputs", all that the server names, in its order.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import quote

from .tensors import NAMES, Spec
from .tunnel import Proxy
from .url import Url, parse_url

SCHEMA = 1
FILE = "endpoint.json"
TIMEOUT_MS, ATTEMPTS, MOST_BYTES = 10_000, 1, 6_291_456


class Endpoint(NamedTuple):
    """What is called, and how; see the module. timeout_s is in seconds.

    proxy is no part of the description: the agent has started it, where the network is shaped.
    """

    name: str
    url: Url
    model: str
    version: str
    inputs: tuple[Spec, ...]
    outputs: tuple[str, ...] = ()
    timeout_s: float = TIMEOUT_MS / 1000
    attempts: int = ATTEMPTS
    max_request_bytes: int = MOST_BYTES
    max_response_bytes: int = MOST_BYTES
    ca: str = ""
    proxy: Proxy | None = None

    @property
    def model_path(self) -> str:
        """The path of the model on the server, which its metadata has."""
        version = f"/versions/{quote(self.version, safe='')}" if self.version else ""
        return f"{self.url.path}/v2/models/{quote(self.model, safe='')}{version}"


def load_endpoint(path: str) -> Endpoint:
    """Read a description.

    Raises:
        ValueError: it is none of ours.
    """
    with open(path, encoding="utf-8") as file:
        return read_endpoint(json.load(file))


def read_endpoint(description: Any) -> Endpoint:
    """Read a description that was parsed from JSON; see load_endpoint."""
    schema = description.get("schema") if isinstance(description, dict) else None
    if schema != SCHEMA or description.get("protocol") != "oip":
        raise ValueError(f"wanted a description of an endpoint, schema {SCHEMA}, protocol oip; found {schema!r}")
    return Endpoint(
        name=_get(description, "endpoint", str),
        url=parse_url(_get(description, "url", str)),
        model=_get(description, "model", str),
        version=_get(description, "version", str, ""),
        inputs=tuple(map(_input, _get(description, "inputs", list))),
        outputs=tuple(str(name) for name in _get(description, "outputs", list, [])),
        timeout_s=_count(description, "timeout_ms", TIMEOUT_MS) / 1000,
        attempts=int(_count(description, "attempts", ATTEMPTS)),
        max_request_bytes=int(_count(description, "max_request_bytes", MOST_BYTES)),
        max_response_bytes=int(_count(description, "max_response_bytes", MOST_BYTES)),
        ca=_get(description, "ca", str, ""),
    )


def _get(table: dict[str, Any], key: str, kind: type, default: Any = None) -> Any:
    value = table.get(key, default)
    if not isinstance(value, kind):
        raise ValueError(f"the description of the endpoint: wanted {key!r}, a {kind.__name__}; found {value!r:.80}")  # noqa: TRY004
    return value


def _count(table: dict[str, Any], key: str, default: int) -> float:
    value = table.get(key, default)
    if type(value) not in (int, float) or not 0 < value < 1 << 40:
        raise ValueError(f"the description of the endpoint: wanted {key!r}, a number above 0; found {value!r:.80}")
    return float(value)


def _input(table: Any) -> Spec:
    if not isinstance(table, dict) or table.get("dtype") not in NAMES:
        raise ValueError(f"wanted an input with a dtype of {', '.join(NAMES)}; found {table!r:.200}")
    shape = tuple(size if type(size) is int and size >= 0 else -1 for size in _get(table, "shape", list))
    return Spec(_get(table, "name", str), NAMES[table["dtype"]], shape)
