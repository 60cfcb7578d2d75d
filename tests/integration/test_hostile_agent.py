"""An agent that lies, by a real process between it and the host: each lie is an error that names it, in time."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.agent.pacing import Pace
from harness.deploy.deployment import Deployment, Timeouts
from harness.errors import AgentTimeout, HilgateError, ProtocolError
from harness.links.local import Process
from harness.protocol import Answer, agent
from tests.support.hostile import HostileProgram, Mutation, mutations, peak_growth
from tests.unit.test_protocol import AGENT

from .test_agent import INPUTS, bundle, load

__all__ = ["bundle"]

MIB = 1 << 20
LIMIT_S = 3.0
TIMEOUTS = Timeouts(start_s=20, load_s=20, call_s=LIMIT_S)


@pytest.fixture
def hostile(tmp_path: Path) -> HostileProgram:
    return HostileProgram(tmp_path / "python", sys.executable, tmp_path / "plan.json")


@pytest.fixture
def start(bundle: Path, hostile: HostileProgram) -> Iterator[Callable[[], Deployment]]:
    started: list[Deployment] = []

    def start() -> Deployment:
        folders = ["--records", str(bundle / "records"), "--results", str(bundle / "results")]
        command = [str(hostile.path), "-B", "-m", "agent", *folders]
        started.append(Deployment.start(Process.start(command, str(bundle)), "test", TIMEOUTS))
        return started[-1]

    yield start
    for deployment in started:
        deployment.close()


def use(deployment: Deployment) -> None:
    """All that a run asks."""
    load(deployment)
    deployment.infer([INPUTS] * 3)
    deployment.keep([INPUTS])
    deployment.warm_up([INPUTS], 0.01)
    durations, _ = deployment.measure([INPUTS], 5, 1.0)
    assert durations.dtype == np.int64
    deployment.memory_kib()
    deployment.echo([INPUTS])


def caught(start: Callable[[], Deployment], kinds: Any = ProtocolError) -> HilgateError:
    """What comes of it: in time, and in memory."""
    began = time.monotonic()
    with peak_growth() as grown, pytest.raises(kinds) as error:
        use(start())
    assert time.monotonic() - began < TIMEOUTS.load_s + 10
    assert grown() < 300 * MIB
    found: HilgateError = error.value
    return found


def test_an_honest_one_is_believed(start: Callable[[], Deployment]) -> None:
    use(start())


@pytest.mark.parametrize(
    ("operation", "field", "how"),
    [
        pytest.param("start", "pid", {"to": "7"}, id="pid-a-text"),
        pytest.param("start", "hello", {"to": "hello"}, id="another-program"),
        pytest.param("load", "load_ns", {}, id="no-load_ns"),
        pytest.param("load", "load_ns", {"to": -1}, id="negative-load_ns"),
        pytest.param("load", "outputs", {"to": None}, id="outputs-null"),
        pytest.param("load", "memory_kib", {"to": {}}, id="memory-empty"),
        pytest.param("load", "runtime", {"to": {"torch": ["2.9"]}}, id="version-a-list"),
        pytest.param("infer", "inference_ns", {"to": float("nan")}, id="nan"),
        pytest.param("infer", "elapsed_ns", {"to": 1 << 127}, id="128-bits"),
        pytest.param("infer", "error", {"to": 7}, id="error-a-number"),
        pytest.param("infer", "written", {"to": [None]}, id="list-of-null"),
        pytest.param("warm_up", "median_ns", {"to": "3"}, id="median-a-text"),
        pytest.param("measure", "before", {"to": {}}, id="state-empty"),
        pytest.param("measure", "making_ns", {"to": True}, id="bool-for-a-number"),
        pytest.param("memory", "memory_kib", {"to": {"peak": 0.5, "resident": 1, "swapped": 0}}, id="half-a-KiB"),
        pytest.param("echo", "elapsed_ns", {}, id="no-elapsed_ns"),
    ],
)  # fmt: skip
def test_a_field_that_lies_is_named(
    start: Callable[[], Deployment], hostile: HostileProgram, operation: str, field: str, how: dict[str, Any]
) -> None:
    hostile.lie("agent", operation, **({"set": [field], **how} if how else {"drop": [field]}))
    error = caught(start)
    if "nan" not in str(how.get("to")):  # which is no JSON at all
        assert f"'{field}" in error.what
        assert operation in error.what


ASKED: dict[str, type[Answer]] = {
    "start": agent.Hello,
    "load": agent.Loaded,
    "infer": agent.Inferred,
    "warm_up": agent.WarmedUp,
    "measure": agent.Measured,
    "memory": agent.Memory,
}
# Those that a run of every answer has; the table itself is gone through in tests/unit/test_protocol.py.
LIES = [
    (operation, lie) for operation, kind in ASKED.items() for lie in mutations(AGENT[kind]) if lie.place[0] != "written"
]


@pytest.mark.parametrize(("operation", "lie"), random.Random(17).sample(LIES, 12), ids=str)
def test_a_lie_of_the_table_ends_it_or_does_no_harm(
    start: Callable[[], Deployment], hostile: HostileProgram, operation: str, lie: Mutation
) -> None:
    hostile.lie("agent", operation, **lie.plan)
    began, error = time.monotonic(), None
    try:
        use(start())
    except ProtocolError as caught:
        error = caught
    assert time.monotonic() - began < TIMEOUTS.load_s + 10
    assert error is None or operation in error.what
    assert error is None or any(said in str(error) for said in (f"'{lie.place[0]}", "is no number", "nested"))


@pytest.mark.parametrize(
    ("operation", "how", "said"),
    [
        pytest.param("load", {"announce": 64 << 30}, "larger than", id="64-GiB-at-load"),
        pytest.param("infer", {"announce": 64 << 30}, "larger than", id="64-GiB"),
        pytest.param("memory", {"announce": 1}, "larger than", id="a-byte-where-none-was-asked-for"),
        pytest.param("infer", {"header": " ", "times": 64 << 20}, "larger than", id="header-of-64-MiB"),
        pytest.param("infer", {"header": "[", "times": 100_000}, "nested at most 32", id="nested-100000"),
        pytest.param("infer", {"twice": True}, "tensors for", id="each-tensor-twice"),
        pytest.param("load", {"twice": True}, "tensors for", id="each-tensor-twice-at-load"),
        pytest.param("measure", {"samples": 0}, "int64 [0]", id="no-samples"),
        pytest.param("measure", {"samples": 6}, "int64 [6], where 1 to 5 durations", id="a-sample-more-than-asked-for"),
        pytest.param("measure", {"samples": 60}, "larger than", id="more-samples-than-asked-for"),
        pytest.param("infer", {"endless": "stdout"}, "wanted a frame", id="no-frames-without-end"),
    ],
)
def test_what_was_not_asked_for_is_not_taken(
    start: Callable[[], Deployment], hostile: HostileProgram, operation: str, how: dict[str, Any], said: str
) -> None:
    hostile.lie("agent", operation, **how)
    error = caught(start)
    assert said in error.found
    assert len(str(error)) < 5000


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        pytest.param([5], "int64 [5], where 1 to 5 releases, int64[n, 3], were asked for", id="durations"),
        pytest.param([3, 5], "int64 [3, 5]", id="turned-around"),
        pytest.param([0, 3], "int64 [0, 3]", id="none"),
        pytest.param([6, 3], "int64 [6, 3], where 1 to 5 releases", id="one-more-than-asked-for"),
        pytest.param([60, 3], "larger than", id="more-than-asked-for"),
        pytest.param([1, 3, 1], "int64 [1, 3, 1]", id="three-axes"),
    ],
)
def test_releases_of_another_shape_are_not_taken(
    start: Callable[[], Deployment], hostile: HostileProgram, shape: list[int], said: str
) -> None:
    hostile.lie("agent", "measure", samples=shape)
    deployment = start()
    load(deployment)
    with pytest.raises(ProtocolError) as error:
        deployment.measure([INPUTS], 5, 1.0, pace=Pace(1_000_000, "drop", 0))
    assert said in error.value.found


@pytest.mark.parametrize(
    "how", [pytest.param({"endless": "stdout"}, id="greeting"), pytest.param({"working": 0.2}, id="work")]
)
def test_what_does_not_end_is_ended(
    start: Callable[[], Deployment], hostile: HostileProgram, how: dict[str, Any]
) -> None:
    hostile.lie("agent", "start", **how)
    caught(start, (ProtocolError, AgentTimeout))


def test_a_search_is_not_over_sooner_for_what_the_device_says_it_took(
    start: Callable[[], Deployment], hostile: HostileProgram
) -> None:
    hostile.lie("agent", "infer", set=["elapsed_ns"], to=1 << 62)
    deployment = start()
    use(deployment)
    assert deployment.device_time.busy_s < TIMEOUTS.load_s


def test_stderr_without_an_end_costs_no_answer(start: Callable[[], Deployment], hostile: HostileProgram) -> None:
    hostile.lie("agent", "load", endless="stderr")
    with peak_growth() as grown:
        deployment = start()
        use(deployment)
        assert len(deployment.session.exchange.channel.stderr_tail()) <= 1 << 16
    assert grown() < 300 * MIB
