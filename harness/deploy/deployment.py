"""Deployments: a bundle running on a device. It infers, and it measures itself with the device's own clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..agent.frames import Array, Frame
from ..agent.pacing import Pace
from ..agent.remote.credentials import Credentials
from ..export.binding import Binding
from ..host.exit_cause import ExitCause
from ..links import Channel
from ..network import Network
from ..protocol import agent, asked
from ..protocol.asked import aligned_bytes
from . import inference, loading, timing
from .call import Call
from .credentials import give_credentials, use_credentials
from .exchange import CALL_S, Exchange, Timeouts, nothing_known
from .feed import Feed, Inputs
from .inference import CALL_BYTES
from .loading import LoadReport
from .session import DeviceTime, Session

__all__ = ["CALL_BYTES", "CALL_S", "Deployment", "DeviceTime", "LoadReport", "Timeouts"]

ECHO_S = 60.0


@dataclass(frozen=True)
class Deployment:
    """One agent process with one artifact. Made by ``start``; use it as a context manager.

    Any DeploymentError but AgentFailure, InputFailure and RemoteError ends it, and so does a LinkLost; see Exchange.

    Attributes:
        session: its state, which the steps share.
    """

    session: Session

    @classmethod
    def start(
        cls,
        channel: Channel,
        where: str,
        timeouts: Timeouts | None = None,
        *,
        on_host: bool = False,
        exit_cause: Callable[[int, int, str], ExitCause | None] = nothing_known,
        device_time: DeviceTime | None = None,
        binding: Binding | None = None,
    ) -> Deployment:
        """Wait for the greeting of an agent that was started; see Exchange.open.

        Args:
            channel: the agent's process.
            where: which cell and device it is, for errors.
            timeouts: how long each kind of call may take.
            on_host: whether it is a process of this machine, so that what travels takes no time to speak of.
            exit_cause: asked why the process is gone; see Exchange.
            device_time: adds up what the device took; its own without.
            binding: for an artifact whose inputs and outputs are not named and ordered as the model's; see Session.

        Raises:
            DeploymentError: the agent does not greet.
            LinkLost: the connection dropped.
        """
        exchange = Exchange.open(channel, where, timeouts or Timeouts(), on_host=on_host, exit_cause=exit_cause)
        return cls(Session(exchange=exchange, device_time=device_time or DeviceTime(), binding=binding))

    @property
    def where(self) -> str:
        """Which cell and device it is, for errors."""
        return self.session.exchange.where

    @property
    def alive(self) -> bool:
        """Whether the process can still be asked."""
        return self.session.exchange.alive

    @property
    def hello(self) -> agent.Hello:
        """What the agent said of itself when it started."""
        return self.session.exchange.hello

    @property
    def greeting(self) -> str:
        """What a chatty login shell printed before the agent's first frame."""
        return self.session.exchange.greeting

    @property
    def last_used(self) -> float:
        """When it answered last, in time.monotonic()'s seconds."""
        return self.session.exchange.last_used

    @property
    def last_call(self) -> Call:
        """The last call that was answered, by both clocks."""
        return self.session.exchange.last_call

    @property
    def written(self) -> tuple[str, ...]:
        """The inputs that the model was seen to write into, by the model's names."""
        return self.session.exchange.written

    @property
    def device_time(self) -> DeviceTime:
        """What the device took, over all deployments that add to it."""
        return self.session.device_time

    @property
    def repeated(self) -> dict[str, int]:
        """How many calls to another computer were made once more for their outputs, by how they had failed."""
        return dict(self.session.repeated)

    def stderr_tail(self) -> str:
        """Return the end of what the process wrote to stderr."""
        return self.session.exchange.channel.stderr_tail()

    def shape(self, network: Network) -> None:
        """Shape the network between a client that is loaded afterwards and the server that it calls.

        Raises:
            AgentFailure: the proxy cannot be started there.
            DeploymentError: the agent died, hung or sent garbage.
        """
        traces = [np.array(way.trace_ms, np.int32) for way in (network.up, network.down) if way.trace_ms]
        self.session.ask({"op": "network", **network.asked()}, traces, self.session.timeouts.start_s)

    def load(
        self,
        entry: str,
        inputs: Inputs,
        *,
        settings: Mapping[str, Any],
        options: Mapping[str, Any],
        operators: Sequence[str] = (),
        fallback: Mapping[str, Any] | None = None,
    ) -> LoadReport:
        """Import the runtime, load the artifact, infer once.

        Args:
            entry: the artifact's path in the bundle.
            inputs: those of the first inference, by the model's names.
            settings: what every backend sets alike; see Device.settings.
            options: the backend's own.
            operators: what registers operators first; see Runtime.
            fallback: what is loaded beside a client, and answers where its calls fail; see the agent's op_load.

        Raises:
            AgentFailure: the runtime refused; its reason is in the message.
            DeploymentError: the agent died, hung or sent garbage.
        """
        return loading.load(
            self.session, entry, inputs, settings=settings, options=options, operators=operators, fallback=fallback
        )

    def give_credentials(self, credentials: Credentials) -> None:
        """Give the process what it signs calls with, in place of what it had. It keeps them in memory alone.

        Raises:
            AgentFailure: it takes none; the message says nothing of them.
            DeploymentError: the agent died, hung or sent garbage.
        """
        give_credentials(self.session, credentials)

    def use_credentials(self, supply: Callable[[], Credentials]) -> None:
        """Give the process credentials before each request, whenever there are others than those that it has.

        Args:
            supply: returns those that are valid now, and are for a while; it is called from this thread.
        """
        use_credentials(self.session, supply)

    def infer(self, sets: Sequence[Inputs]) -> list[list[Array]]:
        """Infer sets of inputs, in as many calls as their size and the model's pace need.

        Args:
            sets: each an array for each input, by the model's names.

        Returns:
            For each set its outputs, in the order of the load report's names.

        Raises:
            AgentFailure: the backend refuses one of them.
            DeploymentError: the agent died, hung or sent garbage.
        """
        return inference.infer(self.session, sets)

    def infer_fills(self, sets: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Array]]:
        """Infer inputs that the device makes itself, in one call where one reply has room for the outputs.

        Args:
            sets: for each set of inputs a fill for each of them; see harness.agent.expand.

        Returns:
            For each set its outputs, in the order of the load report's names.

        Raises:
            AgentFailure: the backend refuses one of them.
            InputFailure: one cannot be made there.
            DeploymentError: the agent died, hung or sent garbage.
        """
        return inference.infer_fills(self.session, sets)

    def keep(self, sets: Sequence[Inputs]) -> None:
        """Have the device keep sets of inputs, in place of those before: what a fill's "base" chooses from."""
        tensors = [array for inputs in sets for array in inputs.values()]
        self.session.ask({"op": "keep"}, tensors, self.session.timeouts.call_s)

    def warm_up(self, feed: Feed | Sequence[Inputs], budget_s: float) -> dict[str, Any]:
        """Infer until it no longer gets faster.

        Args:
            feed: where its inputs come from; or sets of them, which are taken in turn.
            budget_s: how long it may take, by the device's clock, in seconds.

        Returns:
            What Operations.op_warm_up of the agent describes.
        """
        return timing.warm_up(self.session, feed, budget_s)

    def measure(
        self,
        feed: Feed | Sequence[Inputs],
        samples: int,
        budget_s: float,
        keep: str = "",
        *,
        pace: Pace | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        """Time inferences one by one, by the device's clock: in a closed loop, or as a sensor's clock releases them.

        The durations are what the device reports: whoever uses them checks whether they can be true
        (harness.deploy.plausibility).

        Args:
            feed: where its inputs come from; or sets of them, which are taken in turn.
            samples: how many inferences are timed at most; with a pace, how many releases there are.
            budget_s: how long they may take, by the device's clock, in seconds.
            keep: under this name the agent keeps the reply, until the next request shows that it has arrived.
            pace: the sensor's clock.

        Returns:
            Durations in nanoseconds, int64[1 to samples]; with a pace what became of each release, int64[1 to samples,
            3] (see harness.agent.pacing.paced_loop); and the agent's account of the call, with the device's state
            before and after.
        """
        return timing.measure(self.session, feed, samples, budget_s, keep, pace)

    def measured(self, frame: Frame) -> tuple[Array, dict[str, Any]]:
        """Read a reply to its last ``measure`` that was kept on the device, and collected from there.

        Returns:
            What ``measure`` returns.

        Raises:
            ProtocolError: it is no such reply.
        """
        return timing.read_kept(self.session, frame)

    def profile(self, sets: Sequence[Inputs], count: int) -> list[dict[str, Any]]:
        """Have the runtime say what each operator costs in an inference.

        Args:
            sets: inputs, which are taken in turn.
            count: how many inferences are profiled.

        Returns:
            For each operator "operator", "name", "calls" and "ns", per inference.
        """
        return timing.profile(self.session, sets, count)

    def memory_kib(self) -> dict[str, int]:
        """Return the agent's memory now: "peak", "resident" and "swapped", in KiB."""
        answer: agent.Memory = self.session.ask({"op": "memory"}, [], self.session.timeouts.start_s).answer
        return agent.plain(answer.memory_kib)

    def echo(self, sets: Sequence[Inputs]) -> list[Array]:
        """Send tensors there and back, to measure the link."""
        tensors = [array for inputs in sets for array in inputs.values()]
        limits = asked.of_device(aligned_bytes(tensors), len(tensors))
        return self.session.ask({"op": "echo"}, tensors, ECHO_S, limits).tensors

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the agent. Never raises."""
        self.session.exchange.close()
