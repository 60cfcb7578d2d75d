"""Which limits on durations sampling decides: those that a selected test judges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest

from harness import Input, Model
from harness.backends import load_backend
from harness.cell import Cell
from harness.checks.limits import Limit
from harness.device import Device
from harness.host.shipped import SUITE
from harness.measure.latency import METRICS
from harness.model.model_file import ModelFile
from harness.run.measuring import UNTIMED_TESTS, tails_of

LIMITS = {"latency_p90_ms": 5.0, "latency_p99_ms": 9.0, "deadline_ms": 9.0, "deadline_miss_rate": 0.01}
EACH = ["p90", "p99", "a miss rate of 0.01"]


def cell() -> Cell:
    limits = tuple(Limit(key, value, "here") for key, value in LIMITS.items())
    model = Model(build=cast(Any, int), inputs=[Input("x", (1,))])
    device = Device(name="here", path=Path("here.toml"), description="", link="local", backends=("onnxruntime",))
    return Cell(ModelFile(Path("net.py"), model, limits), device, load_backend("onnxruntime"))


@pytest.mark.parametrize(
    ("tests", "names"),
    [
        pytest.param(["test_latency.py::test_latency_p99"], ["p99"], id="one"),
        pytest.param(["test_latency.py::test_latency_p50", "test_memory.py::test_memory_peak"], [], id="without-limit"),
        pytest.param(["test_memory.py::test_memory_peak", "test_parity.py::test_parity"], [], id="no-durations"),
        pytest.param(["test_latency.py::test_deadline_miss_rate"], ["a miss rate of 0.01"], id="misses"),
        pytest.param(["test_mine.py::test_of_my_own"], EACH, id="a-test-of-ones-own-may-judge-any"),
        pytest.param(["test_mine.py::test_mine", "test_parity.py::test_parity"], EACH, id="one-of-them"),
        pytest.param([], [], id="none"),
    ],
)
def test_limits_are_decided_that_a_selected_test_judges(tests: list[str], names: list[str]) -> None:
    assert [tail.name for tail in tails_of(cell(), {f"{test}[net-here-onnxruntime]" for test in tests})] == names


def test_every_test_of_the_suite_is_known_to_judge_a_limit_on_durations_or_none() -> None:
    text = "".join(path.read_text() for path in SUITE.glob("test_*.py"))
    functions = set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))
    assert functions - UNTIMED_TESTS == {f"test_{metric.name.removesuffix('_ms')}" for metric in METRICS}
