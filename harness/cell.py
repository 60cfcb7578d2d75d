"""Cells: model × device × backend."""

from __future__ import annotations

from dataclasses import dataclass

from .backends import Backend
from .checks.limits import Limit
from .device.device import Device
from .model.model_file import ModelFile


@dataclass(frozen=True)
class Cell:
    """One combination that was asked for.

    Attributes:
        optional: it is left out where this host cannot build the backend: the device says so, and --backend does not
            name it.
    """

    file: ModelFile
    device: Device
    backend: Backend
    optional: bool = False

    @property
    def id(self) -> str:
        """The cell in test ids and file names: "digits-local-onnxruntime"."""
        return f"{self.file.name}-{self.device.name}-{self.backend.name}"

    @property
    def key(self) -> tuple[str, str, str]:
        """The cell in evidence: model, device and backend."""
        return self.file.name, self.device.name, self.backend.name

    @property
    def options(self) -> dict[str, object]:
        """The backend's own: its defaults, and what the device file says."""
        return {**self.backend.defaults, **self.device.options.get(self.backend.name, {})}

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Every limit that counts here: the model's, the device's, and the device's for this backend."""
        tolerance = Limit("parity", self.file.model.parity_limit, f"{self.file.path.name}: tolerance")
        return (tolerance, *self.file.limits, *self.device.limits_for(self.backend.name))

    def limit_value(self, key: str) -> float | None:
        """The strictest value set under a key, such as deadline_ms; None where none is set."""
        return min((limit.value for limit in self.limits if limit.key == key), default=None)
