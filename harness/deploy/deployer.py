"""Starting the processes of one cell: one at a time, for a small board has no room for two."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ..agent.frames import Frame, read_frame
from ..agent.illegal import MARK
from ..agent.wire import FrameError
from ..board import Board
from ..bundle import Bundle
from ..cell import Cell
from ..errors import AgentFailure, AgentTimeout, DamagedError, DeploymentError, HilgateError, LinkError
from ..host.death import Death
from ..model.inputs import at_sizes, describe, describe_sizes, traced_sizes
from ..model.prepare import prepared_measured_sets
from ..protocol.asked import KEPT, of_device
from .call import host_clock
from .deployment import Deployment, DeviceTime, LoadReport, Timeouts
from .feed import Inputs
from .messages import MOST, distinct_lines
from .refusals import next_step

# Half of what the agent waits for a request before it ends by itself.
IDLE_S = 900.0
# So long what was hashed is taken as whole: several checks of a cell may fail, and a runtime is a gigabyte.
WHOLE_S = 300.0
# In what a process or its runtime says when memory ran out: Python, C++, torch, ONNX Runtime, the kernel.
OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "not enough memory", "llocate memory", "SIGKILL", "memory ran out")


def check_settings(wanted: Mapping[str, Any], found: Mapping[str, Any], where: str) -> None:
    """Refuse a backend that is not set as the device file says: beside another that is, its figures say nothing.

    Raises:
        DeploymentError: naming what differs.
    """
    differing = {key: found.get(key, "not said") for key, value in wanted.items() if found.get(key) != value}
    if differing:
        raise DeploymentError(
            "the backend is not set as the device file says, so that it cannot be compared with others",
            wanted=_pairs({key: wanted[key] for key in differing}),
            found=_pairs(differing),
            where=where,
            hint="set in the device file what each of its backends can do on this CPU, or take this one off its list",
        )


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {str(value).lower()}" for key, value in values.items())


@dataclass
class Deployer:
    """Deployments of one cell.

    Once an agent died, hung or sent garbage, every later use of the cell raises the same error again: each test says
    why the cell failed, and none waits for a hanging device a second time.

    Attributes:
        tainted: told what of the cell's bundle was found damaged on the device, entry -> what is wrong.
        begun: whether a process of the cell was loaded.
    """

    cell: Cell
    board: Board
    bundle: Bundle
    timeouts: Timeouts
    device_time: DeviceTime
    live: Deployment | None = None
    load: LoadReport | None = None
    failed: DeploymentError | None = None
    notes: list[str] = field(default_factory=list)
    tainted: Callable[[Mapping[str, str]], None] = lambda damaged: None
    begun: bool = False
    _verified_at: float = -math.inf
    _damage: str = ""  # of what the cell has used
    _said: set[str] = field(default_factory=set)  # kinds of line

    def shared(self) -> tuple[Deployment, LoadReport]:
        """The deployment that checks use in turn; a new one where it has been idle so long that it may end."""
        self.check()
        if self.live is None or self.load is None or not self.live.alive:
            return self.fresh()
        if time.monotonic() - self.live.last_used > IDLE_S:
            return self.fresh()
        return self.live, self.load

    def fresh(self) -> tuple[Deployment, LoadReport]:
        """A new process, loaded, its first inference done; the one before is ended.

        Where it cannot be loaded, and what is stored there proves to be damaged, that is sent again, and it is tried
        once more.

        Raises:
            DamagedError: it was damaged, and the cell has used it before.
            DeploymentError: it cannot be started or loaded; the cell has failed.
            LinkError: the board cannot be reached.
        """
        self.check()
        self.close()
        try:
            return self._start()
        except DeploymentError:
            if not (damage := self.damage()):
                raise
            if self.begun or self.board.snapshot.damage(again=False):
                raise self.damaged(damage) from None
            return self._start()

    def _start(self) -> tuple[Deployment, LoadReport]:
        where = f"{self.cell.file.name} on {self.cell.device.name}, backend {self.cell.backend.name}"
        with self.failures_kept(at_measured_sizes=True):
            self.board.put(self.bundle)
            began = host_clock()
            self.live = Deployment(
                self.board.start(self.bundle),
                where,
                self.timeouts,
                cause_of_death=self._cause_of_death,
                device_time=self.device_time,
                binding=self.bundle.binding,
                on_host=self.board.link.shares_files,
            )
            self._note_greeting(self.live.greeting)
            (inputs,) = prepared_measured_sets(self.cell.file, 1)
            settings, options = self.cell.device.settings, self.cell.options
            with self._sizes_named(inputs):
                operators = self.bundle.runtime.operators
                self.load = self.live.load(
                    self.bundle.entry, inputs, settings=settings, options=options, operators=operators
                )
            self.load = replace(self.load, host_s=host_clock() - began)
            check_settings(settings, self.load.settings, where)
        self.begun = True
        return self.live, self.load

    def damage(self) -> str:
        """Hash what the cell runs on once more, for something went wrong: say what is damaged, "" where nothing is.

        It has been removed, and is sent again at the next use. What was found whole a moment ago is taken as whole; a
        cell that has used what was damaged stays without a verdict, for who asked may have let the answer drop.
        """
        if self._damage:
            return self._damage
        if time.monotonic() - self._verified_at < WHOLE_S:
            return ""
        self.close()
        try:
            damaged = self.board.verify(self.bundle)
        except HilgateError as error:
            self._note(f"what is stored there could not be hashed again: {error.what}")
            return ""
        if not damaged:
            self._verified_at = time.monotonic()
            return ""
        self.failed = None
        said = self.board.notes[-1]
        self._damage = said if self.begun else ""
        self._note(said)
        self.tainted(damaged)
        return said

    def damaged(self, damage: str) -> DamagedError:
        """What to raise where something was measured or answered with what is damaged."""
        where = f"{self.cell.device.name} ({self.cell.device.path})"
        hint = "run it again: what was damaged is sent again. If it comes back, replace the board's memory card"
        what = f"nothing can be said of {self.cell.id}: it ran on a file that was damaged"
        return DamagedError(what, found=damage, where=where, hint=hint)

    @contextmanager
    def _sizes_named(self, inputs: Inputs) -> Iterator[None]:
        """A block whose AgentFailure says the sizes: an export may hold those of its example, and take no others."""
        try:
            yield
        except AgentFailure as error:
            model = self.cell.file.model
            measured, traced = at_sizes(model.measure), at_sizes(traced_sizes(model))
            given = model.files.get(self.cell.backend.artifact, "")
            loaded = f"{given}, which is given," if given else "the artifact"
            error.wanted = f"{loaded} loaded, and one inference{measured} ({describe(inputs)})"
            artifact = self.bundle.files[self.bundle.entry].source if self.bundle.entry else None
            if known := next_step(error.found, self.cell.backend, artifact, model.imports, str(given)):
                error.hint = known
            elif given:
                error.hint = "see whether the runtime of that version opens the file by itself, with such an input"
            elif measured != traced:
                error.hint = (
                    f"if it is the shape that is refused: the export's example was{traced}; look in forward for "
                )
                error.hint += "what keeps its sizes (int(), a Python if, a table made once)"
            raise

    @contextmanager
    def failures_kept(self, *, at_measured_sizes: bool = False) -> Iterator[None]:
        """A block whose DeploymentError ends the cell; what a loaded model merely refuses does not.

        Args:
            at_measured_sizes: its inferences have the sizes that are measured: an error says which.
        """
        self.check()
        try:
            yield
        except DeploymentError as error:
            if ends := not (isinstance(error, AgentFailure) and self.load is not None):
                self._check_stored()
            if at_measured_sizes:
                self._add_sizes(error)
            if ends:
                self.failed = error
            raise

    def _check_stored(self) -> None:
        """Raise what says nothing of the model, where that is why something failed."""
        with suppress(LinkError, DeploymentError):
            self.board.check_stored(self.bundle)

    def result_name(self) -> str:
        """A name under which an agent keeps a reply that may be lost."""
        return self.board.result_name()

    def collect(self, name: str) -> Frame | None:
        """What an agent kept under a name when the connection dropped; None where it kept nothing of use.

        Raises:
            LinkError: the board cannot be reached any more.
        """
        content = self.board.collect(name, self.timeouts.call_s)
        if content is None:
            return None
        stream = io.BytesIO(content)

        def read(size: int) -> bytes:
            if len(data := stream.read(size)) < size:
                raise FrameError("it was cut short")
            return data

        try:
            frame = read_frame(read, limits=of_device(KEPT, tensors=1))
        except FrameError as error:
            self._note(f"what the agent kept when the connection dropped cannot be used: {error}")
            return None
        return None if "error" in frame.header else frame

    def close(self) -> None:
        """End the live deployment, if there is one."""
        if self.live is not None:
            ended = self.live.alive  # of one that died, the error quotes it
            self.live.close()
            if ended:
                self._note_messages(self.live.channel.stderr_tail())
        self.live = self.load = None

    def _add_sizes(self, error: DeploymentError) -> None:
        """Say at which sizes it was, and, where memory or time ran out, that others can be chosen."""
        sizes = describe_sizes(self.cell.file.model.measure)
        if not sizes or sizes in error.where or sizes in error.wanted:
            return
        error.where = f"{error.where}, at {sizes}" if error.where else f"at {sizes}"
        ran_out = isinstance(error, AgentTimeout) or any(sign in error.found for sign in OUT_OF_MEMORY)
        if ran_out:
            error.hint = "; ".join(filter(None, [error.hint, "Model(measure={…}) chooses other sizes"]))

    def _cause_of_death(self, pid: int, status: int, said: str) -> Death | None:
        return self.board.cause_of_death(pid, status, said, self.bundle.runtime.packages)

    def check(self) -> None:
        """Raise what ended the cell, if anything did."""
        if self.failed is not None:
            raise self.failed

    def _note_greeting(self, greeting: str) -> None:
        for note in self.board.notes:
            self._note(note)
        if greeting:
            self._note(f"something was printed before the agent's first frame: {greeting[:200]!r}")

    def _note_messages(self, text: str) -> None:
        """Of all processes of a cell the first few kinds of line: each says the same."""
        for kind, line in distinct_lines(text, without=MARK).items():
            if kind not in self._said:
                self._said.add(kind)
                if len(self._said) <= MOST:
                    self._note(f"the runtime wrote to stderr: {line}")
                elif len(self._said) == MOST + 1:
                    self._note(f"the runtime wrote more than {MOST} kinds of line to stderr")

    def _note(self, note: str) -> None:
        if note not in self.notes:  # every process of the cell is greeted alike
            self.notes.append(note)
