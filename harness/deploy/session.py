"""The state of a deployment, which its steps (loading, inference, timing) share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..agent.frames import Array
from ..agent.wire import Limits
from ..errors import ProtocolError
from ..export.binding import Binding
from ..protocol import agent, asked
from ..protocol.asked import Outputs
from ..protocol.border import HINT
from .exchange import Exchange, Reply, Timeouts


@dataclass
class DeviceTime:
    """How much of a run the device spent loading and inferring: the rest is what the harness adds.

    Attributes:
        seconds: what it took to load and to infer.
        busy_s: what it took for the calls of a search, making the inputs included.
    """

    seconds: float = 0.0
    busy_s: float = 0.0


@dataclass(kw_only=True)
class Session:
    """One agent process with one artifact.

    Attributes:
        exchange: the process and its frames.
        device_time: adds up what the device took, over all deployments of a run.
        binding: for an artifact whose inputs and outputs are not named and ordered as the model's: requests are
            translated to the artifact's names, replies to the model's.
        outputs: how much the first inference returned, once something is loaded.
        pace: shapes of one set of inputs, and what one such set took the device in the last call, in seconds.
        samples: how many durations, or releases, the last measuring call asked for.
        is_paced: whether that was by a sensor's clock.
        repeated: how many calls to another computer were made once more, by how they had failed.
        has_fallback: whether what is loaded has a fallback on the device, and says which side answered.
        side: the side that is asked for outputs; "" for whichever answers. See harness.agent.sides.
        renew: called before each request, and may make one of its own: credentials of the process end.
    """

    exchange: Exchange
    device_time: DeviceTime = field(default_factory=DeviceTime)
    binding: Binding | None = None
    outputs: Outputs | None = None
    pace: tuple[list[tuple[int, ...]], float] | None = None
    samples: int = 0
    is_paced: bool = False
    repeated: Counter[str] = field(default_factory=Counter)
    has_fallback: bool = False
    side: str = ""
    renew: Callable[[], None] = lambda: None

    @property
    def timeouts(self) -> Timeouts:
        """How long each kind of call may take."""
        return self.exchange.timeouts

    def ask(
        self, header: dict[str, Any], tensors: Sequence[Array], limit_s: float, limits: Limits = asked.NOTHING
    ) -> Reply:
        """Ask the agent for an operation, in the artifact's names; see Exchange.call.

        Args:
            header: the request: "op" and the operation's own keys, in the model's names.
            tensors: what travels with it.
            limit_s: how long the device may take, in seconds.
            limits: how large the reply may be.
        """
        self.renew()
        if self.binding is not None and header["op"] != "echo":
            header, tensors = self.binding.request(header, tensors)
        reply = self.exchange.call(header, tensors, limit_s, limits)
        if isinstance(reply.answer, agent.Loaded | agent.Inferred):  # others have none, and this runs for every call
            self.repeated.update(reply.answer.repeated)
        if self.binding is not None and reply.answer.written is not None:
            self.exchange.written = tuple(self.binding.models_names(reply.answer.written))
        return reply

    def refuse_tensors(self, operation: str, found: str) -> ProtocolError:
        """End the process, whose tensors do not fit what it was asked; return the error that says so."""
        what = f"the tensors that the agent sent in reply to {operation!r} do not fit what it was asked"
        return self.exchange.end_broken(ProtocolError, what, found=found, hint=HINT)
