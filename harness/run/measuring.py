"""What a cell's processes are measured for: samples and memory, and what is said before that takes long."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ..cell import Cell
from ..checks.finding import Finding
from ..checks.limits import Metric
from ..deploy.content import BLOCK, noise_notes, written_note
from ..deploy.deployer import Deployer
from ..evidence.schema import Fingerprint
from ..host.progress import Update
from ..host.progress_log import progress_logger
from ..measure.account import describe_timed
from ..measure.availability import AVAILABILITY, span_s
from ..measure.elsewhere import not_on_device
from ..measure.growth import MEMORY_GROWTH, cannot_go_on, is_settled
from ..measure.growth_process import GrowthProcesses
from ..measure.instructions import INSTRUCTIONS
from ..measure.latency import DEADLINE_MISS_RATE, QUANTILES
from ..measure.latency import METRICS as LATENCY_METRICS
from ..measure.sampling import Measurement, Progress, Report, take_memory, take_samples
from ..measure.schedule import REMOTE_S
from ..measure.tails import Tail
from ..model.inputs import Arrays, describe_measured
from ..model.prepare import prepared_measured_sets
from .run import Run

LOG = progress_logger(__name__)

# hilgate's own tests that judge no limit on durations: where only these are selected, nobody waits for such a limit.
UNTIMED_TESTS = frozenset(
    {
        "test_accuracy",
        "test_availability",
        "test_artifact_size",
        "test_cost_per_hour",
        "test_cost_per_million",
        "test_first_part_p50",
        "test_first_part_p99",
        "test_first_start",
        "test_instructions",
        "test_load_time",
        "test_memory_growth",
        "test_memory_peak",
        "test_no_slower_than_other",
        "test_parity",
        "test_start_jitter",
        "test_switch",
    }
)
# Sets of inputs for what needs no clock: memory on an emulated board.
MEMORY_SETS = 4
# What takes longer than this is announced.
ANNOUNCE_ABOVE_S = 10.0
# The first inference may be slower than the others: a warning before the warm-up is given only where the samples would
# take so many times the time limit by it.
FAR = 3.0
# What the samples' processes take to start and warm up, and that some inferences are slower than the first.
SPARE = 1.25
# Calls are made in portions of some seconds, so their time is not met to the second.
NEARLY = 0.95
# For how long an emulated service is called, where only the figure is shown.
SERVICE_EMULATED_S = 3.0


def measure_cell(run: Run, cell: Cell, deployer: Deployer) -> Measurement:
    """Measure load times, memory and latencies of a cell in fresh processes.

    On an emulated device only memory is measured, which needs no clock. Where a limit on its growth takes more
    inferences than there were, it has processes of its own, and the time limit once more.

    Raises:
        DeploymentError: the model cannot be run there.
        LinkError: the device cannot be reached any more.
    """
    with run.progress.task(f"measuring {cell.id}") as update, deployer.failures_kept(at_measured_sizes=True):
        if cell.device.emulated:
            measured = take_memory(deployer, _memory_sets(run, cell), _memory_mib(deployer))
        else:
            measured = _sample(run, cell, deployer, update)
        notes = _settle_growth(run, cell, deployer, measured, update)
    deployer.close()
    record = run.evidence[cell]
    record.add_notes([*measured.lost, *measured.unreached, *notes])
    record.add_notes([*_notes_on_content(measured), *_span_notes(cell, measured)])
    record.measured_facts = describe_measurement(measured)
    record.timed = describe_timed(measured)
    return measured


def _memory_sets(run: Run, cell: Cell) -> list[Arrays]:
    """Make the sets of inputs for memory alone; where sizes are drawn, the first has the largest."""
    if not cell.file.model.measured_sizes.drawn:
        return prepared_measured_sets(cell.file, MEMORY_SETS)
    return [*prepared_measured_sets(cell.file, 1), *run.models.content(cell.file).made(BLOCK, MEMORY_SETS - 1)]


def _sample(run: Run, cell: Cell, deployer: Deployer, update: Update) -> Measurement:
    limit_s, block_ms = run.options.time_limit_s, cell.device.measure.block_ms
    # Of an emulated service no time is judged: none is spent on deciding a limit, and its loopback has no bad moments.
    tails = [] if cell.service_emulated else tails_of(cell, run.evidence[cell].pending)
    for remark in _remarks(tails):
        LOG.warning("%s: %s", cell.id, remark)
    return take_samples(
        deployer,
        run.models.content(cell.file),
        limit_s,
        _announcing(cell, limit_s, update),
        tails=tails,
        block_ms=block_ms,
        clock=cell.file.model.clock,
        board_mib=_memory_mib(deployer),
        timeout_ms=timeout_of(cell),
        availability_min=None if cell.service_emulated else cell.limit_value(AVAILABILITY.limit_key),
        remote_s=SERVICE_EMULATED_S if cell.service_emulated else REMOTE_S,
    )


def timeout_of(cell: Cell) -> float | None:
    """Return after how long a cell's calls to another computer fail, in milliseconds; None where it makes none."""
    return cell.calls.timeout_ms if cell.backend.remote else None


def _span_notes(cell: Cell, measured: Measurement) -> list[str]:
    """Word the note that calls to another computer were made for a shorter time than they are to be."""
    spent_s = span_s(measured)
    if cell.service_emulated or not measured.is_remote or not measured.count or spent_s >= REMOTE_S * NEARLY:
        return []
    longer = f"--time-limit {2 * REMOTE_S:.0f} gives them that"
    return [
        f"calls to the endpoint were made for {spent_s:.0f} s, and {REMOTE_S:.0f} s are wanted: a link's bad moments "
        f"come in bursts, and a shorter time sees fewer of them. {longer}"
    ]


def _settle_growth(run: Run, cell: Cell, deployer: Deployer, measured: Measurement, update: Update) -> list[str]:
    """Infer on until a limit on the growth of memory is decided, if there is one; return notes on it."""
    limit = cell.limit_value(MEMORY_GROWTH.limit_key)
    if limit is None or is_settled(measured, limit) or cannot_go_on(measured):
        return []
    announced = False

    def report(done: int, wanted: int, left_s: float) -> None:
        nonlocal announced
        if not announced and left_s > ANNOUNCE_ABOVE_S:
            LOG.info("%s: %d inferences for the growth of memory, about %.0f s", cell.id, wanted, left_s)
            announced = True
        update(done, wanted, f"growth of memory, about {left_s:.0f} s left")

    processes = GrowthProcesses(
        measured=measured,
        source=deployer,
        content=run.models.content(cell.file),
        limit=limit,
        time_limit_s=run.options.time_limit_s,
        report=report,
        board_mib=_memory_mib(deployer),
    )
    processes.run()
    return processes.notes


def tails_of(cell: Cell, pending: Collection[str]) -> list[Tail]:
    """Return the limits of a cell that are decided on blocks of time, as far as a test that was selected judges them.

    Args:
        cell: The cell.
        pending: The node ids of its selected tests that have come to no check yet. A test that is none of hilgate's own
            may judge any limit.
    """
    functions = {node.rpartition("::")[2].partition("[")[0] for node in pending}
    others = functions - UNTIMED_TESTS
    limited = {metric: Tail.of_quantile(QUANTILES[metric], _limit(cell, metric)) for metric in QUANTILES}
    deadline, rate = cell.limit_value("deadline_ms"), _limit(cell, DEADLINE_MISS_RATE)
    if deadline is not None and rate is not None:
        limited[DEADLINE_MISS_RATE] = Tail.of_misses(deadline, rate)
    tests = {metric: f"test_{metric.name.removesuffix('_ms')}" for metric in LATENCY_METRICS}
    is_own = others <= set(tests.values())
    return [
        tail for metric, tail in limited.items() if tail.limit is not None and (not is_own or tests[metric] in others)
    ]


def _limit(cell: Cell, metric: Metric) -> float | None:
    return cell.limit_value(metric.limit_key)


def _remarks(tails: Sequence[Tail]) -> Iterator[str]:
    """Word what is known of limits before anything is measured."""
    for tail in tails:
        if tail.is_rate and tail.allowed is not None and tail.allowed <= 0:
            yield "a deadline_miss_rate of 0 can be broken, and never be shown to be kept: choose 0.001, for instance"
        if tail.is_rate and tail.allowed is not None and tail.allowed >= 1:
            yield f"a deadline_miss_rate of {tail.allowed:g} allows every inference to be late: it limits nothing"


def _announcing(cell: Cell, limit_s: float, update: Update) -> Report:
    """Make what sampling reports to: it logs once that the samples take long.

    While none is done it is called twice: by the first inference, which may be slower than the others, then by a warm
    one.
    """
    announced, estimates = False, 0

    def report(progress: Progress) -> None:
        nonlocal announced, estimates
        left_s = progress.left_s
        if progress.done == 0:
            estimates += 1
            is_far = left_s > (FAR if estimates == 1 else 1.0) * limit_s
            if is_far and not announced:
                LOG.warning(_too_long(cell, progress, limit_s))
            announced = announced or is_far
            if estimates > 1 and left_s > ANNOUNCE_ABOVE_S and not announced:
                LOG.info(_duration(cell, progress, limit_s))
                announced = True
            return
        if not announced and left_s > ANNOUNCE_ABOVE_S:
            LOG.info(_duration(cell, progress, limit_s))
        announced = True
        left = f"about {left_s:.0f} s left" if left_s <= limit_s else f"until {limit_s:g} s are over"
        update(progress.done, progress.wanted, ", ".join(filter(None, [progress.still_open, left])))

    return report


def _needed(cell: Cell, progress: Progress) -> str:
    """Word what takes so long: the blocks of time of a limit, or the samples of a figure."""
    if not progress.still_open:
        return f"{progress.wanted} samples"
    return f"{progress.wanted} inferences, in blocks of {cell.device.measure.block_ms:g} ms, for {progress.still_open}"


def _too_long(cell: Cell, progress: Progress, limit_s: float) -> str:
    """Word the warning that the time will not do for the samples that the limits need."""
    sizes = describe_measured(cell.file.model)
    at = f" at {sizes}" if sizes else ""
    other = "; Model(measure={…}) chooses other sizes" if sizes else ""
    return (
        f"{cell.id}: {_needed(cell, progress)} would take about {progress.left_s:.0f} s{at}, and "
        f"{limit_s:g} s are allowed: {suggest_time_limit(progress.left_s)}{other}"
    )


def _duration(cell: Cell, progress: Progress, limit_s: float) -> str:
    needed, seconds = _needed(cell, progress), progress.left_s
    if seconds <= limit_s:
        longest = f"; {limit_s:g} s at most, where some are slow" if progress.still_open else ""
        return f"{cell.id}: {needed}, about {seconds:.0f} s{longest}"
    return f"{cell.id}: {needed} would take {seconds:.0f} s, {limit_s:g} s are allowed: {suggest_time_limit(seconds)}"


def suggest_time_limit(seconds: float) -> str:
    """Word the option that gives samples of so many seconds their time, in which processes start and warm up, too."""
    return f"--time-limit {float(f'{SPARE * seconds:.2g}'):.0f}"


def count_instructions(run: Run, cell: Cell, deployer: Deployer) -> Finding:
    """Wait for the count of a cell's instructions per inference, which was begun when it was deployed.

    Raises:
        DeploymentError: the model cannot be run there.
    """
    deployer.check()
    if cell.backend.remote:
        return not_on_device(INSTRUCTIONS, cell.limit_value(INSTRUCTIONS.limit_key))
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
    assumed = [_assumption(measured)] if measured.tails and measured.count else []
    return [*noise, *assumed, *(written_note(name) for name in measured.written)]


def _assumption(measured: Measurement) -> str:
    """Word what verdicts on the limits assume."""
    names = ", ".join(tail.name for tail in measured.tails)
    return f"{names}: slow inferences in bursts up to {measured.block_ms:g} ms; rarer or longer ones take a longer run"


def _memory_mib(deployer: Deployer) -> float | None:
    """Return the board's memory in MiB; None where it does not say."""
    return deployer.board.facts.memory_mib or None
