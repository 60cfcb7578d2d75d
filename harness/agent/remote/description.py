"""What is called: artifact/endpoint.json, schema 1, which the host writes in place of a model.

    {"schema": 1, "protocol": "oip", "endpoint": NAME, "url": "http://HOST:PORT", "model": NAME, "version": "",
     "inputs": [{"name": …, "dtype": "float32", "shape": ["batch" | -1 | 3, …]}], "outputs": [NAME, …],
     "timeout_ms": 10000, "attempts": 1, "max_request_bytes": 6291456, "max_response_bytes": 6291456, "ca": PEM or ""}

A size that is a text, or -1, is any size. Without "outputs", all that the server names, in its order.

Of an endpoint of SageMaker "protocol" is "sagemaker", "model" and "version" are "", and there is more:

    {"region": "eu-west-1", "endpoint_name": NAME, "target_variant": "", "format": "oip" | "npy", "stream": false}
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple
from urllib.parse import quote

from .tensors import NAMES, Spec
from .tunnel import Proxy
from .url import Url, parse_url

SCHEMA = 1
FILE = "endpoint.json"
OIP, SAGEMAKER = "oip", "sagemaker"
NPY = "npy"
FORMATS = (OIP, NPY)
# What stands in a request's path, and in what is signed.
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}\Z")
_REGION = re.compile(r"[a-z0-9-]{1,40}\Z")
_VARIANT = re.compile(r"([a-zA-Z0-9](-*[a-zA-Z0-9]){0,62})?\Z")
TIMEOUT_MS, ATTEMPTS, MOST_BYTES = 10_000, 1, 6_291_456


class Endpoint(NamedTuple):
    """What is called, and how; see the module. timeout_s is in seconds; region is "" where it is no SageMaker's.

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
    region: str = ""
    endpoint_name: str = ""
    target_variant: str = ""
    format: str = OIP
    stream: bool = False
    proxy: Proxy | None = None

    @property
    def model_path(self) -> str:
        """The path of the model on the server, which its metadata has."""
        version = f"/versions/{quote(self.version, safe='')}" if self.version else ""
        return f"{self.url.path}/v2/models/{quote(self.model, safe='')}{version}"


def load_endpoint(path: str, protocol: str = OIP) -> Endpoint:
    """Read a description.

    Args:
        path: of the file.
        protocol: OIP or SAGEMAKER.

    Raises:
        ValueError: it is none of ours, or one of another protocol.
    """
    with open(path, encoding="utf-8") as file:
        return read_endpoint(json.load(file), protocol)


def read_endpoint(description: Any, protocol: str = OIP) -> Endpoint:
    """Read a description that was parsed from JSON; see load_endpoint."""
    table = description if isinstance(description, dict) else {}
    found = table.get("schema"), table.get("protocol")
    if found != (SCHEMA, protocol):
        wanted = f"a description of an endpoint, schema {SCHEMA}, protocol {protocol}"
        raise ValueError(f"wanted {wanted}; found schema {found[0]!r}, protocol {found[1]!r}")
    endpoint = _common(description)
    return endpoint if protocol == OIP else _of_sagemaker(endpoint, description)


def _of_sagemaker(endpoint: Endpoint, description: dict[str, Any]) -> Endpoint:
    """Add what only an endpoint of SageMaker has."""
    if _get(description, "format", str, OIP) not in FORMATS:
        raise ValueError(f"wanted the format {' or '.join(FORMATS)}; found {description['format']!r:.80}")
    if endpoint.url.scheme != "https":
        raise ValueError(f"wanted a url of an endpoint of SageMaker, https://…; found {endpoint.url}")
    return endpoint._replace(
        region=_matching(description, "region", _REGION),
        endpoint_name=_matching(description, "endpoint_name", _NAME),
        target_variant=_matching(description, "target_variant", _VARIANT),
        format=_get(description, "format", str, OIP),
        stream=_get(description, "stream", bool, False),
    )


def _matching(table: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value: str = _get(table, key, str, "")
    if not pattern.match(value):
        raise ValueError(f"the description of the endpoint: wanted {key!r} like {pattern.pattern}; found {value!r:.80}")
    return value


def _common(description: dict[str, Any]) -> Endpoint:
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
