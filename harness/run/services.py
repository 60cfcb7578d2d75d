"""Emulated services of a run: one is held at a time, for one model, and shared by the cells that call it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..agent.remote.credentials import Credentials
from ..backends import load_backend
from ..cell import Cell
from ..endpoint import Endpoint
from ..export import export_artifact
from ..host.progress import ProgressBars
from ..model.build import BuiltModel
from ..model.model_file import ModelFile
from ..serving.service.settings import ServiceSettings
from ..serving.service.starting import RunningService, ServiceRequest, endpoint_name

# What runs the model behind the service, where the endpoint's file does not say.
SERVE = "onnxruntime"


@dataclass(frozen=True)
class _Held:
    """A service that runs, and what it was started for: the model file, the device's, and the backend behind it."""

    key: tuple[Path, Path, str]
    service: RunningService


class Services:
    """Starts the emulated services that cells ask for."""

    def __init__(self, progress: ProgressBars, project: Path) -> None:
        self._progress = progress
        self._project = project
        self._held: _Held | None = None

    def endpoint(self, cell: Cell, built: BuiltModel) -> Endpoint:
        """Return the endpoint that a cell calls: that of a running service, where its file asks for an emulated one.

        Raises:
            EndpointError: the service cannot be started.
            ExportError: the backend behind it does not take the model.
            BackendError: there is no such backend, or it does not run here.
            InputError: hilgate[cloud] is not installed.
        """
        asked = cell.endpoint
        if asked is None:
            raise AssertionError("the cell calls nothing")
        if asked.kind != "emulated":
            return asked
        service = self._running(cell, asked, built)
        url, ca, settings = service.url, service.authority, service.settings
        if cell.backend.name == "oip":
            return replace(asked, url=url, ca=ca, model=service.model)
        return replace(asked, url=url, ca=ca, region=settings.region, endpoint_name=settings.endpoint)

    def credentials(self) -> Credentials:
        """Issue credentials that the running service takes; nobody else does, and the user's own are not looked at."""
        if self._held is None:
            raise AssertionError("no service runs")
        return self._held.service.credentials()

    def close(self) -> None:
        """End the service that runs."""
        held, self._held = self._held, None
        if held is not None:
            held.service.close()

    def _running(self, cell: Cell, asked: Endpoint, built: BuiltModel) -> RunningService:
        key = cell.file.path, cell.device.path, asked.serve or SERVE
        if self._held is None or self._held.key != key:
            self.close()
            self._held = _Held(key, self._start(cell, key[-1], built))
        return self._held.service

    def _start(self, cell: Cell, backend: str, built: BuiltModel) -> RunningService:
        with self._progress.task(f"exporting {cell.file.name} for the emulated service"):
            artifact = export_artifact(built, load_backend(backend).artifact)
        file = cell.file  # as it was read: the other process has none of its code
        request = ServiceRequest(
            artifact=artifact,
            file=ModelFile(file.path, file.model, file.limits, sha256=file.sha256),
            device=cell.device,
            backend=backend,
            settings=ServiceSettings(endpoint=endpoint_name(cell.file.name)),
            project=self._project,
        )
        with self._progress.task(f"starting the emulated service of {cell.file.name}"):
            return RunningService.start(request)
