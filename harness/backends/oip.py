"""The backend oip: a server that speaks the Open Inference Protocol, such as Triton or KServe, on another computer.

The device itself calls, so that what is timed is what a robot would wait for. This file is shipped to the device beside
the agent, as ``backend.py``, with agent/remote: it imports nothing of harness.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..agent.remote.client import Client

ARTIFACT = "endpoint"
PACKAGES = ("numpy",)
REMOTE = True
OPTIONS: Mapping[str, tuple[str, str]] = {
    "endpoint": ("text", "the name of a file endpoints/NAME.toml, which says where the server is"),
    "timeout_ms": ("positive", "how long a call may take, everything included, in milliseconds"),
    "network": ("text", "the name of a file networks/NAME.toml, which says how the network is shaped on the device"),
    "fallback": ("text", "the name of another backend of the device, which answers there where calls fail"),
    "attempts": ("count", "how often a call is tried where no byte of an answer has come, within timeout_ms"),
    "max_request_bytes": ("count", "the largest request that is sent, in bytes"),
    "max_response_bytes": ("count", "the largest answer that is taken, in bytes"),
}


def preload() -> None:
    """Import the client."""
    _remote("client")


def _remote(name: str) -> Any:
    """Import a module of agent/remote, beside this file on the device; on the host there is none beside it."""
    return importlib.import_module(f"{__package__}.remote.{name}")


class Engine:
    """A client of one endpoint; see harness.backends.EngineType.

    Whatever keeps a call from its answer is raised as CallFailed (see agent/failure.py). What calls return is valid
    until the next one.
    """

    def __init__(self, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        # Nothing here computes: the client is one thread, whatever the device file says of threads.
        self.given = {key: settings[key] for key in ("threads", "interop_threads")}
        self.proxy = options.get("proxy")  # the agent's own, where it has started one
        self.client: Client | None = None

    def load(self, artifact: str) -> None:
        """Read the description of the endpoint, and ask the server for the model.

        Raises:
            ValueError: the description is none, or the server has another model under its name.
        """
        if self.client is not None:
            self.client.close()
        endpoint = _remote("description").load_endpoint(artifact)._replace(proxy=self.proxy)
        self.names = [spec.name for spec in endpoint.inputs]
        self.client = client = _remote("client").Client(endpoint)
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
        """Return nothing: what the server does is not seen from here."""
        return []

    def output_names(self) -> list[str]:
        """Return the outputs' names, as the description or the server has them."""
        return self._open_client.output_names

    def versions(self) -> dict[str, str]:
        """Return the version of numpy: the rest is Python's own."""
        import numpy

        return {"numpy": numpy.__version__}

    def settings(self) -> dict[str, Any]:
        """Return the threads as given, and what the calls are like: form, sizes, address, the server's name."""
        return {**self.given, **self._open_client.facts()}

    @property
    def _open_client(self) -> Client:
        if self.client is None:
            raise RuntimeError("no endpoint is loaded")
        return self.client
