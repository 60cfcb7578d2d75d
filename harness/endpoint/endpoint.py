"""A server that serves a model, as its endpoint file describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..host.extending import file_names
from ..host.shipped import ENDPOINTS
from .kinds import Kind
from .prices import Prices

FOLDER = "endpoints"


@dataclass(frozen=True, kw_only=True)
class EndpointFile:
    """A file that describes an endpoint, as it was read.

    Attributes:
        name: the endpoint's that it is named after.
        path: resolved.
        sha256: of its bytes.
    """

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server that serves a model, as its file and those that it extends describe it. Its keys: docs/remote.md.

    Attributes:
        path: the endpoint's own file, the first of the chain.
        kind: "oip", a server of the Open Inference Protocol; "sagemaker"; or "emulated", a service that the run starts.
        url: the server's, without a slash at its end; "" of an emulated service that was not started.
        model: the served model's name there; "" of SageMaker's endpoints, which have one.
        version: the served model's version; "" for what the server takes.
        ca: certificates in PEM that its certificate is checked by; "" for those that the device trusts anyway.
        region: AWS's, of SageMaker's endpoints.
        endpoint_name: the name that SageMaker knows the endpoint by.
        role: the ARN of the role that STS is asked to assume; "" for none.
        target_variant: the production variant that is asked; "" for what SageMaker takes.
        serve: the backend behind an emulated service; "" for the default.
        prices: what it costs; None where the file does not say.
        files: the chain: its own file and those that it extends.
    """

    name: str
    path: Path
    description: str
    kind: Kind = "oip"
    url: str = ""
    model: str = ""
    version: str = ""
    ca: str = ""
    region: str = ""
    endpoint_name: str = ""
    role: str = ""
    target_variant: str = ""
    serve: str = ""
    prices: Prices | None = None
    files: tuple[EndpointFile, ...] = ()

    @property
    def told(self) -> str:
        """What is called, in words: the model and where it is."""
        if self.kind == "emulated":
            return f"the emulated service ({self.url})" if self.url else "the emulated service"
        if self.kind == "oip":
            return f"model {self.model} on {self.url}"
        variant = f", variant {self.target_variant}" if self.target_variant else ""
        return f"SageMaker's endpoint {self.endpoint_name}{variant} in {self.region} ({self.url})"


def endpoint_folders(device_folders: Sequence[Path]) -> tuple[Path, ...]:
    """Return where endpoint files are looked for: beside the user's folder of devices, then hilgate's own.

    Args:
        device_folders: those of device files, the user's first.
    """
    return (*(folder.parent / FOLDER for folder in device_folders[:1]), ENDPOINTS)


def endpoint_names(folders: Sequence[Path]) -> list[str]:
    """List the names of the endpoints in these folders, sorted."""
    return file_names(folders)
