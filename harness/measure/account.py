"""A measurement's account for the evidence: how its raw samples are cut; and the measurement made again of both.

Whoever judges evidence again (harness.release.rejudge) gives a rebuilt measurement to the functions that judged the
first one, so that no second program knows how a bound is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np

from ..agent.failure import KINDS
from ..agent.pacing import NEVER
from ..checks.blocks import block_size
from ..deploy import plausibility
from ..deploy.content import SAMPLES, UNIFORM, Request, Timed
from ..deploy.first_parts import why_unlike
from ..deploy.sides import why_sides_unlike
from ..evidence.timed_entry import BoardState, TimedContent, TimedEntry
from ..model.model import Array
from ..model.sensor_clock import SensorClock
from .measurement import DURATIONS, Measurement
from .paced_loop import is_growing


def describe_timed(measured: Measurement) -> TimedEntry:
    """Describe how a measurement's raw samples are cut, and the device's states around each process."""
    timeout: dict[str, float | None] = {}
    if measured.is_remote:
        timeout = {"timeout_ms": measured.timeout_ms, "planned_s": measured.planned_s}
    return TimedEntry(
        block_ms=float(measured.block_ms),
        contents=[_describe_content(timed, is_remote=measured.is_remote) for timed in measured.contents],
        **timeout,
        states=[[BoardState.model_validate(dict(state)) for state in pair] for pair in measured.states],
    )


def _describe_content(timed: Timed, *, is_remote: bool) -> TimedContent:
    entry: dict[str, Any] = {
        "name": timed.name,
        "given": timed.given,
        "samples_per_call": timed.step,
        "processes": [len(values) for values in timed.processes],
        "block_sizes": list(timed.blocks.sizes),
    }
    if is_remote:
        entry["requests"] = [[[*request] for request in process] for process in timed.requests]
    return TimedContent(**entry)


def rebuild(
    account: TimedEntry,
    raw: Array,
    inputs: Array,
    *,
    codes: Array | None = None,
    first_parts: Array | None = None,
    sides: Array | None = None,
    clock: SensorClock | None = None,
    warm_ups: Sequence[Mapping[str, Any]] = (),
) -> Measurement:
    """Make a measurement again of its account and its raw samples.

    Args:
        account: How the raw samples are cut.
        raw: What was timed, in nanoseconds: int64[n]; on a sensor's clock int64[n, 3]. See Measurement.raw.
        inputs: Which input each of them had, int64[n].
        codes: How the call of each of them failed, int64[n], 0 if it did not; None where none failed.
        first_parts: When the first part of each answer came, int64[n]; None where answers came whole.
        sides: Which side answered each of them, int64[n]; None where there is no fallback.
        clock: The sensor's clock on which they were released.
        warm_ups: The report of each warm-up.

    Raises:
        ValueError: They do not fit each other; the text says in which figures.
    """
    contents = _cut(account, raw, inputs, codes, clock)
    if first_parts is not None:
        if problem := why_unlike(first_parts, raw, codes):
            raise ValueError(f"first parts: {problem}")
        _give(contents, "first_parts", first_parts)
    if sides is not None:
        if problem := _why_sides_impossible(sides, raw, codes, account.timeout_ms):
            raise ValueError(f"sides: {problem}")
        _give(contents, "sides", sides)
    measured = Measurement(
        uniform=contents[0],
        warm_ups=[dict(warm_up) for warm_up in warm_ups],
        states=states_of(account),
        block_ms=account.block_ms,
        clock=clock,
        timeout_ms=account.timeout_ms,
        planned_s=account.planned_s or 0.0,
    )
    if len(contents) > 1:
        measured.samples = contents[1]
    for timed in measured.contents:
        timed.is_growing = clock is not None and is_growing(timed, clock)
        for durations in timed.answered:
            measured.refuse(DURATIONS, plausibility.why_clock_impossible(durations))
    return measured


def _why_sides_impossible(sides: Array, raw: Array, codes: Array | None, timeout_ms: float | None) -> str:
    if timeout_ms is None or codes is not None:
        return "a fallback answers where calls fail, and there are no calls, or some that nobody answered"
    return why_sides_unlike(sides, raw)


def _give(contents: Sequence[Timed], name: str, values: Array) -> None:
    """Cut what goes with raw samples as these are cut, and add it to their contents: first parts, or sides."""
    each = [
        (timed, len(numbers))
        for process in zip(*(timed.numbers for timed in contents), strict=True)
        for timed, numbers in zip(contents, process, strict=True)
    ]
    for (timed, _), part in zip(each, np.split(values, list(accumulate(size for _, size in each))), strict=False):
        getattr(timed, name).append(part)


def states_of(account: TimedEntry) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return the device's states before and after each process that was timed."""
    return [(before.model_dump(), after.model_dump()) for before, after in account.states]


def _cut(account: TimedEntry, raw: Array, inputs: Array, codes: Array | None, clock: SensorClock | None) -> list[Timed]:
    """Cut raw samples into those of each content and process."""
    names = [content.name for content in account.contents]
    if names not in ([UNIFORM], [UNIFORM, SAMPLES]) or any(
        (content.given > 0) != (content.name == SAMPLES) for content in account.contents
    ):
        raise ValueError(f"contents are {UNIFORM}, then {SAMPLES} if the model file gives some; found {names}")
    sizes = [count for counts in zip(*(each.processes for each in account.contents), strict=True) for count in counts]
    if sum(sizes) != len(raw) or len(raw) != len(inputs):
        found = f"{len(raw)} raw samples, of which {len(inputs)} have an input"
        raise ValueError(f"its processes timed {sum(sizes)} inferences, and there are {found}")
    if raw.ndim != (1 if clock is None else 2):
        raise ValueError(f"the raw samples are {'releases' if raw.ndim > 1 else 'durations'}, against its clock")
    codes = np.zeros(len(raw), np.int64) if codes is None else codes
    if problem := _why_codes_impossible(codes, raw, account.timeout_ms) or _why_impossible(raw, codes):
        raise ValueError(problem)
    ends = list(accumulate(sizes))[:-1]
    parts, numbers, kinds = (np.split(array, ends) if sizes else [] for array in (raw, inputs, codes))
    step = len(account.contents)
    return [
        _timed(
            each, parts[place::step], numbers[place::step], kinds[place::step], is_remote=account.timeout_ms is not None
        )
        for place, each in enumerate(account.contents)
    ]


def _why_codes_impossible(codes: Array, raw: Array, timeout_ms: float | None) -> str:
    """Say why codes of failed calls are none that a run writes; "" if they are."""
    if len(codes) != len(raw):
        return f"{len(codes)} calls failed or were answered, and there are {len(raw)} raw samples"
    if codes.any() and timeout_ms is None:
        return f"{np.count_nonzero(codes)} calls failed of a backend that makes none"
    if len(codes) and not 0 <= codes.min() <= codes.max() <= len(KINDS):
        return f"codes of failed calls are those of {len(KINDS)} kinds, and some are {codes.min()} or {codes.max()}"
    return ""


def _why_impossible(raw: Array, codes: Array) -> str:
    """Say what no device's report that was believed can have had; "" if there is no such thing."""
    if not len(raw):
        return ""
    has_failed = codes > 0
    if raw.ndim == 1:
        if (raw[has_failed] != NEVER).any():
            return f"a call that failed took {raw[has_failed].max()} ns, in place of {NEVER}"
        answered = raw[~has_failed]
        return f"an inference took {answered.min()} ns" if len(answered) and answered.min() <= 0 else ""
    if (lost := has_failed & (raw[:, 2] == NEVER)).any():
        return f"the call of release {int(lost.argmax())} failed, which was dropped"
    due, start, end = raw.T
    ran = end != NEVER
    wrong = np.where(ran, (start < due) | (end <= start), start != NEVER) | (due < 0)
    if not wrong.any():
        return ""
    place = int(wrong.argmax())
    return f"release {place} was due at {due[place]} ns, began at {start[place]} and ended at {end[place]}"


def _timed(
    content: TimedContent, parts: list[Array], numbers: list[Array], codes: list[Array], *, is_remote: bool
) -> Timed:
    if content.given and any(len(each) and not 0 <= each.min() <= each.max() < content.given for each in numbers):
        raise ValueError(f"inputs are none of the {content.given} that the samples make")
    timed = Timed(
        name=content.name,
        given=content.given,
        step=content.samples_per_call,
        processes=parts,
        numbers=numbers,
        block_sizes=list(content.block_sizes),
        codes=[each.astype(np.uint8) for each in codes],
        requests=_requests_of(content, codes) if is_remote else [],
    )
    if not parts or parts[0].ndim == 1:
        timed.processes = [
            np.where(code > 0, np.inf, each) if code.any() else each for each, code in zip(parts, codes, strict=True)
        ]
        return timed
    responses = [
        np.where((each[:, 2] != NEVER) & (code == 0), each[:, 2] - each[:, 0], np.inf)
        for each, code in zip(parts, codes, strict=True)
    ]
    return replace(timed, processes=responses, releases=parts)


def _requests_of(content: TimedContent, codes: list[Array]) -> list[list[Request]]:
    """Return what the device was asked for in each process; it adds up to what was timed there.

    Raises:
        ValueError: It does not.
    """
    requests = [[Request(*each) for each in process] for process in content.requests or []]
    if len(requests) != len(content.processes):
        raise ValueError(f"{len(content.processes)} processes made calls, and there are requests of {len(requests)}")
    for process, (asked, code) in enumerate(zip(requests, codes, strict=True), 1):
        ends = list(accumulate(each.calls for each in asked))
        if (ends[-1] if ends else 0) != len(code):
            raise ValueError(f"process {process} made {len(code)} calls, and its requests add up to {ends[-1:]}")
        for each, part in zip(asked, np.split(code, ends[:-1]), strict=False):
            if each.failed != np.count_nonzero(part) or each.failed_ns > each.elapsed_ns:
                raise ValueError(f"process {process}: {np.count_nonzero(part)} calls failed in a request {[*each]}")
    return requests


def why_account_doubtful(account: TimedEntry, clock: SensorClock | None, warm_ups: Sequence[Mapping[str, Any]]) -> str:
    """Say how an account contradicts the warm-ups; "" if it does not.

    A block's size follows from the warm-up before it, so that nobody can choose it afterwards, and each process that
    was timed has a warm-up and states of its device.

    Args:
        account: How the raw samples are cut.
        clock: The sensor's clock, on which a block's size follows from its rate.
        warm_ups: The report of each warm-up.
    """
    counts = [each.processes for each in account.contents]
    if len({*map(len, counts), *(len(each.block_sizes) for each in account.contents)}) > 1:
        return "its contents, or their blocks, are of different numbers of processes"
    timed = [each for each in zip(*counts, strict=True) if any(each)]
    begun = sum(count > 0 for each in counts for count in each)
    if len(warm_ups) < begun:
        return f"{begun} warm-ups came before what was timed, and the fingerprint has {len(warm_ups)}"
    if len(account.states) < len(timed):
        return f"{len(timed)} processes were timed, and the device's states are those of {len(account.states)}"
    step = len(account.contents)
    if len(warm_ups) != sum(len(each.processes) for each in account.contents):
        return ""  # a connection dropped before a warm-up had ended: nobody knows which of them is missing
    for place, content in enumerate(account.contents):
        for process, size in enumerate(content.block_sizes):
            follows = size_after(warm_ups[process * step + place], account.block_ms, clock)
            if follows is not None and follows != size:
                where = f"process {process + 1} ({content.name})"
                return f"blocks of {size} inferences in {where}, and {follows} follow from its warm-up"
    return ""


def size_after(warm_up: Mapping[str, Any], block_ms: float, clock: SensorClock | None) -> int | None:
    """Return how many inferences a block has, by the warm-up before them; None where that does not say.

    By the clock: what disturbs inferences goes on while their inputs are made.
    """
    making_ns = warm_up.get("making_ns")
    if making_ns is None and clock is None:
        return None
    return size_of_block((warm_up["median_ns"] + (making_ns or 0)) / 1e9, block_ms, clock)


def size_of_block(inference_s: float, block_ms: float, clock: SensorClock | None) -> int:
    """Return how many inferences a block has, or releases of a sensor's clock: as many as come in a block's time.

    Args:
        inference_s: What an inference and the making of its input take, in seconds.
        block_ms: How long a block lasts.
        clock: The sensor's clock.
    """
    each_ms = inference_s * 1e3 if clock is None else clock.period_ms
    return block_size(block_ms, max(each_ms, 1e-6))
