"""The two callers of SageMaker's endpoints that are compared, from an array to an array.

As a program: CALLER URL CA BYTES COUNT calls so often, and prints its peak of memory in KiB, and the seconds of its
import.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

REGION = "eu-west-1"
# No account's: what a server of ours is signed to.
KEYS = ("ASIAEXAMPLEKEY000001", "example/secret", "example/token" * 40)
BINARY = "application/vnd.sagemaker-triton.binary+json;json-header-size="
Array = np.ndarray[Any, np.dtype[Any]]
Caller = Callable[[Array], Array]


def endpoint_of(url: str, ca: str, name: str, *, timeout_s: float = 10.0, stream: bool = False) -> Any:
    """Describe an endpoint to our client."""
    from harness.agent.remote.description import Endpoint
    from harness.agent.remote.tensors import Spec
    from harness.agent.remote.url import parse_url

    spec = Spec("x", "FP32", None)
    own: dict[str, Any] = {
        "ca": ca,
        "region": REGION,
        "endpoint_name": name,
        "stream": stream,
        "max_request_bytes": 1 << 27,
    }
    return Endpoint("bench", parse_url(url), "", "", (spec,), ("y",), timeout_s)._replace(**own)


def client_of(url: str, ca: str, name: str = "echo", **others: Any) -> Any:
    """Return our client, open."""
    from harness.agent.remote.credentials import Credentials, Wallet
    from harness.agent.remote.sagemaker import SageMakerClient

    wallet = Wallet()
    wallet.put(Credentials(*KEYS))
    client = SageMakerClient(endpoint_of(url, ca, name, **others), wallet)
    client.open()
    return client


def own(url: str, ca: str) -> Caller:
    """Call with the client that a device has."""
    client = client_of(url, ca)
    return lambda array: client.infer([array])[0]


def runtime_of(url: str, ca_file: str, timeout_s: float = 60.0) -> Any:
    """Return boto3's client, as its users make one; one attempt."""
    import boto3
    from botocore.config import Config

    config = Config(read_timeout=timeout_s, connect_timeout=timeout_s, retries={"total_max_attempts": 1})
    keys = dict(zip(("aws_access_key_id", "aws_secret_access_key", "aws_session_token"), KEYS, strict=True))
    return boto3.client(
        "sagemaker-runtime", region_name=REGION, endpoint_url=url, verify=ca_file, config=config, **keys
    )


def boto3(url: str, ca: str, ca_file: str) -> Caller:
    """Call with boto3, in the same form."""
    runtime = runtime_of(url, ca_file)

    def call(array: Array) -> Array:
        tensor: dict[str, Any] = {"name": "x", "shape": list(array.shape), "datatype": "FP32"}
        tensor["parameters"] = {"binary_data_size": array.nbytes}
        asked = {"inputs": [tensor], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
        head = json.dumps(asked).encode()
        said = runtime.invoke_endpoint(
            EndpointName="echo", ContentType=f"{BINARY}{len(head)}", Body=head + array.tobytes()
        )
        body, size = said["Body"].read(), int(said["ContentType"].removeprefix(BINARY))
        output = json.loads(body[:size])["outputs"][0]
        return np.frombuffer(body, "<f4", offset=size).reshape(output["shape"])

    return call


def main(kind: str, url: str, ca_file: str, size: str, count: str) -> None:
    """Call, and print peak and import."""
    ca, start = Path(ca_file).read_text(), time.perf_counter()
    call = own(url, ca) if kind == "own" else boto3(url, ca, ca_file)
    took = time.perf_counter() - start
    array = np.ones((1, int(size) // 4), np.float32)
    for _ in range(int(count)):
        call(array)
    peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    print(peak[1] if peak else 0, took)


if __name__ == "__main__":
    main(*sys.argv[1:])
