"""The backend sagemaker: an endpoint of Amazon SageMaker, which the device itself calls, signed.

What is timed is what a robot would wait for. This file is shipped to the device beside the agent, as ``backend.py``,
with agent/remote: it imports nothing of harness. botocore signs, and reads answers in parts; it makes no call.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..agent.remote.sagemaker import SageMakerClient

ARTIFACT = "endpoint"
PACKAGES = ("numpy", "botocore")
CLOUD = True
OPTIONS: Mapping[str, tuple[str | tuple[str, ...], str]] = {
    "endpoint": ("text", "the name of a file endpoints/NAME.toml, which says which endpoint it is"),
    "timeout_ms": ("positive", "how long a call may take, everything included, in milliseconds"),
    "fallback": ("text", "the name of another backend of the device, which answers there where calls fail"),
    "attempts": ("count", "how often a call is tried where no byte of an answer has come, within timeout_ms"),
    "stream": ("flag", "true or false: whether the answer is asked for in parts, and the first of them timed"),
    "format": (("oip", "npy"), '"oip", tensors by name, or "npy", one array each way'),
    "network": ("text", "the name of a file networks/NAME.toml, which says how the network is shaped on the device"),
    "max_request_bytes": ("count", "the largest request that is sent, in bytes"),
    "max_response_bytes": ("count", "the largest answer that is taken, in bytes"),
}


def preload() -> None:
    """Import the client, and with it botocore's signer."""
    _remote("sagemaker")


def _remote(name: str) -> Any:
    """Import a module of agent/remote, beside this file on the device; on the host there is none beside it."""
    return importlib.import_module(f"{__package__}.remote.{name}")


class Engine:
    """A client of one endpoint; see harness.backends.EngineType.

    Whatever keeps a call from its answer is raised as CallFailed (see agent/failure.py). What calls return is valid
    until the next one.

    Attributes:
        streams: whether answers come in parts.
    """

    def __init__(self, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        # Nothing here computes: the client is one thread, whatever the device file says of threads.
        self.given = {key: settings[key] for key in ("threads", "interop_threads")}
        self.proxy = options.get("proxy")  # the agent's own, where it has started one
        self.client: SageMakerClient | None = None
        self.streams = False

    def load(self, artifact: str) -> None:
        """Read the description of the endpoint; the first inference finds out whether it is there.

        Raises:
            ValueError: the description is none.
            NoCredentials: the host has given nothing to sign with.
        """
        if self.client is not None:
            self.client.close()
        description = _remote("description")
        endpoint = description.load_endpoint(artifact, description.SAGEMAKER)._replace(proxy=self.proxy)
        self.names, self.streams = [spec.name for spec in endpoint.inputs], endpoint.stream
        self.client = client = _remote("sagemaker").SageMakerClient(endpoint)
        client.open()

    def prepare(self, inputs: Mapping[str, Any]) -> Any:
        """Select the inputs that the endpoint takes, in its order. Not timed."""
        return [inputs[name] for name in self.names]

    def run(self, prepared: Any) -> Any:
        """Call once: from tensors to tensors, this is what is timed."""
        return self._open_client.infer(prepared)

    def arrays(self, raw: Any) -> Any:
        """Return the outputs as a flat tuple of numpy arrays."""
        return tuple(raw)

    def profile(self, take: Callable[[], Any], count: int) -> list[tuple[str, str, list[float]]]:
        """Return nothing: what the service does is not seen from here."""
        return []

    def output_names(self) -> list[str]:
        """Return the outputs' names, as the description has them."""
        return self._open_client.output_names

    def versions(self) -> dict[str, str]:
        """Return the versions of numpy, and of botocore, which signs."""
        import botocore
        import numpy

        return {"numpy": numpy.__version__, "botocore": botocore.__version__}

    def settings(self) -> dict[str, Any]:
        """Return the threads as given, and what the calls are like: form, sizes, address."""
        return {**self.given, **self._open_client.facts()}

    @property
    def first_part_ns(self) -> int:
        """How long the first part of the last answer took, where answers come in parts; -1 where none came."""
        return self._open_client.first_part_ns

    @property
    def _open_client(self) -> SageMakerClient:
        if self.client is None:
            raise RuntimeError("no endpoint is loaded")
        return self.client
