"""The worker of `hilgate serve`: order, a process that dies, and what becomes of those who wait."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.agent.frames import Array
from harness.errors import AgentDied, AgentFailure, BackendError
from harness.serving.refused import Refused
from harness.serving.worker import RESTARTS, Worker


class Process:
    """In a deployment's place: returns what it is given, dies of -1, refuses -2, waits at -3 until it is let go."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.go = threading.Event()
        self.closed = False

    def infer(self, sets: list[dict[str, Array]]) -> list[list[Array]]:
        value = float(sets[0]["x"][0])
        self.seen.append(value)
        if value == -1:
            raise AgentDied("the agent died during 'infer'", found="signal 9")
        if value == -2:
            raise AgentFailure("infer failed on the device", found="ValueError: \x1b[2Jno")
        if value == -3:
            self.go.wait(10)
        return [[sets[0]["x"]]]

    def memory_kib(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.serving.worker.PAUSE_S", 0.01)


def started(start: Callable[[], Any] = Process) -> Worker:
    worker = Worker(live=start(), start=start)
    worker.run()
    return worker


def given(value: float) -> dict[str, Array]:
    return {"x": np.array([value], np.float32)}


async def outcomes(worker: Worker, *values: float) -> list[Any]:
    """What comes of requests that are made at once, in their order: a value, or a status."""
    jobs = [worker.submit(given(value)) for value in values]
    answers = await asyncio.wait_for(asyncio.gather(*(job.answer for job in jobs), return_exceptions=True), 20)
    return [answer.status if isinstance(answer, Refused) else float(answer[0][0]) for answer in answers]  # type: ignore[index]


def test_requests_are_answered_one_at_a_time_in_their_order() -> None:
    worker = started()
    process: Any = worker.live
    values = [float(number) for number in range(200)]
    assert asyncio.run(outcomes(worker, *values)) == values
    assert process.seen == values
    worker.close()
    assert process.closed


def test_inputs_that_the_model_refuses_end_nothing() -> None:
    worker = started()
    assert asyncio.run(outcomes(worker, 1, -2, 3)) == [1, 400, 3]
    assert worker.restarts == RESTARTS
    assert worker.problem == ""
    worker.close()


def test_who_had_the_process_that_died_is_told_and_who_waits_is_answered_by_the_next() -> None:
    worker = started()
    before = worker.live
    assert asyncio.run(outcomes(worker, 1, -1, 3)) == [1, 503, 3]
    assert worker.live is not before
    assert worker.restarts == RESTARTS - 1
    worker.close()


def test_it_is_started_again_three_times_at_most() -> None:
    worker = started()
    told: list[str] = []
    worker.tell = told.append
    assert asyncio.run(outcomes(worker, -1, -1, -1, 4, -1, 5, 6)) == [503, 503, 503, 4, 503, 503, 503]

    async def late() -> None:
        worker.submit(given(7))

    with pytest.raises(Refused, match="started again 3 times") as caught:
        asyncio.run(late())
    assert caught.value.status == 503
    assert "no request is answered" in told[-1]
    worker.close()


def test_one_that_cannot_be_started_again_is_tried_three_times() -> None:
    tries = []

    def start() -> Any:
        tries.append(1)
        if len(tries) > 1:
            raise BackendError("the runtime is gone")
        return Process()

    worker = started(start)
    assert asyncio.run(outcomes(worker, -1, 2)) == [503, 503]
    assert len(tries) == 1 + RESTARTS
    assert "the runtime is gone" in worker.problem
    worker.close()


def test_a_process_that_dies_while_it_is_idle_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.serving.worker.LOOK_S", 0.05)

    def gone() -> dict[str, int]:
        raise AgentDied("the agent died during 'memory'")

    worker = started()
    before: Any = worker.live
    before.memory_kib = gone
    end = time.monotonic() + 10
    while worker.live is before and time.monotonic() < end:
        time.sleep(0.01)
    assert worker.live is not before
    worker.close()


def test_what_nobody_waits_for_is_not_inferred() -> None:
    worker = started()
    process: Any = worker.live

    async def leaving() -> None:
        first, second, third = (worker.submit(given(value)) for value in (-3, 2, 3))
        second.abandoned = True
        process.go.set()
        await asyncio.wait_for(asyncio.gather(first.answer, third.answer), 10)

    asyncio.run(leaving())
    assert process.seen == [-3, 3]
    worker.close()


def test_at_the_end_those_who_wait_are_told() -> None:
    worker = started()
    process: Any = worker.live

    async def ending() -> list[Any]:
        jobs = [worker.submit(given(value)) for value in (-3, 2)]
        while not process.seen:
            await asyncio.sleep(0.01)
        worker._stopping.set()
        process.go.set()
        return await asyncio.wait_for(asyncio.gather(*(job.answer for job in jobs), return_exceptions=True), 10)

    first, second = asyncio.run(ending())
    assert float(first[0][0]) == -3
    assert second.status == 503
    worker.close()
