"""What checking a device's answers costs: calls with the schemas and without them, and parsing a board's facts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.agent import facts, orphans, telemetry, wire
from harness.deploy import exchange
from harness.deploy.deployment import Deployment
from harness.protocol import Answer, BoardFacts, parse

from .support.deploy import prepare
from .support.interleave import Block, interleave, median_of, one_cpu, timed
from .support.row import Aim, Options, Row, ratio_row

IS_QUICK = True
LIMIT_S = 1800

MANY = 1000
CALLS = 500
ROUNDS = 40
RATIO_AIM = Aim(1.05)
FACTS_AIM = Aim(1.0)  # milliseconds
AGAINST = "the same without validation"


def run(options: Options) -> Iterator[Row]:
    """Both through one deployment of digits, on one CPU."""
    with one_cpu(), prepare("digits", "onnxruntime").deployed() as deployment:
        one = [{"input": np.arange(64, dtype=np.uint8)}]
        yield from _compared("64 bytes there and back: p50", lambda: deployment.echo(one), CALLS)
        many = [{"input": np.full(64, index % 256, dtype=np.uint8)} for index in range(MANY)]
        yield from _compared(f"{MANY} inputs of 64 bytes echoed in one call", lambda: deployment.echo(many), 5)
        yield from _inferred(deployment)
    yield _facts()


def _inferred(deployment: Deployment) -> Iterator[Row]:
    sets = (prepare("digits", "onnxruntime").sets * MANY)[:MANY]
    yield from _compared(f"{MANY} digits inferred in one call", lambda: deployment.infer(sets), 3)


def _compared(what: str, action: Callable[[], object], calls: int) -> Iterator[Row]:
    block = timed(action, calls)
    checked, bare = interleave(ROUNDS, block, lambda: _unchecked(block))
    details = {"checked_us": median_of(checked) / 1e3, "bare_us": median_of(bare) / 1e3}
    yield ratio_row(what, checked, bare, f"{AGAINST}: {median_of(bare) / 1e3:.1f} µs", RATIO_AIM, details)


def _unchecked(block: Callable[[], Block]) -> Block:
    with _without_validation():
        return block()


@contextmanager
def _without_validation() -> Iterator[None]:
    """Answers become records as they are; neither their fields nor their brackets are looked at."""

    def built(schema: type[Answer], header: Mapping[str, Any], *, to: str, where: str) -> Any:
        return SimpleNamespace(**{"written": None, **header})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "parse", built)
        patch.setattr(wire, "is_nested_deeper", lambda text, most: False)
        yield


def _facts() -> Row:
    """With every package of this environment."""
    said = {**facts.facts(None), "governor": telemetry.governors(), "boot": orphans.boot_id()}

    def block() -> Block:
        durations = []
        for _ in range(200):
            start = time.perf_counter_ns()
            parse(BoardFacts, said, to="facts", where="here")
            durations.append(time.perf_counter_ns() - start)
        return durations

    (blocks,) = interleave(10, block)
    what = f"parsing facts with {len(said['packages'])} packages"
    return Row(what, median_of(blocks) / 1e6, "ms", "once for each connection", FACTS_AIM)
