"""One HIL run: its cells, and what they share. Built from pytest's options, used by the fixtures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from ..agent.timing import since_process_start_ns
from ..board import Board, open_board
from ..board.preflight import check_inputs
from ..bundle import Bundle, make_bundle
from ..bundle.planning import plan_runtime
from ..bundle.runtime import Runtime
from ..cell import Cell
from ..checks.check import NOTHING, judge
from ..checks.finding import Finding
from ..checks.quantiles import samples_for_proportion
from ..deploy.content import Content, content_of, noise_notes, written_note
from ..deploy.deployer import Deployer
from ..deploy.deployment import DeviceTime, Timeouts
from ..device.device import Device
from ..errors import BuildError, ExportError, HilgateError
from ..evidence.evidence import Evidence
from ..export import Artifact, export_artifact
from ..host.progress import ProgressBars
from ..host.progress_log import progress_logger
from ..isa.wheels import outlook
from ..measure import known_metrics
from ..measure.accuracy import (
    EMULATED_SAMPLES,
    SampleSet,
    read_samples,
    sample_notes,
    scored_samples,
    searched_samples,
)
from ..measure.sampling import ENOUGH, Measurement, take_memory, take_samples
from ..model.build import BuiltModel
from ..model.inputs import describe_sizes
from ..model.model_file import ModelFile
from ..model.prepare import prepare_sha256, prepared, prepared_measured_sets
from ..model.process import build_hosted
from ..parity import PARITY
from ..parity.finds import Finds, Memory
from ..parity.reference import Reference
from ..protocol import BoardFacts
from .counter import Counter
from .options import Options
from .plan import close_processes
from .stored import Stored

LOG = progress_logger(__name__)

# Inputs for what needs no clock, memory on an emulated board.
MEMORY_SETS = 4
# A line says beforehand what will take longer than this.
ANNOUNCE_ABOVE_S = 10.0
# By the first inference the samples would take so many times the time limit: that is said before the warm-up.
FAR = 3.0
# Beside the samples: what their processes' start and warm-up take, and that some are slower than the first.
SPARE = 1.25


@dataclass
class Run:
    """The state of a run. One model is held at a time, and one process on a device at a time."""

    options: Options
    cells: Sequence[Cell]
    evidence: Evidence
    progress: ProgressBars = field(default_factory=ProgressBars)
    device_time: DeviceTime = field(default_factory=DeviceTime)
    export_s: float = 0.0
    counter: Counter = field(init=False)
    stored: Stored = field(init=False)
    memory: Memory | None = None  # what outlasts the run
    unavailable: dict[str, HilgateError] = field(default_factory=dict)  # devices that cannot be used, and why
    _built: tuple[ModelFile, BuiltModel, Reference, Finds] | None = None
    _samples: tuple[tuple[ModelFile, bool], tuple[SampleSet, float] | None] | None = None
    _content: tuple[ModelFile, Content] | None = None
    _board: Board | None = None

    def __post_init__(self) -> None:
        self.counter = Counter(self.options, self.evidence)
        self.stored = Stored(self.evidence)

    def built(self, file: ModelFile) -> tuple[BuiltModel, Reference]:
        """A model, built and looked at, and its reference."""
        if self._built is None or self._built[0] != file:
            self._built = None  # let go of the one before: two large models need not be held at once
            self._close_processes(but=file)
            built = build_hosted(file)
            reference = Reference(built, lambda: built.ask(searched_samples))
            finds = Finds(built.model, file.name, self.memory, file.ask(prepare_sha256))
            self._built = (file, built, reference, finds)
        return self._built[1:3]

    def finds(self, file: ModelFile) -> Finds:
        """Inputs of a model that showed something, in this run and in those before."""
        self.built(file)
        assert self._built is not None
        return self._built[3]

    def samples(self, cell: Cell) -> tuple[SampleSet, float] | None:
        """The model file's samples as its device takes them, and eager PyTorch's score over these; None without any."""
        wanted = cell.file, cell.device.emulated
        if self._samples is None or self._samples[0] != wanted:
            built, _ = self.built(cell.file)
            at_most = EMULATED_SAMPLES if cell.device.emulated else None
            self._samples = (wanted, built.ask(scored_samples, at_most))
        return self._samples[1]

    def content(self, file: ModelFile) -> Content:
        """What of a model is timed, and counted."""
        if self._content is None or self._content[0] != file:
            self._content = None
            read = self.built(file)[0].ask(read_samples)
            sets, step = (read.sets, read.step) if read else ((), 1)
            self._content = (file, content_of(file.model, sets, step, partial(prepared, file)))
        return self._content[1]

    def artifact(self, cell: Cell) -> Artifact:
        """The cell's artifact, exported now or by an earlier run."""
        built, reference = self.built(cell.file)
        record = self.evidence[cell]
        record.notes += [note for note in built.ask(sample_notes) if note not in record.notes]
        reference.release()  # twice the model's size, and the export's own process holds the model again
        start = time.monotonic()
        with self.progress.task(f"exporting {cell.file.name} as {cell.backend.artifact}"):
            try:
                artifact = export_artifact(built, cell.backend.artifact)
            except ExportError as error:
                with contextlib.suppress(HilgateError):  # that it has state is why more often than not
                    if (impurity := reference.impurity) is not None:
                        error.hint = "; ".join(filter(None, [f"{impurity.found}: {impurity.hint}", error.hint]))
                raise
        if not artifact.cached:
            self.export_s += time.monotonic() - start
        record.facts["artifact"] = {
            "sha256": artifact.sha256,
            "bytes": artifact.bytes,
            "exporter": artifact.exporter,
            "warnings": list(artifact.warnings),
        }
        record.notes += [f"{artifact.exporter}: {warning}" for warning in artifact.warnings]
        return artifact

    def board(self, device: Device) -> Board:
        """A device: reached, looked at, and locked until the run's end, or until another is asked for.

        Raises:
            LinkError: it cannot be reached, or another run holds it.
            DeviceError: the board is not what its file says.
            StorageError: its store cannot be written.
        """
        if self._board is None or self._board.device.name != device.name:
            self.settle()
            self._let_go()  # one at a time: two files may name one board
            try:
                with self.progress.task(f"reaching {device.name}"):
                    self._board = open_board(device, wait_s=self.options.wait_s)
            except HilgateError as error:
                self.give_up(device, error)
                raise
        return self._board

    def give_up(self, device: Device, error: HilgateError) -> None:
        """A device cannot be used: no more of this run is tried there, and none of it is the model's fault (issue
        15)."""
        if device.name not in self.unavailable:
            self.unavailable[device.name] = error
            self.evidence.add_unavailable(device.name, str(error))

    def bundle(self, cell: Cell, artifact: Artifact) -> Bundle:
        """What is deployed for a cell, put on its device.

        Raises:
            BackendError: the backend's packages are neither there nor can they be shipped.
            BuildError: its runner cannot be built; of an optional backend the evidence has it.
            ModelError: its inputs have no room there, at the sizes that are measured.
            LinkError, StorageError, DeviceError, DeploymentError: it cannot be put there.
        """
        board = self.board(cell.device)
        check_inputs(cell.device, cell.file.model, board.facts, MEMORY_SETS)
        record = self.evidence[cell]
        with self.progress.task(f"runtime of {cell.backend.name} for {cell.device.name}"):
            try:
                runtime = plan_runtime(cell.device, cell.backend, board.facts, cell.file.model.imports)
            except BuildError as error:
                if cell.optional:  # nothing of it has run yet: it says nothing of the model (issue 16)
                    self.evidence.add_not_built(cell, error)
                raise
        self._look_ahead(cell, runtime, board.facts)
        bundle = make_bundle(artifact, cell.backend, runtime)
        record.facts["bundle"] = {"sha256": bundle.sha256, **runtime.described}
        with self.progress.task(f"sending to {cell.device.name}") as update:
            board.put(bundle, lambda done, total: update(done >> 20, total >> 20, "MiB"))
        return bundle

    def _look_ahead(self, cell: Cell, runtime: Runtime, facts: BoardFacts) -> None:
        """Before anything is sent: are there instructions that the board's CPU lacks? A warning; the run proves it."""
        record = self.evidence[cell]
        if not runtime.wheels:
            record.facts["instructions"] = {"not_done": "the libraries are the board's own, and stay there"}
            return
        with self.progress.task(f"looking for instructions that {cell.device.name} lacks"):
            found = outlook(runtime.wheels, facts, runtime.packages, only=runtime.libraries)
        record.facts["instructions"] = found.described
        for warning in found.warnings:
            LOG.warning(f"{cell.id}: {warning}")
            record.notes.append(warning)

    def deployer(self, cell: Cell, bundle: Bundle) -> Deployer:
        """Starts the cell's processes."""
        self.counter.begin(cell, bundle, self.content)
        board = self.board(cell.device)
        facts = board.facts
        # An inference that takes longer than the whole cell may is not worth waiting for.
        timeouts = Timeouts(call_s=self.options.time_limit_s)
        record = self.evidence[cell]
        found = {
            name: bundle.runtime.packages[name]
            for names in cell.backend.providers
            for name in names
            if name in bundle.runtime.packages
        }
        keys = {"arch", "cpu", "cores", "memory_mib", "board", "serial", "kernel", "python"}
        kept = facts.model_dump(include=keys)
        kept |= board.link.described
        record.facts["fingerprint"] = {**kept, **cell.device.settings, "runtime": found}
        record.notes += [note for note in board.notes if note not in record.notes]
        made = Deployer(cell, board, bundle, timeouts, self.device_time, notes=record.notes)
        return self.stored.watch(made)

    def measure(self, cell: Cell, deployer: Deployer) -> Measurement:
        """The cell's samples, taken in fresh processes; on an emulated device only what needs no clock."""
        if cell.device.emulated:
            with self.progress.task(f"measuring {cell.id}"), deployer.failures_kept(at_measured_sizes=True):
                sets = prepared_measured_sets(cell.file, MEMORY_SETS)
                return self._measured(cell, deployer, take_memory(deployer, sets, _memory_mib(deployer)))
        announced, asked = False, 0
        with self.progress.task(f"measuring {cell.id}") as update, deployer.failures_kept(at_measured_sizes=True):

            def report(done: int, wanted: int, left_s: float) -> None:
                nonlocal announced, asked
                if done == 0:  # by the first inference, which may be slower than the others; then by a warm one
                    asked += 1
                    announced = announced or self._warn(cell, wanted, left_s, FAR if asked == 1 else 1.0)
                    return
                if not announced and left_s > ANNOUNCE_ABOVE_S:
                    self._announce(cell, wanted, left_s)
                announced = True
                update(done, wanted, f"about {left_s:.0f} s left")

            content = self.content(cell.file)
            rate = cell.limit_value("deadline_miss_rate")
            needed = samples_for_proportion(rate) if rate is not None and 0 < rate < 1 else 0
            limit_s = self.options.time_limit_s
            at_least, board_mib = max(ENOUGH, needed), _memory_mib(deployer)
            measured = take_samples(deployer, content, limit_s, report, at_least=at_least, board_mib=board_mib)
        return self._measured(cell, deployer, measured)

    def count(self, cell: Cell, deployer: Deployer) -> Finding:
        """The cell's instructions per inference."""
        deployer.check()
        with self.progress.task(f"counting instructions of {cell.id}"):
            return self.counter.finding(cell)

    def _measured(self, cell: Cell, deployer: Deployer, measured: Measurement) -> Measurement:
        deployer.close()
        self._note_measurement(cell, measured)
        return measured

    def _warn(self, cell: Cell, samples: int, seconds: float, factor: float) -> bool:
        """Before the samples: that the time will not do for those that the limits need. Whether it was said.

        Args:
            factor: so many times the time limit are borne without a word.
        """
        limit = self.options.time_limit_s
        if seconds <= factor * limit:
            return False
        sizes = describe_sizes(cell.file.model.measure)
        at = f" at {sizes}" if sizes else ""
        other = "; Model(measure={…}) chooses other sizes" if sizes else ""
        LOG.warning(
            f"{cell.id}: the {samples} samples that a p99 or a limit needs would take about {seconds:.0f} s{at}, and "
            f"{limit:g} s are allowed: {_longer(seconds)}{other}"
        )
        return True

    def _announce(self, cell: Cell, samples: int, seconds: float) -> None:
        limit = self.options.time_limit_s
        line = f"{cell.id}: {samples} samples, about {seconds:.0f} s"
        if seconds > limit:
            line = (
                f"{cell.id}: {samples} samples would take {seconds:.0f} s, {limit:g} s are allowed: {_longer(seconds)}"
            )
        LOG.info(line)

    def _note_measurement(self, cell: Cell, measured: Measurement) -> None:
        fingerprint = self.evidence[cell].facts["fingerprint"]
        said = [*measured.lost, *self._notes_on_content(measured)]
        self.evidence[cell].notes += [why for why in said if why not in self.evidence[cell].notes]
        if measured.loads:
            fingerprint["runtime"] |= measured.loads[0].runtime
            fingerprint["settings"] = measured.loads[0].settings
        if measured.states:
            fingerprint["governor"] = measured.states[0][0]["governor"]
            fingerprint["state_before"], fingerprint["state_after"] = measured.states[0][0], measured.states[-1][1]
        fingerprint["warm_up"] = [dict(warm_up) for warm_up in measured.warm_ups]

    @staticmethod
    def _notes_on_content(measured: Measurement) -> list[str]:
        noise = noise_notes(measured.contents) if measured.uniform.count else []
        return [*noise, *(written_note(name) for name in measured.written)]

    def harness_seconds(self) -> float:
        """What the run took so far, from this process's start, without the device's loading and inferring."""
        return since_process_start_ns() / 1e9 - self.device_time.seconds

    def close(self) -> None:
        """Let go of devices and terminal."""
        self.counter.close()
        self._let_go()
        self._close_processes()
        self.progress.close()

    def abandon(self) -> None:
        """Wait no more for the device: whatever does fails at once. May be called from any thread."""
        if (board := self._board) is not None:
            board.link.abort()

    def _close_processes(self, but: ModelFile | None = None) -> None:
        """End the processes of the models, but for one."""
        close_processes(cell.file for cell in self.cells if cell.file is not but)

    def settle(self) -> None:
        """Have said what was found in the background; before the evidence is ended."""
        if self._board is not None:
            self.stored.settle(self._board)

    def _let_go(self) -> None:
        if self._board is not None:
            self._board.close()
        self._board = None


def _memory_mib(deployer: Deployer) -> float | None:
    return deployer.board.facts.memory_mib or None  # 0 where the board does not say


def _longer(seconds: float) -> str:
    """The option that gives so many seconds of samples their time: processes start and warm up in it, too."""
    return f"--time-limit {float(f'{SPARE * seconds:.2g}'):.0f}"


def add_unsaid(cells: Iterable[Cell], evidence: Evidence, *, narrowed: bool, stopped: bool) -> None:
    """Say of every cell what no test said: a gate must not open because a test was skipped.

    A cell in which no test came to anything is an error. In a run that was not narrowed down, a limit on a metric
    that no test checked is INCONCLUSIVE; so is a cell that a run never came to because it was stopped. Of a backend
    that this host cannot build, and that may be left out, it is said already that nothing was measured.
    """
    metrics = {metric.limit_key: metric for metric in (*known_metrics().values(), PARITY)}
    for cell in cells:
        record = evidence[cell]
        if not record.anything_said and stopped:
            evidence.add_interruption(cell, "the run was stopped before anything of this cell was checked")
        elif not record.anything_said:
            evidence.add_error(
                cell,
                "nothing was measured: no test of this cell ran, or none applied to it. "
                "The suite is tests/hil in a clone, `pytest --pyargs harness.suite -m hil …` elsewhere",
            )
        checked = {check.finding.metric.name for check in record.checks}
        said = record.errors or record.unavailable or record.not_built
        for limit in cell.limits if not narrowed and not said else ():
            metric = metrics.get(limit.key)
            if metric is not None and metric.name not in checked:
                open_end = record.interruptions[0].partition("\n")[0] if record.interruptions else ""
                missing = f"{NOTHING}: {open_end}" if open_end else "a limit is set, and no test of this metric ran"
                finding = Finding(metric, missing=missing)
                evidence.add_check(cell, judge(finding, cell.limits))
                checked.add(metric.name)
