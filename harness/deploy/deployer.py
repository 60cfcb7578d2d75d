"""Starts the processes of one cell: one at a time, because a small board has no room for two."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ..agent.frames import Frame, read_frame
from ..agent.remote.credentials import Credentials
from ..agent.wire import FrameError
from ..board import Board
from ..bundle import Bundle
from ..cell import Cell
from ..errors import AgentFailure, DamagedError, DeploymentError, HilgateError, LinkError, RemoteError
from ..host.exit_cause import ExitCause
from ..model.prepare import prepared_measured_sets
from ..protocol.asked import KEPT, MEASURED_TENSORS, of_device
from .call import host_clock
from .deployment import Deployment, DeviceTime, LoadReport, Timeouts
from .explaining import add_sizes, check_settings, damaged_error, explain_refusal
from .messages import Messages
from .packet_loss import PacketLoss

# Half of the time after which an agent that is asked nothing ends by itself.
IDLE_S = 900.0
# For so long what was found whole is taken as whole: several checks of a cell may fail, and a runtime is a gigabyte.
WHOLE_S = 300.0


@dataclass(kw_only=True)
class Deployer:
    """The deployments of one cell.

    Once an agent has died, hung or sent garbage, every later use of the cell raises the same error again: each test
    says why the cell failed, and none waits for a hanging device a second time.

    Attributes:
        cell: the cell.
        board: its device.
        bundle: what is put there and started.
        timeouts: how long each kind of call may take.
        device_time: adds up what the device took, over all cells of a run.
        live: the deployment that checks use in turn, if one is running.
        load: what loading it took.
        failed: what ended the cell.
        notes: what was out of the ordinary, for the evidence.
        tainted: called with what of the bundle was found damaged on the device: entry -> what is wrong.
        begun: whether a process of the cell was loaded.
        loaded: called once, when the first one was.
        credentials: returns what its processes sign calls with, which last for a while; None of a backend that signs
            none.
        reachable: makes sure that what its processes call can be reached, or raises why not.
        loss: the packets that are lost on the way there, while a process is; None for none.
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
    loaded: Callable[[LoadReport], None] = lambda load: None
    credentials: Callable[[], Credentials] | None = None
    reachable: Callable[[], None] = lambda: None
    loss: PacketLoss | None = None
    _verified_at: float = -math.inf
    _side: str = ""
    _damage: str = ""  # found in files that the cell had used
    _messages: Messages = field(default_factory=Messages)

    def shared(self) -> tuple[Deployment, LoadReport]:
        """Return the deployment that checks use in turn; a new one where it has been idle so long that it may end."""
        self.check()
        if self.live is None or self.load is None or not self.live.alive:
            return self.fresh()
        if time.monotonic() - self.live.last_used > IDLE_S:
            return self.fresh()
        return self.live, self.load

    def fresh(self) -> tuple[Deployment, LoadReport]:
        """Start a new process, loaded, its first inference done; the one before is ended.

        Where it cannot be loaded because what is stored there proves to be damaged, that is sent again, and loading is
        tried once more.

        Raises:
            DamagedError: it was damaged, and the cell has used it before.
            RemoteError: the computer that serves the model did not answer while it was loaded.
            DeploymentError: it cannot be started or loaded; the cell has failed.
            LinkError: the board cannot be reached.
        """
        self.check()
        self.close()
        try:
            return self._start()
        except RemoteError:
            raise
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
            self.live = Deployment.start(
                self.board.start(self.bundle),
                where,
                self.timeouts,
                on_host=self.board.link.shares_files,
                exit_cause=self._exit_cause,
                device_time=self.device_time,
                binding=self.bundle.binding,
            )
            self.live.session.side = self._side
            self._note_greeting(self.live.greeting)
            self.reachable()  # the connection may have been made anew
            if self.loss is not None:
                self.loss.begin()
            if self.credentials is not None:
                self.live.use_credentials(self.credentials)
            if self.cell.network is not None and self.cell.network.is_shaping:
                self.live.shape(self.cell.network)
            (inputs,) = prepared_measured_sets(self.cell.file, 1)
            settings = self.cell.device.settings
            with explain_refusal(self.cell, self.bundle, inputs):
                loaded = self.live.load(
                    self.bundle.entry,
                    inputs,
                    settings=settings,
                    options=self.cell.options,
                    operators=self.bundle.runtime.operators,
                    fallback=self._fallback(),
                )
            self.load = replace(loaded, host_s=host_clock() - began)
            if not self.cell.backend.remote or self.cell.fallback is not None:  # another computer is set by others
                check_settings(settings, self.load.settings, where)
        if not self.begun:
            self.loaded(self.load)
        self.begun = True
        return self.live, self.load

    def _fallback(self) -> dict[str, Any] | None:
        """Return what the agent is to load beside the client; None without a fallback."""
        if self.cell.fallback is None:
            return None
        artifact, options = self.bundle.fallback_entry, self.cell.fallback_options
        return {"artifact": artifact, "options": options, "name": self.cell.fallback.name}

    @contextmanager
    def asking(self, side: str) -> Iterator[None]:
        """Have inferences of a block answered by one side alone, in the process that is live and in those to come.

        Args:
            side: of a cell with a fallback; see harness.agent.sides.
        """
        self._ask_side(side)
        try:
            yield
        finally:
            self._ask_side("")

    def _ask_side(self, side: str) -> None:
        self._side = side
        if self.live is not None:
            self.live.session.side = side

    def damage(self) -> str:
        """Hash what the cell runs on again, because something went wrong; return what is damaged, "" where nothing is.

        What is damaged has been removed, and is sent again at the next use. What was found whole within WHOLE_S is
        taken as whole. A cell that has used a damaged file stays without a verdict, also when this is asked again: the
        first answer may have been dropped.
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
        damage = self.board.notes[-1]
        self._damage = damage if self.begun else ""
        self._note(damage)
        self.tainted(damaged)
        return damage

    def damaged(self, damage: str) -> DamagedError:
        """Build the error to raise where something was measured, or answered, with a damaged file."""
        return damaged_error(self.cell, damage)

    @contextmanager
    def failures_kept(self, *, at_measured_sizes: bool = False) -> Iterator[None]:
        """Let a DeploymentError of a block end the cell; a request that a loaded model merely refuses does not.

        Nor does a call to another computer that failed: the next one may be answered.

        Args:
            at_measured_sizes: the block's inferences have the sizes that are measured: an error says which.
        """
        self.check()
        try:
            yield
        except DeploymentError as error:
            is_refusal = isinstance(error, AgentFailure) and self.load is not None
            if isinstance(error, RemoteError):
                raise
            if ends := not is_refusal:
                self._check_stored()
            if at_measured_sizes:
                add_sizes(error, self.cell.file.model)
            if ends:
                self.failed = error
            raise

    def _check_stored(self) -> None:
        """Raise in its place the error that explains a failure by what somebody removed from the board's store."""
        with suppress(LinkError, DeploymentError):
            self.board.check_stored(self.bundle)

    def result_name(self) -> str:
        """Return a fresh name under which the agent saves a reply, in case the connection drops."""
        return self.board.result_name()

    def collect(self, name: str) -> Frame | None:
        """Fetch the reply that an agent kept when the connection dropped; None where it kept none that is whole.

        Args:
            name: the name under which it was to keep it.

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
            frame = read_frame(read, limits=of_device(KEPT, tensors=MEASURED_TENSORS))
        except FrameError as error:
            self._note(f"what the agent kept when the connection dropped cannot be used: {error}")
            return None
        return None if "error" in frame.header else frame

    def close(self) -> None:
        """End the live deployment, if there is one."""
        if self.live is not None:
            was_alive = self.live.alive  # the error of one that died has quoted its stderr
            self.live.close()
            if repeated := ", ".join(f"{kind} {count}" for kind, count in self.live.repeated.items()):
                self._note(
                    f"calls that failed while a process was loaded, or asked for outputs, were repeated: {repeated}"
                )
            if was_alive:
                self._note_messages(self.live.stderr_tail())
        self.live = self.load = None
        if self.loss is not None:
            self.loss.end()

    def check(self) -> None:
        """Raise the error that ended the cell, if one did."""
        if self.failed is not None:
            raise self.failed

    def _exit_cause(self, pid: int, status: int, stderr_tail: str) -> ExitCause | None:
        return self.board.exit_cause(pid, status, stderr_tail, self.bundle.runtime.packages)

    def _note_greeting(self, greeting: str) -> None:
        for note in self.board.notes:
            self._note(note)
        if greeting:
            self._note(f"something was printed before the agent's first frame: {greeting[:200]!r}")

    def _note_messages(self, text: str) -> None:
        for note in self._messages.new_notes(text):
            self._note(note)

    def _note(self, note: str) -> None:
        if note not in self.notes:  # every process of the cell is greeted alike
            self.notes.append(note)
