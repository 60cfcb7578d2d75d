"""Whole runs on a sensor's clock: what is in time passes, what is slower than its sensor fails, whatever its limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.judged_again import check_hashes

from .conftest import MODEL, Outcome, Project

# Some milliseconds on any processor, and the sensor delivers every one.
HEAVY = """
    import torch
    from harness import Input, Model

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weight", torch.eye(512))

        def forward(self, x):
            return x @ self.weight @ self.weight

    model = Model(
        build=lambda: Net().eval(),
        inputs=[Input("x", shape=(512, 512), min_value=-1.0, max_value=1.0)],
        rate_hz=1000,
        late="LATE",
        limits={"latency_p99_ms": 1e9, "deadline_miss_rate": 0.5},
    )
"""
CALM = 'rate_hz=100, limits={"latency_p50_ms": 1000, "deadline_miss_rate": 0.9}, dims='

CLOCKS = {
    "calm": {"rate_hz": 100, "late": "drop"},
    "drops": {"rate_hz": 1000, "late": "drop"},
    "queues": {"rate_hz": 1000, "late": "queue"},
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    project = Project(tmp_path_factory.mktemp("clock"))
    project.write("pytest.ini", "[pytest]\n")
    project.write("calm.py", MODEL.replace("dims=", CALM))
    project.write("drops.py", HEAVY.replace("LATE", "drop"))
    project.write("queues.py", HEAVY.replace("LATE", "queue"))
    models = [f"--model={name}.py" for name in ("calm", "drops", "queues")]
    metrics = ["-k", "latency or deadline or jitter", "--device", "local", "--backend", "torchscript"]
    return project.run(*models, *metrics, "--time-limit", "240")


def checks(done: Outcome, model: str) -> dict[str, dict[str, Any]]:
    (cell,) = (one for one in done.evidence["cells"] if one["model"] == model)
    assert cell["error"] is None, done.output
    assert cell["clock"] == CLOCKS[model]
    return {check["metric"]: check for check in cell["checks"]}


def releases(done: Outcome, check: dict[str, Any]) -> Any:
    raw = np.load(done.folder / "build/hil" / check["raw"])
    assert raw.shape[1:] == (3,)
    return raw


@pytest.mark.slow
def test_a_model_that_keeps_up_with_its_sensor_passes(done: Outcome) -> None:
    found = checks(done, "calm")
    p50 = found["latency_p50_ms"]
    assert (p50["verdict"], found["deadline_miss_rate"]["verdict"]) == ("PASS", "PASS"), done.output
    assert found["deadline_miss_rate"]["deadline_ms"] == 10
    assert (p50["rate_hz"], p50["late"]) == (100, "drop")
    assert 0 < p50["utilisation"] < 1
    assert p50["closed_loop_p50_ms"] > 0
    assert found["start_jitter_p99_ms"]["verdict"] == "MEASURED"
    raw = releases(done, p50)
    assert len(raw) == p50["samples"]
    assert np.count_nonzero(raw[:, 2] < 0) == p50["dropped"]
    assert set(check_hashes(done.folder)) == set(CLOCKS)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["drops", "queues"])
def test_a_model_slower_than_its_sensor_fails_whatever_its_limit(done: Outcome, model: str) -> None:
    found = checks(done, model)
    p99 = found["latency_p99_ms"]
    assert (p99["verdict"], found["deadline_miss_rate"]["verdict"]) == ("FAIL", "FAIL"), done.output
    assert (p99["value"], p99["bound_low"]) == ("inf", "inf")
    assert p99["utilisation"] > 0.5
    raw = releases(done, p99)
    # A closed loop would have passed: each by itself is answered soon.
    durations = raw[raw[:, 2] > 0] @ [0, -1, 1]
    assert durations.max() < 1e15
    assert (p99["dropped"] > len(raw) / 2) == (model == "drops")
    assert ("the queue grows without end" in p99["reason"]) == (model == "queues")
