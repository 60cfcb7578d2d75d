"""The first start of a cell after power-on: measured only where a limit asks for it."""

from __future__ import annotations

from ..cell import Cell
from ..checks.finding import Finding
from ..deploy.deployer import Deployer
from ..measure.elsewhere import not_on_device
from ..measure.first_start import FIRST_START, first_start, take_first_starts, unasked
from ..measure.measurement import PROCESSES
from ..model.prepare import prepared_measured_sets
from .run import Run


def measure_first_start(run: Run, cell: Cell, deployer: Deployer) -> Finding:
    """Measure the first start after power-on, where a limit is set on it and the device's clock can be believed.

    Raises:
        DeploymentError: the model cannot be run there.
        LinkError: the device cannot be reached any more.
    """
    limit = cell.limit_value(FIRST_START.limit_key)
    if limit is not None and cell.backend.remote:
        return not_on_device(FIRST_START, limit)
    if limit is None or cell.device.emulated:
        return unasked()
    sets = prepared_measured_sets(cell.file, 1)
    with run.progress.task(f"first starts of {cell.id}") as update, deployer.failures_kept(at_measured_sizes=True):
        starts = take_first_starts(deployer, sets, run.options.time_limit_s, lambda done: update(done, PROCESSES, ""))
    deployer.close()
    return first_start(starts)
