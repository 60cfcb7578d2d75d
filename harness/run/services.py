"""Emulated services of a run: one is held at a time, for one model, and shared by the cells that call it.

It is on this machine. A device that is another one reaches it through a port of its own loopback, which leads back here
over the device's own connection (links.Tunnel).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from ..agent.remote.credentials import Credentials
from ..backends import load_backend
from ..board import Board
from ..cell import Cell
from ..device import Device, load_device
from ..endpoint import Endpoint
from ..export import export_artifact
from ..host.progress import ProgressBars
from ..host.shipped import DEVICES
from ..links import Tunnel
from ..measure import known_metrics
from ..model.build import BuiltModel
from ..model.model_file import ModelFile
from ..serving.service.settings import ServiceSettings
from ..serving.service.starting import RunningService, ServiceRequest, endpoint_name
from .devices import Devices

# What runs the model behind the service, where the endpoint's file does not say.
SERVE = "onnxruntime"
# This machine, as the service of a device that is another one runs on it.
HOST = "local"


@dataclass(frozen=True)
class _Held:
    """A service that runs.

    Attributes:
        key: what it was started for: the model file, the device's, and the backend behind it.
        service: the service.
        tunnel: leads the device to it; None where the device is this machine.
    """

    key: tuple[Path, Path, str]
    service: RunningService
    tunnel: Tunnel | None

    @property
    def url(self) -> str:
        """Where the device calls it: its certificate is for the loopback address, whatever the port."""
        if self.tunnel is None:
            return self.service.url
        parts = urlsplit(self.service.url)
        return parts._replace(netloc=f"{parts.hostname}:{self.tunnel.port}").geturl()


class Services:
    """Starts the emulated services that cells ask for."""

    def __init__(self, progress: ProgressBars, project: Path, devices: Devices) -> None:
        self._progress = progress
        self._project = project
        self._devices = devices
        self._held: _Held | None = None

    def endpoint(self, cell: Cell, built: BuiltModel) -> Endpoint:
        """Return the endpoint that a cell calls: that of a running service, where its file asks for an emulated one.

        Raises:
            EndpointError: the service cannot be started.
            ExportError: the backend behind it does not take the model.
            BackendError: there is no such backend, or it does not run here.
            InputError: hilgate[cloud] is not installed.
            TunnelError: the device gets no way to it.
            LinkError, DeviceError, StorageError: the device cannot be used.
        """
        asked = cell.endpoint
        if asked is None:
            raise AssertionError("the cell calls nothing")
        if asked.kind != "emulated":
            return asked
        held = self._running(cell, asked, built)
        service = held.service
        url, ca, settings = held.url, service.authority, service.settings
        if cell.backend.name == "oip":
            return replace(asked, url=url, ca=ca, model=service.model)
        return replace(asked, url=url, ca=ca, region=settings.region, endpoint_name=settings.endpoint)

    def credentials(self) -> Credentials:
        """Issue credentials that the running service takes; nobody else does, and the user's own are not looked at."""
        if self._held is None:
            raise AssertionError("no service runs")
        return self._held.service.credentials()

    def check(self) -> None:
        """Make sure that the device has its way to the running service, also after its connection was made anew.

        Raises:
            TunnelError: it gets none.
            LinkLost: the connection dropped.
        """
        if self._held is not None and self._held.tunnel is not None:
            self._held.tunnel.check()

    def close(self) -> None:
        """End the service that runs, and the way to it."""
        held, self._held = self._held, None
        if held is not None:
            with contextlib.closing(held.service):  # also where somebody loses patience
                if held.tunnel is not None:
                    held.tunnel.close()

    def _running(self, cell: Cell, asked: Endpoint, built: BuiltModel) -> _Held:
        key = cell.file.path, cell.device.path, asked.serve or SERVE
        if self._held is None or self._held.key != key:
            self.close()
            board = None if cell.device.is_this_machine else self._devices.board(cell.device)
            with contextlib.ExitStack() as ending:
                service = self._start(cell, key[-1], built)
                ending.callback(service.close)
                tunnel = None if board is None else _open_tunnel(board, service)
                self._held = _Held(key, service, tunnel)
                ending.pop_all()
        return self._held

    def _start(self, cell: Cell, backend: str, built: BuiltModel) -> RunningService:
        with self._progress.task(f"exporting {cell.file.name} for the emulated service"):
            artifact = export_artifact(built, load_backend(backend).artifact)
        file = cell.file  # as it was read: the other process has none of its code
        request = ServiceRequest(
            artifact=artifact,
            file=ModelFile(file.path, file.model, file.limits, sha256=file.sha256),
            device=cell.device if cell.device.is_this_machine else _host(),
            backend=backend,
            settings=ServiceSettings(endpoint=endpoint_name(cell.file.name)),
            project=self._project,
        )
        with self._progress.task(f"starting the emulated service of {cell.file.name}"):
            return RunningService.start(request)


def _open_tunnel(board: Board, service: RunningService) -> Tunnel:
    """Give a board its way to a service; on a new connection, where it dropped since the cell before asked the board.

    Raises:
        TunnelError: the board gives none.
        LinkLost: the connection dropped, and cannot be made again.
    """
    port = urlsplit(service.url).port or 0
    return board.lease.retry(lambda: board.link.tunnel_back(port))


def _host() -> Device:
    return load_device(HOST, [DEVICES], known_metrics().values())
