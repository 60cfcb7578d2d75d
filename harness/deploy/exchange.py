"""One agent process and its frames: a request, its reply, and the error where none comes.

Whatever comes from the process is checked here, before anything else sees it (see harness.protocol): a reply that is
wrong, larger than was asked for, or late ends the process.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from ..agent.frames import Array, Frame, encode, read_frame
from ..agent.illegal import MARK
from ..agent.wire import FrameError, Limits
from ..errors import (
    AgentDied,
    AgentFailure,
    AgentSilent,
    AgentTimeout,
    DeploymentError,
    InputFailure,
    LinkLost,
    ProtocolError,
    RemoteError,
)
from ..host.exit_cause import ExitCause, describe_status
from ..links import GREETING_ALLOWED, Channel, ChannelClosed, stderr_of
from ..protocol import agent, asked, parse
from .call import Call, host_clock

D = TypeVar("D", bound=DeploymentError)

# Inputs travel in calls that should take no longer than this, by the pace of the previous call.
CALL_S = 10.0
# A call of many sets that takes this many times CALL_S counts as a hang.
SLOWER = 10.0
# The link's own share, beyond what the device may take.
GRACE_S = 10.0
END_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Timeouts:
    """How long calls may take, in seconds.

    Attributes:
        start_s: until the agent greets.
        load_s: loading; it ends with an inference, and is never given less than ``call_s``.
        call_s: any other call of one inference.
    """

    start_s: float = 60.0
    load_s: float = 600.0
    call_s: float = 300.0

    def infer_s(self, sets: int) -> float:
        """Return how long a call of many inferences may take: what each may, as long as a hang is still noticed."""
        return min(sets * self.call_s, self.call_s + SLOWER * CALL_S)


@dataclass(frozen=True)
class Reply:
    """A reply: the answer, checked, and its tensors."""

    answer: Any
    tensors: list[Array]


def nothing_known(pid: int, status: int, stderr_tail: str) -> ExitCause | None:
    """Know no cause of any process's end; see Exchange.exit_cause."""
    return None


@dataclass(kw_only=True)
class Exchange:
    """One agent process and its frames; what a run asks of it is in deployment.

    Any DeploymentError but AgentFailure, InputFailure and RemoteError ends it: the process is gone, or has been killed.
    So does a LinkLost: nothing is known of the process then.

    Attributes:
        channel: the process.
        where: which cell and device it is, for errors.
        timeouts: how long each kind of call may take.
        on_host: whether it is a process of this machine, so that what travels takes no time to speak of.
        exit_cause: asked with the agent's process id, its status and the end of its stderr; None where nobody knows
            more.
        greeting: what a chatty login shell printed before the agent's first frame.
        alive: whether the process can still be asked.
        last_used: when it answered last, in time.monotonic()'s seconds.
        last_call: the last call that was answered, by both clocks.
        written: inputs that the model was seen to write into, by their names in the artifact.
    """

    channel: Channel
    where: str
    timeouts: Timeouts
    on_host: bool = False
    exit_cause: Callable[[int, int, str], ExitCause | None] = nothing_known
    greeting: str = ""
    alive: bool = True
    last_used: float = field(default_factory=time.monotonic)
    last_call: Call = field(default_factory=lambda: Call(math.inf, 0))
    written: tuple[str, ...] = ()
    _hello: agent.Hello | None = None

    @classmethod
    def open(
        cls,
        channel: Channel,
        where: str,
        timeouts: Timeouts,
        *,
        on_host: bool = False,
        exit_cause: Callable[[int, int, str], ExitCause | None] = nothing_known,
    ) -> Self:
        """Wait for the greeting of an agent that was started on a channel.

        Args:
            channel: the process.
            where: which cell and device it is, for errors.
            timeouts: how long each kind of call may take.
            on_host: whether it is a process of this machine.
            exit_cause: see the class.

        Raises:
            DeploymentError: the agent does not greet; it is ended.
            LinkLost: the connection dropped.
        """
        exchange = cls(channel=channel, where=where, timeouts=timeouts, on_host=on_host, exit_cause=exit_cause)
        start_s = timeouts.start_s
        deadline = time.monotonic() + start_s
        frame = exchange._receive(start_s, "start", asked.NOTHING, deadline, skip=GREETING_ALLOWED)
        exchange.greeting = frame.skipped.decode("utf-8", "replace")
        exchange._hello = exchange._parsed(agent.Hello, frame, "start")
        return exchange

    @property
    def hello(self) -> agent.Hello:
        """What the agent said of itself when it started.

        Raises:
            AgentDied: it has not greeted.
        """
        if self._hello is None:
            raise AgentDied("the agent has not greeted", where=self.where)
        return self._hello

    def call(self, header: dict[str, Any], tensors: Sequence[Array], limit_s: float, limits: Limits) -> Reply:
        """Ask for an operation, and wait for the answer up to a deadline that nothing puts off.

        Args:
            header: the request: "op" and the operation's own keys.
            tensors: what travels with it.
            limit_s: how long the device may take, in seconds; the link gets GRACE_S beside it.
            limits: how large the reply may be.

        Raises:
            AgentFailure: the operation failed on the device.
            InputFailure: what was to be its input could not be made there.
            RemoteError: its call to another computer failed, each time that it was made.
            DeploymentError: the process is gone, or was ended, for it hung or sent what is no answer.
        """
        if not self.alive:
            raise AgentDied("the deployment has ended", where=self.where)
        operation, began = header["op"], host_clock()
        deadline = time.monotonic() + limit_s + GRACE_S  # for both ways: a board may take the request slowly, too
        self._send(header, tensors, limit_s, deadline)
        frame = self._receive(limit_s, operation, limits, deadline)
        self.last_used = time.monotonic()
        if "error" in frame.header:
            raise self._refusal(operation, self._parsed(agent.Refusal, frame, operation))
        answer = self._parsed(agent.ANSWERS.get(operation, agent.Done), frame, operation)
        travelled = 0 if self.on_host else sum(tensor.nbytes for tensor in (*tensors, *frame.tensors))
        self.last_call = Call(host_clock() - began, getattr(answer, "elapsed_ns", None), travelled)
        if answer.written is not None:
            self.written = answer.written
        return Reply(answer, frame.tensors)

    def close(self) -> None:
        """End the agent. Never raises."""
        if self.alive:
            self.alive = False
            with contextlib.suppress(LinkLost):
                self.channel.finish(END_PATIENCE_S)

    def _send(self, header: dict[str, Any], tensors: Sequence[Array], limit_s: float, deadline: float) -> None:
        try:
            for part in encode({**header, "limit_s": int(limit_s) + 1}, tensors):
                self.channel.send(part, deadline)
        except ChannelClosed:
            pass  # it has died; what it may have sent before is read next
        except TimeoutError:
            raise self._timed_out(header["op"], limit_s) from None
        except LinkLost as lost:
            raise self._lost(header["op"], lost) from lost

    def _receive(self, limit_s: float, operation: str, limits: Limits, deadline: float, *, skip: int = 0) -> Frame:
        try:
            return read_frame(lambda size: self.channel.receive(size, deadline), skip=skip, limits=limits)
        except ChannelClosed:
            raise self._died(operation, limit_s) from None
        except TimeoutError:
            raise self._timed_out(operation, limit_s) from None
        except LinkLost as lost:
            raise self._lost(operation, lost) from lost
        except FrameError as error:
            what = f"what the agent sent in reply to {operation!r} is no frame that was asked for"
            hint = "if the model's outputs are that large, choose smaller sizes: Model(measure=…, dims=…)"
            raise self.end_broken(ProtocolError, what, found=str(error), hint=hint) from error

    def _parsed(self, schema: type[agent.A], frame: Frame, operation: str) -> agent.A:
        try:
            return parse(schema, frame.header, to=operation, where=self.where)
        except ProtocolError as error:
            self._end()
            raise error from None

    def _refusal(self, operation: str, refusal: agent.Refusal) -> DeploymentError:
        if refusal.input:
            what = "the device cannot make an input that was asked for"
            return InputFailure(what, found=refusal.error, where=self.where)
        if refusal.remote:
            what = f"the call to the computer that serves the model failed during {operation!r}: {refusal.remote}"
            return RemoteError(what, kind=refusal.remote, found=refusal.error, where=self.where)
        error = AgentFailure(f"{operation} failed on the device", found=refusal.error, where=self.where)
        error.add_note("on the device:\n" + refusal.traceback)
        return error

    def _lost(self, operation: str, error: LinkLost) -> LinkLost:
        self.alive = False
        self.channel.finish(0)
        return LinkLost(f"the connection dropped during {operation!r}", found=error.found, where=self.where)

    def _died(self, operation: str, limit_s: float) -> DeploymentError:
        self.alive = False
        status = self.channel.finish(END_PATIENCE_S)
        if status == -signal.SIGALRM:  # the agent's own watchdog goes off before the host's patience ends
            return self._timed_out(operation, limit_s, describe_status(status), AgentTimeout)
        cause = None
        if self._hello is not None and status is not None:
            cause = self.exit_cause(self._hello.pid, status, self.channel.stderr_tail())
        cause = cause or ExitCause(describe_status(status))
        # Lines with MARK are for the harness: the cause has said it in other words.
        found = f"{cause.found}; {stderr_of(self.channel, without=MARK)}"
        return AgentDied(f"the agent died during {operation!r}", found=found, where=self.where, hint=cause.hint)

    def _timed_out(
        self, operation: str, limit_s: float, found: str = "nothing", kind: type[AgentTimeout] = AgentSilent
    ) -> DeploymentError:
        what = f"the agent did not answer {operation!r} in {limit_s:.0f} s and was killed"
        hint = "if the model really is that slow, give it more: --time-limit SECONDS"
        return self.end_broken(kind, what, found=found, hint=hint)

    def end_broken(self, kind: type[D], what: str, *, found: str, hint: str = "") -> D:
        """End a process whose reply is wrong or does not come, and return the error that says so.

        Args:
            kind: the error's type.
            what: what went wrong.
            found: what was found; the end of the process's stderr is added.
            hint: what to do about it.
        """
        self._end()
        return kind(what, found=f"{found}; {stderr_of(self.channel)}", where=self.where, hint=hint)

    def _end(self) -> None:
        if self.alive:
            self.alive = False
            self.channel.finish(0)
