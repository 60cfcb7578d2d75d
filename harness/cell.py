"""A cell: one model on one device with one backend."""

from __future__ import annotations

from dataclasses import dataclass

from .backends import Backend
from .checks.limits import Limit
from .device.device import Device
from .endpoint import Calls, Endpoint
from .model.model_file import ModelFile
from .network import Network


@dataclass(frozen=True)
class Cell:
    """One combination of model, device and backend that was asked for.

    Attributes:
        optional: whether it may be left out where this host cannot build the backend: the device's file lists that as
            optional, and --backend does not name it.
        forbidden: which of the device's rules forbids the backend; "" where none does.
        is_named: whether --backend names the backend.
        endpoint: the server that has the model, of a remote backend; None of one that is left out.
        fallback: the backend that answers on the device where calls fail; None where the options name none.
        network: what the device's proxy shapes between itself and that server; None where the options name none.
    """

    file: ModelFile
    device: Device
    backend: Backend
    optional: bool = False
    forbidden: str = ""
    is_named: bool = False
    endpoint: Endpoint | None = None
    network: Network | None = None
    fallback: Backend | None = None

    @property
    def is_left_out(self) -> bool:
        """Whether nothing of it is measured: a rule forbids it, and --backend does not name it."""
        return bool(self.forbidden) and not self.is_named

    @property
    def service_emulated(self) -> bool:
        """Whether it calls a service that the run starts on this machine: its times say nothing of a cloud's."""
        return self.endpoint is not None and self.endpoint.kind == "emulated"

    @property
    def calls(self) -> Calls:
        """How a remote backend calls its endpoint."""
        return Calls.of_options(self.options, self.limit_value("deadline_ms"))

    @property
    def id(self) -> str:
        """The cell's name in test ids and file names, such as "digits-local-onnxruntime"."""
        return f"{self.file.name}-{self.device.name}-{self.backend.name}"

    @property
    def key(self) -> tuple[str, str, str]:
        """The names of model, device and backend, by which the evidence knows the cell."""
        return self.file.name, self.device.name, self.backend.name

    @property
    def options(self) -> dict[str, object]:
        """The backend's options: its defaults, replaced by what the device file says."""
        return self._options_of(self.backend)

    @property
    def fallback_options(self) -> dict[str, object]:
        """The options of the fallback; empty without one."""
        return self._options_of(self.fallback) if self.fallback is not None else {}

    def _options_of(self, backend: Backend) -> dict[str, object]:
        return {**backend.defaults, **self.device.options.get(backend.name, {})}

    @property
    def limits(self) -> tuple[Limit, ...]:
        """All limits that count here: the model's, the device's, and the device's for this backend."""
        tolerance = Limit("parity", self.file.model.parity_limit, f"{self.file.path.name}: tolerance")
        return (tolerance, *self.file.limits, *self.device.limits_for(self.backend.name))

    def limit_value(self, key: str) -> float | None:
        """Return the strictest value that is set under a limit's key, such as deadline_ms; None where none is set."""
        return min((limit.value for limit in self.limits if limit.key == key), default=None)
