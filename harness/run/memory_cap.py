"""A limit on a cell's memory, tried out in a memory cgroup of that size."""

from __future__ import annotations

from ..cell import Cell
from ..deploy.deployer import Deployer
from ..measure.memory import PEAK
from ..measure.memory_cap import MemoryCap, try_cap
from ..model.prepare import prepared_measured_sets
from .run import Run


def measure_memory_cap(run: Run, cell: Cell, deployer: Deployer) -> MemoryCap | None:
    """Try out a cell's limit on its memory; None where none is set.

    Raises:
        DamagedError: what the process ran on is damaged.
        DeploymentError: the model cannot be run there.
        LinkError: the device cannot be reached any more.
    """
    limit_mib = cell.limit_value(PEAK.limit_key)
    if limit_mib is None:
        return None
    sets = prepared_measured_sets(cell.file, 1)
    with run.progress.task(f"limiting the memory of {cell.id}"), deployer.failures_kept(at_measured_sizes=True):
        found = try_cap(deployer, sets, limit_mib, run.options.time_limit_s)
    deployer.close()
    return found
