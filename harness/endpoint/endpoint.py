"""A server that serves a model, as its endpoint file describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..host.extending import file_names
from ..host.shipped import ENDPOINTS

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
        url: the server's, without a slash at its end.
        model: the served model's name there.
        version: the served model's version; "" for what the server takes.
        ca: certificates in PEM that its certificate is checked by; "" for those that the device trusts anyway.
        files: the chain: its own file and those that it extends.
    """

    name: str
    path: Path
    description: str
    url: str
    model: str
    version: str = ""
    ca: str = ""
    files: tuple[EndpointFile, ...] = ()


def endpoint_folders(device_folders: Sequence[Path]) -> tuple[Path, ...]:
    """Return where endpoint files are looked for: beside the user's folder of devices, then hilgate's own.

    Args:
        device_folders: those of device files, the user's first.
    """
    return (*(folder.parent / FOLDER for folder in device_folders[:1]), ENDPOINTS)


def endpoint_names(folders: Sequence[Path]) -> list[str]:
    """List the names of the endpoints in these folders, sorted."""
    return file_names(folders)
