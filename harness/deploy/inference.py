"""Inference: sets of inputs go to the device in calls of bounded size and duration, or are made there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..agent.frames import Array
from ..agent.wire import Limits
from ..protocol import asked
from .exchange import CALL_S, Reply
from .feed import Inputs, bytes_of, fill_bytes
from .session import Session

# Inputs travel in calls of at most so many bytes: neither side holds more than that twice.
CALL_BYTES = 1 << 26


def infer(session: Session, sets: Sequence[Inputs]) -> list[list[Array]]:
    """Infer sets of inputs that travel to the device; see Deployment.infer."""
    outputs: list[list[Array]] = []
    while len(outputs) < len(sets):
        chunk = sets[len(outputs) : len(outputs) + _chunk_size(session, sets[len(outputs)], len(sets))]
        tensors = [array for inputs in chunk for array in inputs.values()]
        limits = _reply_limits(session, [bytes_of(inputs) for inputs in chunk])
        reply = _ask(session, {"op": "infer"}, tensors, len(chunk), limits)
        if len(sets) > 1:
            session.pace = _shapes(chunk[0]), reply.answer.elapsed_ns / 1e9 / len(chunk)
        outputs += _split(session, reply.tensors, len(chunk))
    return outputs


def infer_fills(session: Session, sets: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Array]]:
    """Infer sets of inputs that the device makes; see Deployment.infer_fills."""
    outputs: list[list[Array]] = []
    while len(outputs) < len(sets):
        chunk = sets[len(outputs) : len(outputs) + _most_sets(session)]
        header = {"op": "infer", "fills": [[dict(fill) for fill in fills] for fills in chunk]}
        limits = _reply_limits(session, [fill_bytes(fills) for fills in chunk])
        outputs += _split(session, _ask(session, header, [], len(chunk), limits).tensors, len(chunk))
    return outputs


def _ask(session: Session, header: dict[str, Any], tensors: Sequence[Array], sets: int, limits: Limits) -> Reply:
    start = time.perf_counter()
    header |= {"side": session.side} if session.side else {}
    reply = session.ask(header, tensors, session.timeouts.infer_s(sets), limits)
    session.device_time.seconds += reply.answer.inference_ns / 1e9
    # A search ends when its time is spent. A device that reports more than the host waited would be searched less.
    session.device_time.busy_s += min(reply.answer.elapsed_ns / 1e9, time.perf_counter() - start)
    return reply


def _reply_limits(session: Session, input_bytes: Sequence[int]) -> Limits:
    """Bound the reply to inferences; before anything is loaded it has no tensors, and the agent refuses."""
    return session.outputs.limits(input_bytes) if session.outputs is not None else asked.NOTHING


def _split(session: Session, tensors: list[Array], sets: int) -> list[list[Array]]:
    """Split a reply's tensors into the outputs of each set."""
    width = session.outputs.count if session.outputs is not None else 0
    if len(tensors) != sets * width:
        found = f"{len(tensors)} tensors for {sets} sets of inputs, {width} outputs each"
        raise session.refuse_tensors("infer", found)
    outputs = [tensors[index * width : (index + 1) * width] for index in range(sets)]
    binding = session.binding
    return [binding.outputs_of(each) for each in outputs] if binding is not None else outputs


def _chunk_size(session: Session, inputs: Inputs, sets: int) -> int:
    """Decide how many sets like this one go into the next call: one, until it is known how long one takes."""
    if sets == 1 or session.pace is None or session.pace[0] != _shapes(inputs):
        return 1
    fitting = CALL_BYTES // max(bytes_of(inputs), 1), int(CALL_S / max(session.pace[1], 1e-9))
    return max(min(*fitting, _most_sets(session)), 1)


def _most_sets(session: Session) -> int:
    return session.outputs.sets_in_a_call() if session.outputs is not None else 1


def _shapes(inputs: Inputs) -> list[tuple[int, ...]]:
    return [array.shape for array in inputs.values()]
