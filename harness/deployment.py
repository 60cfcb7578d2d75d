"""Deployments: a bundle running on a device. It infers, and it measures itself with the device's own clock."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .agent.frames import Array, Frame, encode, read_frame
from .agent.illegal import MARK
from .agent.wire import FrameError
from .call import Call, host_clock
from .death import Death, describe_status
from .errors import (
    AgentDied,
    AgentFailure,
    AgentSilent,
    AgentTimeout,
    DeploymentError,
    InputFailure,
    LinkLost,
    ProtocolError,
)
from .export.binding import Binding
from .feed import Feed, Inputs, sent
from .links import GREETING_ALLOWED, Channel, ChannelClosed, stderr_of

# Inputs travel in calls of at most so many bytes: neither side holds more than that twice.
CALL_BYTES = 1 << 26
# Sets go in one call only so many that it should take no longer than this, by the pace of the call before.
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
class LoadReport:
    """What loading took, as the agent measured it on the device.

    Attributes:
        load_ns: from the process's start to the first inference done, without waiting for the host.
        memory_kib: the peak resident set after each step: before_runtime, runtime, model, first.
        outputs: the outputs' names.
        runtime: versions.
        settings: what was really set, such as threads.
        first: the outputs of the first inference.
        first_ns: what the first inference took.
        call: the call that loaded, by both clocks.
        host_s: from before the process was started until this came, by the host's clock.
    """

    load_ns: int
    memory_kib: Mapping[str, int]
    outputs: tuple[str, ...]
    runtime: Mapping[str, str]
    settings: Mapping[str, Any]
    first: tuple[Array, ...]
    first_ns: int = 0
    call: Call | None = None
    host_s: float = math.inf


@dataclass
class DeviceTime:
    """How much of a run the device spent loading and inferring: the rest is what the harness adds.

    Attributes:
        busy_s: what it took for the calls of a search, making the inputs included.
    """

    seconds: float = 0.0
    busy_s: float = 0.0


@dataclass
class Deployment:
    """One agent process with one artifact.

    Any DeploymentError but AgentFailure and InputFailure ends it: the process is gone, or has been killed. So does a
    LinkLost: nothing is known of it then. Use as a context manager.
    """

    channel: Channel
    where: str
    timeouts: Timeouts = field(default_factory=Timeouts)
    device_time: DeviceTime = field(default_factory=DeviceTime)
    hello: Mapping[str, Any] = field(default_factory=dict)
    greeting: str = ""
    alive: bool = True
    last_used: float = field(default_factory=time.monotonic)
    # The last call that was answered, by both clocks.
    last_call: Call = field(default_factory=lambda: Call(math.inf, 0))
    # Inputs that the model was seen to write into, by their names.
    written: tuple[str, ...] = ()
    # Of an artifact whose inputs and outputs are not called and ordered as the model's: all that is said here is as the
    # model has it, all that the agent is told as the artifact has it.
    binding: Binding | None = None
    # Asked with the agent's process id, its status and the end of its stderr; None where nobody knows more.
    cause_of_death: Callable[[int, int, str], Death | None] = lambda pid, status, said: None
    # What one set of inputs took the device in the last call of such shapes, in seconds.
    _pace: tuple[list[tuple[int, ...]], float] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        frame = self._receive(self.timeouts.start_s, "start", grace_s=0, skip=GREETING_ALLOWED)
        self.hello = frame.header
        self.greeting = frame.skipped.decode("utf-8", "replace")
        if frame.header.get("hello") != "hilgate":
            raise self._broken(ProtocolError, "something else than our agent answered", found=repr(frame.header))

    def load(
        self,
        entry: str,
        inputs: Inputs,
        *,
        settings: Mapping[str, Any],
        options: Mapping[str, Any],
        operators: Sequence[str] = (),
    ) -> LoadReport:
        """Import the runtime, load the artifact, infer once.

        Args:
            settings: what every backend sets alike; see Device.settings.
            options: the backend's own.
            operators: what registers operators first; see Runtime.

        Raises:
            AgentFailure: the runtime refused; its reason is in the message.
            DeploymentError: the agent died, hung or sent garbage.
        """
        start = time.perf_counter()
        header = {"op": "load", "artifact": entry, **settings, "options": dict(options), "inputs": [*inputs]}
        if operators:
            header["operators"] = list(operators)
        reply = self._call(header, [*inputs.values()], max(self.timeouts.load_s, self.timeouts.call_s))
        self.device_time.seconds += time.perf_counter() - start
        said, names, first = reply.header, list(reply.header["outputs"]), reply.tensors
        if self.binding is not None:
            names, first = [pair.model for pair in self.binding.outputs], self.binding.outputs_of(first)
        return LoadReport(
            said["load_ns"],
            said["memory_kib"],
            tuple(names),
            said["runtime"],
            said["settings"],
            tuple(first),
            said["first_ns"],
            self.last_call,
        )

    def infer(self, sets: Sequence[Inputs]) -> list[list[Array]]:
        """Outputs, in the order of the load report's names, for each set of inputs."""
        outputs: list[list[Array]] = []
        while len(outputs) < len(sets):
            chunk = sets[len(outputs) : len(outputs) + self._chunk_size(sets[len(outputs)], len(sets))]
            tensors = [array for inputs in chunk for array in inputs.values()]
            reply = self._call({"op": "infer"}, tensors, self.timeouts.infer_s(len(chunk)))
            self.device_time.seconds += reply.header["inference_ns"] / 1e9
            self.device_time.busy_s += reply.header["elapsed_ns"] / 1e9
            if len(sets) > 1:
                self._pace = _shapes(chunk[0]), reply.header["elapsed_ns"] / 1e9 / len(chunk)
            outputs += self._cut(reply.tensors, len(chunk))
        return outputs

    def infer_fills(self, sets: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Array]]:
        """The same for inputs that the device makes itself, in one call.

        Args:
            sets: for each set of inputs a fill for each of them; see harness.agent.expand.

        Raises:
            AgentFailure: the backend refuses one of them.
            InputFailure: one cannot be made there.
            DeploymentError: the agent died, hung or sent garbage.
        """
        header = {"op": "infer", "fills": [[dict(fill) for fill in fills] for fills in sets]}
        reply = self._call(header, [], self.timeouts.infer_s(len(sets)))
        self.device_time.seconds += reply.header["inference_ns"] / 1e9
        self.device_time.busy_s += reply.header["elapsed_ns"] / 1e9
        return self._cut(reply.tensors, len(sets))

    def _cut(self, tensors: list[Array], sets: int) -> list[list[Array]]:
        width, rest = divmod(len(tensors), sets)
        if rest:
            found = f"{len(tensors)} tensors for {sets} sets of inputs"
            raise self._broken(ProtocolError, "the agent's outputs do not fit what it was asked", found=found)
        outputs = [tensors[index * width : (index + 1) * width] for index in range(sets)]
        return [self.binding.outputs_of(each) for each in outputs] if self.binding is not None else outputs

    def keep(self, sets: Sequence[Inputs]) -> None:
        """Have the device keep sets of inputs, in place of those before: what a fill's "base" chooses from."""
        self._call({"op": "keep"}, [array for inputs in sets for array in inputs.values()], self.timeouts.call_s)

    def _chunk_size(self, inputs: Inputs, sets: int) -> int:
        """How many sets like this one go into the next call: one, until it is known how long that takes."""
        if sets == 1 or self._pace is None or self._pace[0] != _shapes(inputs):
            return 1
        size = sum(array.nbytes for array in inputs.values())
        return max(min(CALL_BYTES // max(size, 1), int(CALL_S / max(self._pace[1], 1e-9))), 1)

    def warm_up(self, feed: Feed | Sequence[Inputs], budget_s: float) -> dict[str, Any]:
        """Infer until it no longer gets faster; see Operations.op_warm_up for what is returned.

        Args:
            feed: where its inputs come from; or sets of them, which are taken in turn.
        """
        feed = feed if isinstance(feed, Feed) else sent(feed)
        header = {"op": "warm_up", "budget_ns": int(budget_s * 1e9), **feed.header}
        said = self._call(header, feed.tensors, budget_s + self.timeouts.call_s).header
        # Not its whole time less what making takes: each set is made once and used several times, and a short warm-up
        # came out below 0.
        self.device_time.seconds += said["median_ns"] * said["iterations"] / 1e9
        return said

    def measure(
        self, feed: Feed | Sequence[Inputs], samples: int, budget_s: float, keep: str = ""
    ) -> tuple[Array, dict[str, Any]]:
        """Durations of inferences in nanoseconds, int64[at most samples], and the device's state before and after.

        As the device reports them: whoever uses them looks whether they can be true (harness.measure.plausibility).

        Args:
            feed: where its inputs come from; or sets of them, which are taken in turn.
            keep: under this name the agent keeps the reply, until the next request shows that it has arrived.
        """
        feed = feed if isinstance(feed, Feed) else sent(feed)
        header = {"op": "measure", "samples": samples, "budget_ns": int(budget_s * 1e9), "keep": keep, **feed.header}
        return self.measured(self._call(header, feed.tensors, budget_s + self.timeouts.call_s))

    def measured(self, reply: Frame) -> tuple[Array, dict[str, Any]]:
        """What measure returns, from its reply: also from one that was kept on the device, and collected."""
        self.device_time.seconds += (reply.header["elapsed_ns"] - reply.header["making_ns"]) / 1e9
        return reply.tensors[0] if reply.tensors else np.empty(0, np.int64), reply.header

    def profile(self, sets: Sequence[Inputs], count: int) -> list[dict[str, Any]]:
        """Which operators cost what: "operator", "name", "calls", "ns" of an inference, by the runtime over so many."""
        tensors = [array for inputs in sets for array in inputs.values()]
        limit_s = self.timeouts.load_s + self.timeouts.infer_s(count)  # ONNX Runtime loads the model anew for it
        operators: list[dict[str, Any]] = self._call({"op": "profile", "count": count}, tensors, limit_s).header[
            "operators"
        ]
        return operators

    def memory_kib(self) -> dict[str, int]:
        """The agent's memory now: "peak", "resident" and "swapped", in KiB."""
        found: dict[str, int] = self._call({"op": "memory"}, [], self.timeouts.start_s).header["memory_kib"]
        return found

    def echo(self, sets: Sequence[Inputs]) -> list[Array]:
        """Send tensors there and back: to measure the link."""
        return self._call({"op": "echo"}, [array for inputs in sets for array in inputs.values()], 60).tensors

    def close(self) -> None:
        """End the agent; never raises."""
        if self.alive:
            self.alive = False
            with contextlib.suppress(LinkLost):
                self.channel.finish(END_PATIENCE_S)

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, header: dict[str, Any], tensors: Sequence[Array], limit_s: float) -> Frame:
        operation = header["op"]
        if self.binding is not None and operation != "echo":
            header, tensors = self.binding.request(header, tensors)
        if not self.alive:
            raise AgentDied("the deployment has ended", where=self.where)
        deadline, began = time.monotonic() + limit_s + GRACE_S, host_clock()
        try:
            for part in encode({**header, "limit_s": int(limit_s) + 1}, tensors):
                self.channel.send(part, deadline)
        except ChannelClosed:
            pass  # it has died; what it may have said before is still to be read
        except TimeoutError:
            raise self._timed_out(operation, limit_s) from None
        except LinkLost as lost:
            raise self._lost(operation, lost) from lost
        reply = self._receive(limit_s, operation)
        self.last_used = time.monotonic()
        travelled = sum(tensor.nbytes for tensor in (*tensors, *reply.tensors))
        self.last_call = Call(host_clock() - began, reply.header.get("elapsed_ns"), travelled)
        if (written := reply.header.get("written")) is not None:
            self.written = tuple(self.binding.models_names(written) if self.binding is not None else written)
        if reply.header.get("input"):
            what, found = "the device cannot make an input that was asked for", str(reply.header["error"])
            raise InputFailure(what, found=found, where=self.where)
        if "error" in reply.header:
            error = AgentFailure(f"{operation} failed on the device", found=reply.header["error"], where=self.where)
            error.add_note("on the device:\n" + reply.header.get("traceback", ""))
            raise error
        return reply

    def _receive(self, limit_s: float, operation: str, *, grace_s: float = GRACE_S, skip: int = 0) -> Frame:
        deadline = time.monotonic() + limit_s + grace_s
        try:
            return read_frame(lambda size: self.channel.receive(size, deadline), skip=skip)
        except ChannelClosed:
            raise self._died(operation, limit_s) from None
        except TimeoutError:
            raise self._timed_out(operation, limit_s) from None
        except LinkLost as lost:
            raise self._lost(operation, lost) from lost
        except FrameError as error:
            raise self._broken(ProtocolError, "the agent's output is not a frame", found=str(error)) from error

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
        if "pid" in self.hello and status is not None:
            cause = self.cause_of_death(self.hello["pid"], status, self.channel.stderr_tail())
        death = cause or Death(describe_status(status))
        # What it said for the harness stands in other words in front.
        found = f"{death.found}; {stderr_of(self.channel, without=MARK)}"
        return AgentDied(f"the agent died during {operation!r}", found=found, where=self.where, hint=death.hint)

    def _timed_out(
        self, operation: str, limit_s: float, found: str = "nothing", kind: type[AgentTimeout] = AgentSilent
    ) -> DeploymentError:
        what = f"the agent did not answer {operation!r} in {limit_s:.0f} s and was killed"
        hint = "if the model really is that slow, give it more: --time-limit SECONDS"
        return self._broken(kind, what, found=found, hint=hint)

    def _broken(self, kind: type[DeploymentError], what: str, *, found: str, hint: str = "") -> DeploymentError:
        if self.alive:
            self.alive = False
            self.channel.finish(0)
        return kind(what, found=f"{found}; {stderr_of(self.channel)}", where=self.where, hint=hint)


def _shapes(inputs: Inputs) -> list[tuple[int, ...]]:
    return [array.shape for array in inputs.values()]
