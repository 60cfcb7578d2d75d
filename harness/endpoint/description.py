"""What the device's client is told of an endpoint: the content of the artifact, endpoint.json.

harness.agent.remote.description reads it on the device. It has no secret in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .endpoint import Endpoint

SCHEMA = 1
OIP, SAGEMAKER = "oip", "sagemaker"
# The options of a remote backend that are fields of Calls as they stand.
OPTIONS = ("attempts", "max_request_bytes", "max_response_bytes", "stream", "format")
# How long a call may take where neither the device's file nor the model's deadline says so.
DEFAULT_TIMEOUT_MS = 10_000.0
# What SageMaker takes at most; a server of one's own may take more.
MOST_BYTES = 6_291_456


@dataclass(frozen=True, kw_only=True)
class Calls:
    """How a device calls an endpoint.

    Attributes:
        timeout_ms: a call's wall clock, everything in it.
        attempts: how often a call is tried, within that time.
        max_request_bytes: what the far end takes at most.
        max_response_bytes: what is read of an answer at most.
        stream: whether answers are asked for in parts.
        format: "oip", tensors by name; or "npy", one array each way.
    """

    timeout_ms: float = DEFAULT_TIMEOUT_MS
    attempts: int = 1
    max_request_bytes: int = MOST_BYTES
    max_response_bytes: int = MOST_BYTES
    stream: bool = False
    format: str = OIP

    @classmethod
    def of_options(cls, options: Mapping[str, Any], deadline_ms: float | None = None) -> Calls:
        """Read a backend's options, which were checked.

        Args:
            options: as the device's file has them.
            deadline_ms: the model's; it is the time of a call where the options name none.
        """
        given = {key: options[key] for key in OPTIONS if key in options}
        timeout_ms = options.get("timeout_ms", deadline_ms or DEFAULT_TIMEOUT_MS)
        return cls(timeout_ms=float(timeout_ms), **given)


def describe_endpoint(
    endpoint: Endpoint, calls: Calls, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[str]
) -> dict[str, Any]:
    """Return the description that the device's client reads.

    Args:
        endpoint: the server.
        calls: how it is called.
        inputs: "name", "dtype" and "shape" of each of the model's inputs; a size is a number, or a dimension's name.
        outputs: the names of the model's outputs.
    """
    is_sagemaker = bool(endpoint.endpoint_name)  # also of an emulated service, as it was started
    of_sagemaker = {
        "region": endpoint.region,
        "endpoint_name": endpoint.endpoint_name,
        "target_variant": endpoint.target_variant,
        "format": calls.format,
        "stream": calls.stream,
    }
    return {
        "schema": SCHEMA,
        "protocol": SAGEMAKER if is_sagemaker else OIP,
        "endpoint": endpoint.name,
        "url": endpoint.url,
        "model": endpoint.model,
        "version": endpoint.version,
        **(of_sagemaker if is_sagemaker else {}),
        "inputs": [dict(item) for item in inputs],
        "outputs": list(outputs),
        "timeout_ms": calls.timeout_ms,
        "attempts": calls.attempts,
        "max_request_bytes": calls.max_request_bytes,
        "max_response_bytes": calls.max_response_bytes,
        "ca": endpoint.ca,
    }
