"""Where the agent reads its memory: between blocks, at places spread over the loop; the harness adds nothing."""

from __future__ import annotations

import gc
import mmap
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

from harness.agent import telemetry
from harness.agent.growth import PLACES, Growth
from harness.agent.operations import Operations
from harness.agent.ring import InTurn, Ring
from harness.agent.timing import timed_loop
from harness.deploy.plausibility import why_growth_impossible

ONE = {"x": np.zeros(64, np.float32)}
KIB = 1024


class Engine:
    """Keeps so many bytes of each inference, and makes as many that only the collector finds."""

    def __init__(self, kept: int = 0, garbage: int = 0) -> None:
        self.kept, self.garbage, self.all = kept, garbage, bytearray()

    def prepare(self, inputs: Any) -> Any:
        return inputs

    def run(self, prepared: Any) -> None:
        self.all += b"x" * self.kept
        if self.garbage:
            circle: list[Any] = [np.ones(self.garbage // 8)]
            circle.append(circle)


def looped(engine: Engine, samples: int, size: int, budget_ns: int = 10**12) -> Growth:
    """Run a loop on a ring of this size."""
    ring = Ring(engine, ["x"], InTurn([[ONE["x"]]], [0]), size)
    with Growth(ring, samples) as watched:
        durations = timed_loop(engine.run, watched.renew, samples, budget_ns)
        watched.end(len(durations))
    assert not gc.get_freeze_count()
    return watched


@pytest.mark.parametrize(
    ("samples", "size", "budget_ns", "inferences"),
    [
        pytest.param(1, 128, 10**12, [2], id="one"),
        pytest.param(100, 128, 10**12, [101], id="one-block"),
        pytest.param(300, 128, 10**12, [129, 258], id="not-after-the-last-block-which-is-shorter"),
        pytest.param(300, 128, 0, [2], id="ended-at-once"),
        pytest.param(5000, 128, 10**12, [129 * block for block in range(1, 40)], id="each-block"),
        pytest.param(7800, 128, 10**12, [129 * block for block in range(2, 61)], id="each-but-the-first"),
        pytest.param(600, 1, 10**12, [20 * place for place in range(1, 60)], id="a-ring-of-one"),
    ],
)
def test_memory_is_read_between_blocks(samples: int, size: int, budget_ns: int, inferences: list[int]) -> None:
    """As many inferences are counted as there were, those that are not timed among them."""
    watched = looped(Engine(), samples, size, budget_ns)
    assert watched.inferences == inferences
    assert len(watched.anonymous_kib) == len(inferences) <= PLACES


def slope(watched: Growth) -> float:
    """By the ends, in KiB per inference."""
    first, last = watched.inferences[12], watched.inferences[-1]
    return (watched.anonymous_kib[-1] - watched.anonymous_kib[12]) / (last - first)


def slope_in_a_fresh_process(engine: Engine, samples: int) -> float:
    """See slope. This process has memory that other tests freed, from which an allocator takes first."""
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        return fresh.submit(_slope_of, engine, samples).result(60)


def _slope_of(engine: Engine, samples: int) -> float:
    return slope(looped(engine, samples, 128))


@pytest.mark.parametrize(
    ("engine", "low", "high"),
    [
        pytest.param(Engine(), -0.05, 0.05, id="nothing"),
        pytest.param(Engine(kept=10 * KIB), 9, 13, id="what-is-kept"),
        pytest.param(Engine(garbage=10 * KIB), -0.05, 0.05, id="garbage-of-Python's-is-no-growth"),
    ],
)
def test_what_an_inference_keeps_is_seen(engine: Engine, low: float, high: float) -> None:
    assert low <= slope_in_a_fresh_process(engine, 5000) <= high


def test_a_long_loop_does_not_grow_by_its_own_durations() -> None:
    """Eight bytes for each: 1.6 MB of them would be 8 KiB for 1000 inferences."""
    assert abs(slope_in_a_fresh_process(Engine(), 200_000)) * 1000 < 2


def test_what_a_kernel_does_not_say_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "read_text", lambda path: "VmRSS:  500 kB\nVmSwap:  0 kB\n")
    watched = looped(Engine(), 300, 128)
    assert (watched.inferences, watched.anonymous_kib) == ([], [])


@pytest.mark.parametrize(
    ("status", "kib"),
    [
        pytest.param("VmRSS:\t9 kB\nRssAnon:\t     700 kB\nRssFile:\t5 kB\nVmSwap:\t  44 kB\n", 744, id="both"),
        pytest.param("RssAnon:\t700 kB\n", 700, id="no-swap"),
        pytest.param("VmSwap:\t700 kB\n", None, id="no-RssAnon"),
    ],
)
def test_swapped_memory_is_anonymous_too(monkeypatch: pytest.MonkeyPatch, status: str, kib: int | None) -> None:
    monkeypatch.setattr(telemetry, "read_text", lambda path: status)
    assert telemetry.anonymous_kib() == kib


def test_this_process_has_some() -> None:
    held = mmap.mmap(-1, 8 * KIB * KIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.write(b"x" * len(held))
    before = telemetry.anonymous_kib()
    held.close()
    after = telemetry.anonymous_kib()
    assert before is not None
    assert after is not None
    assert before - after > 7 * KIB


def test_what_the_allocator_keeps_is_given_back_after_the_warm_up() -> None:
    """Sixty MiB of small pieces that were freed, with one behind them that is not."""
    pieces = [np.ones(8 * KIB) for _ in range(960)]
    held = np.ones(8 * KIB)
    pieces.clear()
    before = telemetry.anonymous_kib()
    operations = Operations()
    operations.engine, operations.input_names = Engine(), ["x"]
    operations({"op": "warm_up", "budget_ns": 0}, [ONE["x"]])
    after = telemetry.anonymous_kib()
    assert before is not None
    assert after is not None
    assert held.any()
    assert before - after > 40 * KIB


def test_the_readings_come_with_the_reply() -> None:
    operations = Operations()
    operations.engine, operations.input_names = Engine(), ["x"]
    header = {"op": "measure", "samples": 300, "budget_ns": 10**12, "ring": 128}
    reply, _ = operations(header, [ONE["x"]])
    assert reply["inferences"] == [129, 258]
    assert all(kib > KIB for kib in reply["anonymous_kib"])
    assert why_growth_impossible(reply, 300) == ""
