"""What a cell's processes are measured for: samples and memory, and what is said before that takes long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..cell import Cell
from ..checks.finding import Finding
from ..checks.quantiles import samples_for_proportion
from ..deploy.content import noise_notes, written_note
from ..deploy.deployer import Deployer
from ..evidence.schema import Fingerprint
from ..host.progress import Update
from ..host.progress_log import progress_logger
from ..measure.first_start import FIRST_START, first_start, take_first_starts, unasked
from ..measure.measurement import PROCESSES
from ..measure.sampling import ENOUGH, Measurement, take_memory, take_samples
from ..model.inputs import describe_sizes
from ..model.prepare import prepared_measured_sets
from .run import Run

LOG = progress_logger(__name__)

# Sets of inputs for what needs no clock: memory on an emulated board.
MEMORY_SETS = 4
# What takes longer than this is announced.
ANNOUNCE_ABOVE_S = 10.0
# The first inference may be slower than the others: a warning before the warm-up is given only where the samples would
# take so many times the time limit by it.
FAR = 3.0
# What the samples' processes take to start and warm up, and that some inferences are slower than the first.
SPARE = 1.25


def measure_cell(run: Run, cell: Cell, deployer: Deployer) -> Measurement:
    """Measure load times, memory and latencies of a cell in fresh processes.

    On an emulated device only memory is measured, which needs no clock.

    Raises:
        DeploymentError: the model cannot be run there.
        LinkError: the device cannot be reached any more.
    """
    with run.progress.task(f"measuring {cell.id}") as update, deployer.failures_kept(at_measured_sizes=True):
        if cell.device.emulated:
            sets = prepared_measured_sets(cell.file, MEMORY_SETS)
            measured = take_memory(deployer, sets, _memory_mib(deployer))
        else:
            measured = _sample(run, cell, deployer, update)
    deployer.close()
    record = run.evidence[cell]
    record.add_notes([*measured.lost, *_notes_on_content(measured)])
    record.measured_facts = describe_measurement(measured)
    return measured


def _sample(run: Run, cell: Cell, deployer: Deployer, update: Update) -> Measurement:
    limit_s = run.options.time_limit_s
    rate = cell.limit_value("deadline_miss_rate")
    needed = samples_for_proportion(rate) if rate is not None and 0 < rate < 1 else 0
    return take_samples(
        deployer,
        run.models.content(cell.file),
        limit_s,
        _announcing(cell, limit_s, update),
        at_least=max(ENOUGH, needed),
        board_mib=_memory_mib(deployer),
    )


def measure_first_start(run: Run, cell: Cell, deployer: Deployer) -> Finding:
    """Measure the first start after power-on, where a limit is set on it and the device's clock can be believed.

    Raises:
        DeploymentError: the model cannot be run there.
        LinkError: the device cannot be reached any more.
    """
    if cell.limit_value(FIRST_START.limit_key) is None or cell.device.emulated:
        return unasked()
    sets = prepared_measured_sets(cell.file, 1)
    with run.progress.task(f"first starts of {cell.id}") as update, deployer.failures_kept(at_measured_sizes=True):
        starts = take_first_starts(deployer, sets, run.options.time_limit_s, lambda done: update(done, PROCESSES, ""))
    deployer.close()
    return first_start(starts)


def _announcing(cell: Cell, limit_s: float, update: Update) -> Callable[[int, int, float], None]:
    """Make what sampling reports to, as (samples done, samples in all, seconds left): it logs once that they take long.

    While none is done it is called twice: by the first inference, which may be slower than the others, then by a warm
    one.
    """
    announced, estimates = False, 0

    def report(done: int, samples: int, left_s: float) -> None:
        nonlocal announced, estimates
        if done == 0:
            estimates += 1
            is_far = left_s > (FAR if estimates == 1 else 1.0) * limit_s
            if is_far and not announced:
                LOG.warning(_too_long(cell, samples, left_s, limit_s))
            announced = announced or is_far
            return
        if not announced and left_s > ANNOUNCE_ABOVE_S:
            LOG.info(_duration(cell, samples, left_s, limit_s))
        announced = True
        update(done, samples, f"about {left_s:.0f} s left")

    return report


def _too_long(cell: Cell, samples: int, seconds: float, limit_s: float) -> str:
    """Word the warning that the time will not do for the samples that the limits need."""
    sizes = describe_sizes(cell.file.model.measure)
    at = f" at {sizes}" if sizes else ""
    other = "; Model(measure={…}) chooses other sizes" if sizes else ""
    return (
        f"{cell.id}: the {samples} samples that a p99 or a limit needs would take about {seconds:.0f} s{at}, and "
        f"{limit_s:g} s are allowed: {suggest_time_limit(seconds)}{other}"
    )


def _duration(cell: Cell, samples: int, seconds: float, limit_s: float) -> str:
    if seconds <= limit_s:
        return f"{cell.id}: {samples} samples, about {seconds:.0f} s"
    return (
        f"{cell.id}: {samples} samples would take {seconds:.0f} s, {limit_s:g} s are allowed: "
        f"{suggest_time_limit(seconds)}"
    )


def suggest_time_limit(seconds: float) -> str:
    """Word the option that gives samples of so many seconds their time, in which processes start and warm up, too."""
    return f"--time-limit {float(f'{SPARE * seconds:.2g}'):.0f}"


def count_instructions(run: Run, cell: Cell, deployer: Deployer) -> Finding:
    """Wait for the count of a cell's instructions per inference, which was begun when it was deployed.

    Raises:
        DeploymentError: the model cannot be run there.
    """
    deployer.check()
    with run.progress.task(f"counting instructions of {cell.id}"):
        return run.counter.finding(cell)


def describe_measurement(measured: Measurement) -> Fingerprint:
    """Describe how the runtime was really set, and the device's state around the samples."""
    facts: dict[str, Any] = {"warm_up": [dict(warm_up) for warm_up in measured.warm_ups]}
    if measured.loads:
        facts |= {"runtime": dict(measured.loads[0].runtime), "settings": dict(measured.loads[0].settings)}
    if measured.states:
        before, after = measured.states[0][0], measured.states[-1][1]
        facts |= {"governor": before["governor"], "state_before": dict(before), "state_after": dict(after)}
    return Fingerprint.model_validate(facts)


def _notes_on_content(measured: Measurement) -> list[str]:
    noise = noise_notes(measured.contents) if measured.uniform.count else []
    return [*noise, *(written_note(name) for name in measured.written)]


def _memory_mib(deployer: Deployer) -> float | None:
    """Return the board's memory in MiB; None where it does not say."""
    return deployer.board.facts.memory_mib or None
