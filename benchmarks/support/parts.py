"""A plugin of pytest's: where the seconds of a run of ``pytest -m hil`` go.

    HILGATE_PARTS=FILE pytest -p benchmarks.support.parts -m hil …

One clock runs at any time: that of the innermost part that the run is in. So the parts add up to the whole, from this
process's start until pytest is done. FILE: {PART: seconds}.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.agent.timing import since_process_start_ns

VARIABLE = "HILGATE_PARTS"
START, BOOT, DEPLOY, LOAD, INFER, REST = "start and imports", "switch-on and login", "deploy", "load", "infer", "rest"
MODEL, OFF = "rest: the model on the host", "rest: switch-off"


class Clocks:
    """One for each part; ``running`` are the parts that we are in, the innermost last."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.running = [START]
        self.since_ns = time.perf_counter_ns() - since_process_start_ns()

    def switch(self) -> None:
        """Charge the part that we were in until now."""
        now = time.perf_counter_ns()
        self.seconds[self.running[-1]] += (now - self.since_ns) / 1e9
        self.since_ns = now

    def wrap(self, place: Any, name: str, part: str) -> None:
        """From now on a function's time is its part's."""
        function: Callable[..., Any] = getattr(place, name)

        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            self.switch()
            self.running.append(part)
            try:
                return function(*arguments, **named)
            finally:
                self.switch()
                self.running.pop()

        setattr(place, name, timed)


clocks = Clocks()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """All is imported, and nothing has begun."""
    from harness.board import Board
    from harness.deploy.deployment import Deployment
    from harness.parity.rule.reference import Reference
    from harness.run import deploying, devices
    from harness.run.models import Models

    clocks.switch()
    clocks.running = [REST]
    clocks.wrap(devices, "open_board", BOOT)
    for place, name, part in (
        (deploying, "put_bundle", DEPLOY),
        (Board, "put", DEPLOY),
        (Board, "start", DEPLOY),
        (Deployment, "__post_init__", DEPLOY),
        (Deployment, "load", LOAD),
        (Deployment, "infer", INFER),
        (Models, "build", MODEL),
        (Models, "samples", MODEL),
        (deploying, "export_cell", MODEL),
        (Reference, "__call__", MODEL),
        (Board, "close", OFF),
    ):
        clocks.wrap(place, name, part)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Write it down; what the interpreter's end takes is whoever waits for it to see."""
    clocks.switch()
    Path(os.environ[VARIABLE]).write_text(json.dumps(clocks.seconds), encoding="utf-8")


def read(path: Path, wall_s: float) -> dict[str, float]:
    """Return the parts of a run in their order; what is left of its whole time is the interpreter's end."""
    seconds: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    order = (START, BOOT, DEPLOY, LOAD, INFER, MODEL, OFF, REST)
    seconds[REST] += wall_s - sum(seconds.values())
    return {part: seconds.get(part, 0.0) for part in order}
