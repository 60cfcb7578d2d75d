"""Calls to the agent through the pipe: one of 64 bytes against a bare echo process, and many inputs in one call."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from harness.deploy.deployment import Deployment

from .support import bare_echo
from .support.deploy import prepare
from .support.interleave import Block, interleave, median_of, medians, one_cpu, timed
from .support.row import Aim, Options, Row, ratio_row

IS_QUICK = True
LIMIT_S = 1800

MANY = 1000
AIM = Aim(20.0)  # microseconds an input
CALLS = 200
ROUNDS = 20


def run(options: Options) -> Iterator[Row]:
    """Both through one deployment of digits."""
    with one_cpu(), prepare("digits", "onnxruntime").deployed() as deployment:
        yield from _one_call(deployment)
        yield from _many_echoed(deployment)
        yield from _many_inferred(deployment)


def _one_call(deployment: Deployment) -> Iterator[Row]:
    one = [{"input": np.arange(64, dtype=np.uint8)}]
    with _bare_echo() as echo:
        own, bare = interleave(
            ROUNDS, timed(lambda: deployment.echo(one), CALLS), timed(lambda: echo(bytes(64)), CALLS)
        )
    what, against = "64 bytes there and back: p50", "bare echo process in Python, two pipes"
    details = {"samples": CALLS * ROUNDS, "bare_us": median_of(bare) / 1e3}
    beside = f"{against}: {median_of(bare) / 1e3:.1f} µs"
    yield Row(what, median_of(own) / 1e3, "µs", beside, None, details, medians(own, 1e3))
    yield ratio_row(what, own, bare, against)


@contextmanager
def _bare_echo() -> Iterator[Callable[[bytes], None]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-B", bare_echo.__file__], stdin=pipe, stdout=pipe, bufsize=0) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("started with pipes")
        sink, source = process.stdin.fileno(), process.stdout.fileno()

        def echo(data: bytes) -> None:
            os.write(sink, data)
            left = len(data)
            while left:
                left -= len(os.read(source, left))

        yield echo


def _many_echoed(deployment: Deployment) -> Iterator[Row]:
    sets = [{"input": np.full(64, index % 256, dtype=np.uint8)} for index in range(MANY)]

    def one_by_one() -> Block:
        start = time.perf_counter_ns()
        for one in sets:
            deployment.echo([one])
        return [time.perf_counter_ns() - start]

    together, single = interleave(ROUNDS, timed(lambda: deployment.echo(sets), 1), one_by_one)
    yield from _per_input(f"{MANY} inputs of 64 bytes echoed in one call", together, single)


def _many_inferred(deployment: Deployment) -> Iterator[Row]:
    """Return the link's and the harness's share: the model's own time, as the agent measured it, is subtracted."""
    sets = (prepare("digits", "onnxruntime").sets * MANY)[:MANY]

    def overhead_ns(calls: list[list[dict[str, np.ndarray]]]) -> Block:
        model_s = deployment.device_time.seconds
        start = time.perf_counter_ns()
        for call in calls:
            deployment.infer(call)
        return [time.perf_counter_ns() - start - (deployment.device_time.seconds - model_s) * 1e9]

    singles = [[one] for one in sets]
    together, single = interleave(ROUNDS, lambda: overhead_ns([sets]), lambda: overhead_ns(singles))
    what = f"{MANY} digits inferred in one call, onnxruntime's time taken off"
    yield from _per_input(what, together, single)


def _per_input(what: str, together: list[Block], single: list[Block]) -> Iterator[Row]:
    """Yield the best round and the ratio: other work on the machine only ever adds."""
    rounds_us = [statistics.median(block) / MANY / 1e3 for block in together]
    each = median_of(single) / MANY / 1e3
    against = f"best of {ROUNDS} rounds; median {statistics.median(rounds_us):.1f} µs"
    yield Row(f"{what}: each", min(rounds_us), "µs", against, AIM, rounds=rounds_us)
    yield ratio_row(f"{what}: each", together, single, f"a call for each: {each:.1f} µs")
