"""Timing: warming up, timed loops and profiles, all by the device's own clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..agent.frames import Array, Frame
from ..agent.pacing import Pace
from ..protocol import agent, asked, parse
from .exchange import Reply
from .failed_calls import CODES
from .feed import Feed, Inputs, sent
from .first_parts import FIRST_PARTS, why_unlike
from .session import Session
from .sides import SIDES, read_sides


def warm_up(session: Session, feed: Feed | Sequence[Inputs], budget_s: float) -> dict[str, Any]:
    """Infer until it no longer gets faster; see Deployment.warm_up."""
    feed = feed if isinstance(feed, Feed) else sent(feed)
    header = {"op": "warm_up", "budget_ns": int(budget_s * 1e9), **feed.header}
    answer: agent.WarmedUp = session.ask(header, feed.tensors, budget_s + session.timeouts.call_s).answer
    # Not the call's whole time less what making inputs takes: each set is made once and used several times, and a short
    # warm-up came out below 0.
    session.device_time.seconds += answer.median_ns * answer.iterations / 1e9
    return agent.plain(answer)


def measure(
    session: Session, feed: Feed | Sequence[Inputs], samples: int, budget_s: float, keep: str, pace: Pace | None
) -> tuple[Array, dict[str, Any]]:
    """Time inferences one by one; see Deployment.measure."""
    feed = feed if isinstance(feed, Feed) else sent(feed)
    header = {"op": "measure", "samples": samples, "budget_ns": int(budget_s * 1e9), "keep": keep, **feed.header}
    limit_s, columns = budget_s + session.timeouts.call_s, 1
    if pace is not None:  # the wait for the first release may exceed the budget
        header, limit_s, columns = {**header, **pace.header()}, limit_s + max(-pace.behind_ns, 0) / 1e9, 3
    session.samples, session.is_paced = samples, pace is not None
    limits = asked.of_measuring(samples, columns)
    return _durations_of(session, session.ask(header, feed.tensors, limit_s, limits))


def read_kept(session: Session, frame: Frame) -> tuple[Array, dict[str, Any]]:
    """Read a reply to the last measuring call that the device kept; see Deployment.measured."""
    answer = parse(agent.Measured, frame.header, to="measure", where=session.exchange.where)
    return _durations_of(session, Reply(answer, frame.tensors))


def _durations_of(session: Session, reply: Reply) -> tuple[Array, dict[str, Any]]:
    """Check a reply's durations. None at all is refused, too: whoever asks until it has them all would never end.

    Returns:
        The durations, and the account of the call; in that under CODES, where calls failed, their codes: uint8[n]; and
        under FIRST_PARTS, where answers come in parts, when the first of each came, in nanoseconds: int64[n]; under
        SIDES, of a cell with a fallback, which side answered each: int64[n].
    """
    answer: agent.Measured = reply.answer
    found = [f"{array.dtype} {list(array.shape)}" for array in reply.tensors]
    tensors = [*reply.tensors]
    sides = tensors.pop() if answer.sides and len(tensors) > 1 else None
    first_parts = tensors.pop() if answer.first_parts and len(tensors) > 1 else None
    durations, codes = (*tensors, *[None] * 2)[:2] if tensors else (np.empty(0), None)
    assert durations is not None
    row, what = ((3,), "releases, int64[n, 3],") if session.is_paced else ((), "durations, int64")
    has_shape = durations.ndim == 1 + len(row) and durations.shape[1:] == row
    if durations.dtype != np.dtype("<i8") or not has_shape or not 1 <= len(durations) <= session.samples:
        wanted = f"1 to {session.samples} {what}"
        raise session.refuse_tensors("measure", f"{', '.join(found) or 'none'}, where {wanted} were asked for")
    if (codes is not None and (codes.dtype != np.uint8 or codes.shape != durations.shape[:1])) or len(tensors) > 2:
        wanted = f"codes of failed calls, uint8[{len(durations)}],"
        raise session.refuse_tensors("measure", f"{', '.join(found)}, where {wanted} may come second")
    account = agent.plain(answer)
    account.pop(FIRST_PARTS, None)
    account.pop(SIDES, None)
    if answer.first_parts:
        if first_parts is None or (problem := why_unlike(first_parts, durations, codes)):
            wanted = f"times of first parts, int64[{len(durations)}],"
            why = problem if first_parts is not None else "there are none"
            raise session.refuse_tensors("measure", f"{', '.join(found)}, where {wanted} come last: {why}")
        account[FIRST_PARTS] = first_parts.astype(np.int64)
    if answer.sides and codes is not None:
        raise session.refuse_tensors("measure", "calls that nobody answered, where a fallback answers what they miss")
    account |= _sides_of(session, answer, sides, durations)
    session.device_time.seconds += max(answer.elapsed_ns - answer.making_ns, 0) / 1e9
    return durations.astype(np.int64), account if codes is None else {**account, CODES: codes.copy()}


def _sides_of(session: Session, answer: agent.Measured, sides: Array | None, durations: Array) -> dict[str, Any]:
    """Check which side answered: it is said where there is a fallback, else local answers would pass for the others."""
    if not session.has_fallback and not answer.sides:
        return {}
    if not session.has_fallback or sides is None:
        found = "there is no fallback" if not session.has_fallback else "it is not said"
        raise session.refuse_tensors("measure", f"which side answered is said of a fallback, and {found}")
    read, problem = read_sides(sides, durations)
    if problem:
        raise session.refuse_tensors("measure", f"the sides that answered, uint8[{len(durations)}]: {problem}")
    return {SIDES: read}


def profile(session: Session, sets: Sequence[Inputs], count: int) -> list[dict[str, Any]]:
    """Profile inferences by operator; see Deployment.profile."""
    tensors = [array for inputs in sets for array in inputs.values()]
    # ONNX Runtime loads the model once more for it.
    limit_s = session.timeouts.load_s + session.timeouts.infer_s(count)
    answer: agent.Profiled = session.ask({"op": "profile", "count": count}, tensors, limit_s).answer
    return [agent.plain(operator) for operator in answer.operators]
