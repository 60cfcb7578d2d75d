"""One HIL run: what its cells share. Built from pytest's options, handed to the fixtures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..agent.timing import since_process_start_ns
from ..cell import Cell
from ..deploy.deployment import DeviceTime
from ..evidence.writer import Evidence
from ..host.progress import ProgressBars
from .counter import Counter
from .damage_watch import DamageWatch
from .devices import Devices
from .models import Models
from .options import Options
from .other_build import OtherBuild
from .services import Services

if TYPE_CHECKING:
    from ..signing.keys import Signer


@dataclass(kw_only=True)
class Run:
    """One HIL run, which holds one model at a time, one device, and one process on that device.

    Attributes:
        cells: what was asked for, model by model and device by device.
        device_time: what loading and inferring on devices took so far.
        export_s: what exports took so far, in seconds.
        other: the build that the cells are compared with; None where none was named.
        signer: what signs the evidence at the run's end; None where nothing is to be signed.
        damage_watch: what the cells ran on, in case some of it proves to be damaged.
    """

    options: Options
    cells: Sequence[Cell]
    evidence: Evidence
    progress: ProgressBars
    other: OtherBuild | None = None
    signer: Signer | None = field(default=None, repr=False)
    device_time: DeviceTime = field(default_factory=DeviceTime)
    export_s: float = 0.0
    damage_watch: DamageWatch = field(init=False)
    counter: Counter = field(init=False)
    models: Models = field(init=False)
    devices: Devices = field(init=False)
    services: Services = field(init=False)

    def __post_init__(self) -> None:
        self.damage_watch = DamageWatch(self.evidence)
        self.counter = Counter(options=self.options, evidence=self.evidence)
        self.models = Models([cell.file for cell in self.cells])
        self.devices = Devices(self.evidence, self.damage_watch, self.progress, self.options.wait_s)
        self.services = Services(self.progress, self.options.root, self.devices)

    def harness_seconds(self) -> float:
        """Return the seconds since this process started, without the device's loading and inferring."""
        return since_process_start_ns() / 1e9 - self.device_time.seconds

    def close(self) -> None:
        """Let go of devices, models and terminal."""
        self.counter.close()
        self.services.close()
        self.devices.release()
        self.models.close()
        self.progress.close()
