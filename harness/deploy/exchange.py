"""One agent process and the frames that go to and fro: a request, its reply, and what is said where none comes.

Whatever comes from the process is checked here, before anything else sees it (see harness.protocol): a reply that is
wrong, or larger than was asked for, ends the process. So does one that does not come in time, whatever else comes.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
)
from ..host.death import Death, describe_status
from ..links import GREETING_ALLOWED, Channel, ChannelClosed, stderr_of
from ..protocol import agent, asked, parse
from .call import Call, host_clock

D = TypeVar("D", bound=DeploymentError)

# Inputs travel in calls that should take no longer than this, by the pace of the call before.
CALL_S = 10.0
# A call of many sets that takes so many times what it should is a hang.
SLOWER = 10.0
# Beyond what the device was allowed to take: the link's own share.
GRACE_S = 10.0
END_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds: for the first sign of the agent, for loading, for any other call of one inference.

    Loading ends with an inference: it is never given less than one.
    """

    start_s: float = 60.0
    load_s: float = 600.0
    call_s: float = 300.0

    def infer_s(self, sets: int) -> float:
        """For so many inferences in one call: what each may take, as long as a hang is still noticed."""
        return min(sets * self.call_s, self.call_s + SLOWER * CALL_S)


@dataclass(frozen=True)
class Reply:
    """What came back: the answer, checked, and its tensors."""

    answer: Any
    tensors: list[Array]


@dataclass
class Exchange:
    """See the module; what a run asks is in harness.deploy.deployment.

    Any DeploymentError but AgentFailure and InputFailure ends it: the process is gone, or has been killed. So does a
    LinkLost: nothing is known of it then.

    Attributes:
        on_host: whether it is a process of this machine, so that what travels takes no time to speak of.
        greeting: what a chatty login shell said before the agent's first frame.
        last_call: the last that was answered, by both clocks.
        written: inputs that the model was seen to write into, by their names in the artifact.
        cause_of_death: asked with the agent's process id, its status and the end of its stderr; None where nobody knows
            more.
    """

    channel: Channel
    where: str
    timeouts: Timeouts = field(default_factory=Timeouts)
    on_host: bool = False
    greeting: str = ""
    alive: bool = True
    last_used: float = field(default_factory=time.monotonic)
    last_call: Call = field(default_factory=lambda: Call(math.inf, 0))
    written: tuple[str, ...] = ()
    cause_of_death: Callable[[int, int, str], Death | None] = lambda pid, status, said: None
    hello: agent.Hello = field(init=False)

    def __post_init__(self) -> None:
        limits = asked.NOTHING
        start_s = self.timeouts.start_s
        frame = self._receive(start_s, "start", limits, time.monotonic() + start_s, skip=GREETING_ALLOWED)
        self.greeting = frame.skipped.decode("utf-8", "replace")
        self.hello = self._parsed(agent.Hello, frame, "start")

    def call(self, header: dict[str, Any], tensors: Sequence[Array], limit_s: float, limits: Limits) -> Reply:
        """Ask, and wait for the answer, for so long and for no more than that.

        Raises:
            AgentFailure: the operation failed on the device.
            InputFailure: what was to be its input could not be made there.
            DeploymentError: the process is gone, or was ended, for it hung or sent what is no answer.
        """
        if not self.alive:
            raise AgentDied("the deployment has ended", where=self.where)
        operation, began = header["op"], host_clock()
        deadline = time.monotonic() + limit_s + GRACE_S  # of both: a board may take the request slowly, too
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
        """End the agent; never raises."""
        if self.alive:
            self.alive = False
            with contextlib.suppress(LinkLost):
                self.channel.finish(END_PATIENCE_S)

    def _send(self, header: dict[str, Any], tensors: Sequence[Array], limit_s: float, deadline: float) -> None:
        try:
            for part in encode({**header, "limit_s": int(limit_s) + 1}, tensors):
                self.channel.send(part, deadline)
        except ChannelClosed:
            pass  # it has died; what it may have said before is still to be read
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
            raise self.broken(ProtocolError, what, found=str(error), hint=hint) from error

    def _parsed(self, schema: type[agent.A], frame: Frame, operation: str) -> agent.A:
        try:
            return parse(schema, frame.header, to=operation, where=self.where)
        except ProtocolError as error:
            self._end()
            raise error from None

    def _refusal(self, operation: str, said: agent.Refusal) -> DeploymentError:
        if said.input:
            what = "the device cannot make an input that was asked for"
            return InputFailure(what, found=said.error, where=self.where)
        error = AgentFailure(f"{operation} failed on the device", found=said.error, where=self.where)
        error.add_note("on the device:\n" + said.traceback)
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
        if hasattr(self, "hello") and status is not None:
            cause = self.cause_of_death(self.hello.pid, status, self.channel.stderr_tail())
        death = cause or Death(describe_status(status))
        # What it said for the harness stands in other words in front.
        found = f"{death.found}; {stderr_of(self.channel, without=MARK)}"
        return AgentDied(f"the agent died during {operation!r}", found=found, where=self.where, hint=death.hint)

    def _timed_out(
        self, operation: str, limit_s: float, found: str = "nothing", kind: type[AgentTimeout] = AgentSilent
    ) -> DeploymentError:
        what = f"the agent did not answer {operation!r} in {limit_s:.0f} s and was killed"
        hint = "if the model really is that slow, give it more: --time-limit SECONDS"
        return self.broken(kind, what, found=found, hint=hint)

    def broken(self, kind: type[D], what: str, *, found: str, hint: str = "") -> D:
        """End the process, and say why: what it sends is not to be believed, or does not come."""
        self._end()
        return kind(what, found=f"{found}; {stderr_of(self.channel)}", where=self.where, hint=hint)

    def _end(self) -> None:
        if self.alive:
            self.alive = False
            self.channel.finish(0)
