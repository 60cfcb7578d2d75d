"""Deployments: a bundle running on a device. It infers, and it measures itself with the device's own clock."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..agent.frames import Array, Frame
from ..agent.wire import Limits
from ..errors import DeploymentError, ProtocolError
from ..export.binding import Binding
from ..protocol import agent, asked, parse
from ..protocol.asked import Outputs, aligned_bytes
from ..protocol.border import HINT
from .call import Call
from .exchange import CALL_S, Exchange, Reply, Timeouts
from .feed import Feed, Inputs, bytes_of, fill_bytes, sent

__all__ = ["CALL_BYTES", "CALL_S", "Deployment", "DeviceTime", "LoadReport", "Timeouts"]

# Inputs travel in calls of at most so many bytes: neither side holds more than that twice.
CALL_BYTES = 1 << 26


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
class Deployment(Exchange):
    """One agent process with one artifact: what it is asked. Use as a context manager.

    Attributes:
        binding: of an artifact whose inputs and outputs are not called and ordered as the model's: all that is said
            here is as the model has it, all that the agent is told as the artifact has it.
    """

    device_time: DeviceTime = field(default_factory=DeviceTime)
    binding: Binding | None = None
    # What one set of inputs took the device in the last call of such shapes, in seconds.
    _pace: tuple[list[tuple[int, ...]], float] | None = field(default=None, init=False)
    _outputs: Outputs | None = field(default=None, init=False)
    _samples: int = field(default=0, init=False)  # of the last call that was measured

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
        limit_s, size = max(self.timeouts.load_s, self.timeouts.call_s), bytes_of(inputs)
        reply = self._call(header, [*inputs.values()], limit_s, asked.first_limits(size))
        self.device_time.seconds += time.perf_counter() - start
        said: agent.Loaded = reply.answer
        names, first = list(said.outputs), reply.tensors
        if len(names) != len(first):
            raise self._unfitting("load", f"{len(first)} tensors for the outputs {', '.join(names[:20])}")
        if self.binding is not None and not self.binding.fits(len(first)):
            what, found = "the artifact has another number of outputs than the model", f"{len(first)} on the device"
            raise self.broken(DeploymentError, what, found=found, hint="look at what the file was exported from")
        self._outputs = Outputs.seen(first, size)
        if self.binding is not None:
            names, first = [pair.model for pair in self.binding.outputs], self.binding.outputs_of(first)
        plain = agent.plain(said)
        return LoadReport(
            said.load_ns,
            plain["memory_kib"],
            tuple(names),
            plain["runtime"],
            plain["settings"],
            tuple(first),
            said.first_ns,
            self.last_call,
        )

    def infer(self, sets: Sequence[Inputs]) -> list[list[Array]]:
        """Outputs, in the order of the load report's names, for each set of inputs."""
        outputs: list[list[Array]] = []
        while len(outputs) < len(sets):
            chunk = sets[len(outputs) : len(outputs) + self._chunk_size(sets[len(outputs)], len(sets))]
            tensors = [array for inputs in chunk for array in inputs.values()]
            limits = self._limits([bytes_of(inputs) for inputs in chunk])
            reply = self._inferred({"op": "infer"}, tensors, len(chunk), limits)
            if len(sets) > 1:
                self._pace = _shapes(chunk[0]), reply.answer.elapsed_ns / 1e9 / len(chunk)
            outputs += self._cut(reply.tensors, len(chunk))
        return outputs

    def infer_fills(self, sets: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Array]]:
        """The same for inputs that the device makes itself, in one call where one reply has room for the outputs.

        Args:
            sets: for each set of inputs a fill for each of them; see harness.agent.expand.

        Raises:
            AgentFailure: the backend refuses one of them.
            InputFailure: one cannot be made there.
            DeploymentError: the agent died, hung or sent garbage.
        """
        outputs: list[list[Array]] = []
        while len(outputs) < len(sets):
            chunk = sets[len(outputs) : len(outputs) + self._most_sets()]
            header = {"op": "infer", "fills": [[dict(fill) for fill in fills] for fills in chunk]}
            limits = self._limits([fill_bytes(fills) for fills in chunk])
            outputs += self._cut(self._inferred(header, [], len(chunk), limits).tensors, len(chunk))
        return outputs

    def _inferred(self, header: dict[str, Any], tensors: Sequence[Array], sets: int, limits: Limits) -> Reply:
        start = time.perf_counter()
        reply = self._call(header, tensors, self.timeouts.infer_s(sets), limits)
        self.device_time.seconds += reply.answer.inference_ns / 1e9
        # A search ends when its time is spent: a device that says it took for ever would be asked little.
        self.device_time.busy_s += min(reply.answer.elapsed_ns / 1e9, time.perf_counter() - start)
        return reply

    def _limits(self, input_bytes: Sequence[int]) -> Limits:
        """Of a reply to inferences; before anything is loaded there is none, and the agent says so."""
        return self._outputs.limits(input_bytes) if self._outputs is not None else asked.NOTHING

    def _cut(self, tensors: list[Array], sets: int) -> list[list[Array]]:
        width = self._outputs.count if self._outputs is not None else 0
        if len(tensors) != sets * width:
            raise self._unfitting("infer", f"{len(tensors)} tensors for {sets} sets of inputs, {width} outputs each")
        outputs = [tensors[index * width : (index + 1) * width] for index in range(sets)]
        return [self.binding.outputs_of(each) for each in outputs] if self.binding is not None else outputs

    def _unfitting(self, operation: str, found: str) -> ProtocolError:
        what = f"the tensors that the agent sent in reply to {operation!r} do not fit what it was asked"
        return self.broken(ProtocolError, what, found=found, hint=HINT)

    def keep(self, sets: Sequence[Inputs]) -> None:
        """Have the device keep sets of inputs, in place of those before: what a fill's "base" chooses from."""
        self._call({"op": "keep"}, [array for inputs in sets for array in inputs.values()], self.timeouts.call_s)

    def _chunk_size(self, inputs: Inputs, sets: int) -> int:
        """How many sets like this one go into the next call: one, until it is known how long that takes."""
        if sets == 1 or self._pace is None or self._pace[0] != _shapes(inputs):
            return 1
        fitting = CALL_BYTES // max(bytes_of(inputs), 1), int(CALL_S / max(self._pace[1], 1e-9))
        return max(min(*fitting, self._most_sets()), 1)

    def _most_sets(self) -> int:
        return self._outputs.sets_in_a_call() if self._outputs is not None else 1

    def warm_up(self, feed: Feed | Sequence[Inputs], budget_s: float) -> dict[str, Any]:
        """Infer until it no longer gets faster; see Operations.op_warm_up for what is returned.

        Args:
            feed: where its inputs come from; or sets of them, which are taken in turn.
        """
        feed = feed if isinstance(feed, Feed) else sent(feed)
        header = {"op": "warm_up", "budget_ns": int(budget_s * 1e9), **feed.header}
        said: agent.WarmedUp = self._call(header, feed.tensors, budget_s + self.timeouts.call_s).answer
        # Not its whole time less what making takes: each set is made once and used several times, and a short warm-up
        # came out below 0.
        self.device_time.seconds += said.median_ns * said.iterations / 1e9
        return agent.plain(said)

    def measure(
        self, feed: Feed | Sequence[Inputs], samples: int, budget_s: float, keep: str = ""
    ) -> tuple[Array, dict[str, Any]]:
        """Durations of inferences in nanoseconds, int64[at most samples], and the device's state before and after.

        As the device reports them: whoever uses them looks whether they can be true (harness.deploy.plausibility).

        Args:
            feed: where its inputs come from; or sets of them, which are taken in turn.
            keep: under this name the agent keeps the reply, until the next request shows that it has arrived.
        """
        feed = feed if isinstance(feed, Feed) else sent(feed)
        header = {"op": "measure", "samples": samples, "budget_ns": int(budget_s * 1e9), "keep": keep, **feed.header}
        self._samples = samples
        limits = asked.of_device(8 * samples, tensors=1)
        return self._durations(self._call(header, feed.tensors, budget_s + self.timeouts.call_s, limits))

    def measured(self, frame: Frame) -> tuple[Array, dict[str, Any]]:
        """What measure returns, from a reply to its last call that was kept on the device, and collected.

        Raises:
            ProtocolError: it is none.
        """
        answer = parse(agent.Measured, frame.header, to="measure", where=self.where)
        return self._durations(Reply(answer, frame.tensors))

    def _durations(self, reply: Reply) -> tuple[Array, dict[str, Any]]:
        """The agent says never less than one: a loop that asks until it has them all must come to its end."""
        found = [f"{array.dtype} {list(array.shape)}" for array in reply.tensors]
        (durations,) = reply.tensors if len(reply.tensors) == 1 else [np.empty(0)]
        if durations.dtype != np.dtype("<i8") or durations.ndim != 1 or not 1 <= durations.size <= self._samples:
            asked_for = f"1 to {self._samples} durations, int64"
            raise self._unfitting("measure", f"{', '.join(found) or 'none'}, where {asked_for} were asked for")
        said: agent.Measured = reply.answer
        self.device_time.seconds += max(said.elapsed_ns - said.making_ns, 0) / 1e9
        return durations.astype(np.int64), agent.plain(said)

    def profile(self, sets: Sequence[Inputs], count: int) -> list[dict[str, Any]]:
        """Which operators cost what: "operator", "name", "calls", "ns" of an inference, by the runtime over so many."""
        tensors = [array for inputs in sets for array in inputs.values()]
        limit_s = self.timeouts.load_s + self.timeouts.infer_s(count)  # ONNX Runtime loads the model anew for it
        said: agent.Profiled = self._call({"op": "profile", "count": count}, tensors, limit_s).answer
        return [agent.plain(one) for one in said.operators]

    def memory_kib(self) -> dict[str, int]:
        """The agent's memory now: "peak", "resident" and "swapped", in KiB."""
        said: agent.Memory = self._call({"op": "memory"}, [], self.timeouts.start_s).answer
        return agent.plain(said.memory_kib)

    def echo(self, sets: Sequence[Inputs]) -> list[Array]:
        """Send tensors there and back: to measure the link."""
        tensors = [array for inputs in sets for array in inputs.values()]
        return self._call({"op": "echo"}, tensors, 60, asked.of_device(aligned_bytes(tensors), len(tensors))).tensors

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(
        self, header: dict[str, Any], tensors: Sequence[Array], limit_s: float, limits: Limits = asked.NOTHING
    ) -> Reply:
        if self.binding is not None and header["op"] != "echo":
            header, tensors = self.binding.request(header, tensors)
        reply = self.call(header, tensors, limit_s, limits)
        if self.binding is not None and reply.answer.written is not None:
            self.written = tuple(self.binding.models_names(reply.answer.written))
        return reply


def _shapes(inputs: Inputs) -> list[tuple[int, ...]]:
    return [array.shape for array in inputs.values()]
