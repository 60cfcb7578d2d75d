"""Loading an artifact: the runtime is imported, the artifact loaded, and one inference done."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..agent.frames import Array
from ..errors import DeploymentError
from ..protocol import agent, asked
from ..protocol.asked import Outputs
from .call import Call
from .feed import Inputs, bytes_of
from .session import Session


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What loading took, as the agent measured it on the device.

    Attributes:
        load_ns: from the process's start to the end of the first inference, without waiting for the host.
        memory_kib: the peak resident set after each step: before_runtime, runtime, model, first.
        outputs: the outputs' names.
        file_inputs: the inputs' names as the artifact has them, in its order.
        file_outputs: the outputs' names as the runtime knows them, all of them, in its order.
        runtime: versions, NAME: VERSION.
        settings: what was really set, such as threads.
        first: the outputs of the first inference.
        first_ns: what the first inference took.
        call: the call that loaded, by both clocks.
        host_s: from before the process was started until this report came, by the host's clock.
    """

    load_ns: int
    memory_kib: Mapping[str, int]
    outputs: tuple[str, ...]
    file_inputs: tuple[str, ...] = ()
    file_outputs: tuple[str, ...] = ()
    runtime: Mapping[str, str]
    settings: Mapping[str, Any]
    first: tuple[Array, ...]
    first_ns: int = 0
    call: Call | None = None
    host_s: float = math.inf


def load(
    session: Session,
    entry: str,
    inputs: Inputs,
    *,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    operators: Sequence[str] = (),
    fallback: Mapping[str, Any] | None = None,
) -> LoadReport:
    """Load an artifact; see Deployment.load."""
    start = time.perf_counter()
    header = {"op": "load", "artifact": entry, **settings, "options": dict(options), "inputs": [*inputs]}
    if operators:
        header["operators"] = list(operators)
    if fallback is not None:
        header["fallback"] = dict(fallback)
    session.has_fallback = fallback is not None
    timeouts, size = session.timeouts, bytes_of(inputs)
    limit_s = max(timeouts.load_s, timeouts.call_s)
    reply = session.ask(header, [*inputs.values()], limit_s, asked.first_limits(size))
    session.device_time.seconds += time.perf_counter() - start
    answer: agent.Loaded = reply.answer
    names, first = list(answer.outputs), reply.tensors
    _check_outputs(session, names, first)
    session.outputs = Outputs.seen(first, size)
    if session.binding is not None:
        names, first = [pair.model for pair in session.binding.outputs], session.binding.outputs_of(first)
    plain = agent.plain(answer)
    return LoadReport(
        load_ns=answer.load_ns,
        memory_kib=plain["memory_kib"],
        outputs=tuple(names),
        file_inputs=tuple(session.binding.file_inputs if session.binding is not None else inputs),
        file_outputs=tuple(answer.outputs),
        runtime=plain["runtime"],
        settings=plain["settings"],
        first=tuple(first),
        first_ns=answer.first_ns,
        call=session.exchange.last_call,
    )


def _check_outputs(session: Session, names: Sequence[str], first: Sequence[Array]) -> None:
    if len(names) != len(first):
        raise session.refuse_tensors("load", f"{len(first)} tensors for the outputs {', '.join(names[:20])}")
    if session.binding is not None and not session.binding.fits(len(first)):
        what, found = "the artifact has another number of outputs than the model", f"{len(first)} on the device"
        hint = "look at what the file was exported from"
        raise session.exchange.end_broken(DeploymentError, what, found=found, hint=hint)
