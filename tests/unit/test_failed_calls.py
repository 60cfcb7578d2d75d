"""Calls that failed: what the host takes of a reply, what of it can be true, and what becomes of it in a loop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.agent.failure import KINDS, NEVER
from harness.agent.pacing import DROP, Pace
from harness.agent.sides import DROPPED
from harness.deploy import timing
from harness.deploy.call import Call
from harness.deploy.content import Content
from harness.deploy.exchange import Exchange, Reply
from harness.deploy.failed_calls import count_kinds, describe_failed
from harness.deploy.feed import Feed
from harness.deploy.paced_plausibility import why_releases_impossible
from harness.deploy.plausibility import why_durations_impossible, why_warm_up_impossible
from harness.errors import ImpossibleReport, ProtocolError, RemoteError
from harness.measure.closed_loop import BLOCK_S, ClosedLoop
from harness.measure.measurement import Measurement
from harness.model.model import Array
from harness.protocol import agent
from tests.support.failing_calls import LATE, MS, REFUSED, TIMEOUT_MS, clean, failing, remote, reply

STATE: dict[str, Any] = {"boot": "", "governor": [], "frequency_khz": [], "temperature_mc": [], "throttled_bits": None}
STATE |= {"throttle_events": 0, "swapped_pages": 0, "swapped_kib": 0}
FILL = {"dtype": "float32", "shape": [3], "first": 0, "last": 9, "scale": 0, "order": "random", "key": 7, "set": []}


# What is taken of a reply


def taken(tensors: list[Array], *, is_paced: bool = False, sides: bool = False) -> tuple[Array, dict[str, Any]]:
    def refuse(operation: str, found: str) -> ProtocolError:
        return ProtocolError(operation, found=found)

    answer = agent.Measured.model_validate(
        {"elapsed_ns": 9, "before": STATE, "after": STATE, "loop_ns": 8, "making_ns": 1, "untimed_ns": 0, "untimed": 0}
        | {"inferences": [], "anonymous_kib": [], "sides": sides}
    )
    time = SimpleNamespace(seconds=0.0)
    session: Any = SimpleNamespace(samples=3, is_paced=is_paced, has_fallback=sides, refuse_tensors=refuse)
    session.device_time = time
    return timing._durations_of(session, Reply(answer, tensors))


def test_codes_stand_in_the_account() -> None:
    durations, account = taken([np.array([5, NEVER, 7]), np.array([0, LATE, 0], np.uint8)])
    assert durations.tolist() == [5, NEVER, 7]
    assert account["codes"].tolist() == [0, LATE, 0]


def test_without_failed_calls_there_are_no_codes() -> None:
    assert "codes" not in taken([np.array([5, 6, 7])])[1]


@pytest.mark.parametrize(
    "second",
    [np.array([0, 1], np.uint8), np.array([0, 1, 0]), np.array([[0], [1], [0]], np.uint8), np.array([0.0, 1.0, 0.0])],
)
def test_codes_of_another_form_are_refused(second: Array) -> None:
    with pytest.raises(ProtocolError, match="measure"):
        taken([np.array([5, NEVER, 7]), second])


def test_where_a_fallback_answers_no_call_is_without_an_answer() -> None:
    assert taken([np.array([5, 6, 7]), np.zeros(3, np.uint8)], sides=True)[1]["sides"].tolist() == [0, 0, 0]
    unanswered = [np.array([5, NEVER, 7]), np.array([0, LATE, 0], np.uint8), np.array([0, DROPPED, 0], np.uint8)]
    with pytest.raises(ProtocolError, match="measure"):
        taken(unanswered, sides=True)


def test_no_tensor_is_refused() -> None:
    with pytest.raises(ProtocolError):
        taken([])


def test_a_failed_call_for_outputs_is_an_error_of_its_own() -> None:
    exchange: Any = SimpleNamespace(where="net")
    error = Exchange._refusal(exchange, "infer", agent.Refusal(error="no answer in 1 s", remote="late"))
    assert isinstance(error, RemoteError)
    assert error.kind == "late"
    assert error.told == "a call to the computer that serves the model failed each time (late): no answer in 1 s"


# What can be true

CODES = np.array([0, LATE, 0, REFUSED], np.uint8)
DURATIONS = np.array([5 * MS, NEVER, 6 * MS, NEVER])
ACCOUNT = {"loop_ns": 120 * MS, "making_ns": 0, "untimed_ns": 0, "untimed": 0, "failed_ns": 102 * MS}


def why(durations: Array = DURATIONS, codes: Array | None = CODES, timeout_ms: float | None = 100, **more: Any) -> str:
    said = {**ACCOUNT, **reply(codes), **more}
    call = Call(0.2, 125 * MS)
    return why_durations_impossible(durations, said, call, asked=4, budget_s=9.0, timeout_ms=timeout_ms)


def test_failed_calls_may_be_true() -> None:
    assert why() == ""


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"codes": None}, "-1 ns"),  # a duration below 0 that no code explains
        ({"codes": None, "durations": np.array([5, 6, 7, 8]) * MS, "failed": {"late": 1}}, "codes of the calls"),
        ({"codes": np.zeros(4, np.uint8), "durations": np.array([5, 6, 7, 8]) * MS}, "codes of failed calls"),
        ({"codes": np.array([0, 9, 0, 1], np.uint8), "failed": {}}, "codes up to 9"),
        ({"durations": np.array([5 * MS, 7 * MS, 6 * MS, NEVER])}, "-1 in place of the duration"),
        ({"failed": {"late": 2}}, "as their codes count them"),
        ({"failed": {}}, "as their codes count them"),
        ({"failed_ns": 0}, "failed calls of at most"),
        ({"failed_ns": 1400 * MS}, "failed calls of at most"),
        ({"timeout_ms": None}, "of a backend that calls no other computer"),
        ({"failed_ns": 115 * MS}, "durations of at most 0.12 s in all"),
    ],
)
def test_what_cannot_be_true_of_failed_calls(wrong: dict[str, Any], found: str) -> None:
    assert found in why(**wrong)


def test_an_answer_after_the_timeout_is_impossible() -> None:
    durations, said = np.array([5 * MS, 1300 * MS]), {**ACCOUNT, "loop_ns": 1310 * MS, "failed_ns": 0}
    call = Call(2.0, 1320 * MS)
    problem = why_durations_impossible(durations, said, call, asked=2, budget_s=9.0, timeout_ms=100)
    assert "calls that end when 100 ms are over" in problem
    assert why_durations_impossible(durations, said, call, asked=2, budget_s=9.0) == ""


WARM = {"iterations": 20, "settled": True, "median_ns": 5 * MS, "making_ns": 0}


def test_a_warm_up_may_have_failed_calls_of_a_remote_backend_alone() -> None:
    call = Call(1.0, 900 * MS)
    assert why_warm_up_impossible({**WARM, "failed": {"late": 3}}, call, 1.0, 100) == ""
    assert "failed calls" in why_warm_up_impossible({**WARM, "failed": {"late": 3}}, call, 1.0)
    assert "failed calls" in why_warm_up_impossible({**WARM, "failed": {"late": 21}}, call, 1.0, 100)


WARMED = [({}, False), ({"late": 10}, False), ({"late": 6, "broken": 5}, True)]


@pytest.mark.parametrize(("failed", "is_doubted"), WARMED)
def test_a_warm_up_whose_calls_mostly_fail_does_not_settle(failed: dict[str, int], is_doubted: bool) -> None:
    measured = Measurement(warm_ups=[{**WARM, "failed": failed}])
    assert ("did not settle" in measured.doubt) is is_doubted


# On a sensor's clock

PACE = Pace(10 * MS, DROP, -10 * MS)
RELEASES = np.array([[0, 0, 5], [10, 10, 35], [20, -MS, -MS], [30, -MS, -MS], [40, 40, 45]]) * MS
RELEASES[RELEASES == -MS * MS] = NEVER


def paced(codes: Array, failed_ns: int, releases: Array = RELEASES, timeout_ms: float | None = 20) -> str:
    said = {"loop_ns": 60 * MS, "making_ns": 0, "untimed_ns": 0, "untimed": 0, "failed_ns": failed_ns, **reply(codes)}
    call = Call(1.0, 70 * MS)
    parts: dict[str, Any] = {"asked": 5, "budget_s": 1.0, "pace": PACE, "timeout_ms": timeout_ms}
    return why_releases_impossible(releases, said, call, **parts)


def test_a_failed_release_keeps_its_start_and_end() -> None:
    assert paced(failing(5, 1), 25 * MS) == ""


def test_how_long_failed_releases_took_is_what_their_ends_say() -> None:
    assert "25000000 ns" in paced(failing(5, 1), 24 * MS)


def test_a_release_that_was_dropped_made_no_call() -> None:
    assert "was dropped" in paced(failing(5, 2), 25 * MS)


# In a loop


class Device:
    """A deployment whose calls fail as they are told to."""

    where = "test"

    def __init__(self, codes: Array, failed_ms: float = 100.0) -> None:
        self.codes, self.failed_ns = codes, round(failed_ms * MS)
        self.budgets: list[float] = []
        self.random = np.random.default_rng(1)

    def warm_up(self, feed: Feed, budget_s: float) -> dict[str, Any]:
        self.last_call = Call(1.0, 900 * MS)
        return {**WARM, "elapsed_ns": 900 * MS}

    def measure(self, feed: Feed, count: int, budget_s: float, name: str) -> Any:
        self.budgets.append(budget_s)
        codes, self.codes = self.codes[:count], self.codes[count:]
        durations = np.where(codes > 0, NEVER, 5 * MS + self.random.integers(0, MS, len(codes)))
        spent_ns = int(np.count_nonzero(codes)) * self.failed_ns
        loop = int(durations[codes == 0].sum()) + spent_ns + 1000
        self.last_call = Call(loop / 1e9 + 0.01, loop)
        account = {"making_ns": 0, "untimed": 0, "untimed_ns": 0, "loop_ns": loop, "elapsed_ns": loop}
        states = {"before": STATE, "after": STATE, "inferences": [], "anonymous_kib": []}
        said = reply(codes, failed_ns=spent_ns) if codes.any() else {}
        return durations, {**states, **account, **said}


def timed_by(device: Device, count: int, timeout_ms: float | None = TIMEOUT_MS) -> Measurement:
    content = Content(fills=[FILL])
    source: Any = SimpleNamespace(result_name=lambda: "x")
    deployment: Any = device
    loop = ClosedLoop(deployment=deployment, source=source, content=content, report=lambda: None, timeout_ms=timeout_ms)
    measured = Measurement(uniform=content.spread_timed(), timeout_ms=timeout_ms)
    loop.begin(measured.contents)
    loop.warm_up(measured.uniform, 1.0)
    loop.take(measured.uniform, count, 60.0)
    return measured


def test_a_failed_call_is_infinite_keeps_its_number_and_is_never_dropped() -> None:
    measured = timed_by(Device(failing(500, 7, 8, 450)), 500)
    assert measured.count == 500
    assert np.flatnonzero(np.isinf(measured.uniform.values)).tolist() == [7, 8, 450]
    assert measured.raw_inputs.tolist() == list(range(500))
    assert measured.uniform.failed == {"late": 3}


def test_raw_samples_have_never_in_its_place_and_codes_beside_them() -> None:
    measured = timed_by(Device(failing(500, 7, 450, code=REFUSED)), 500)
    assert measured.raw.dtype == np.int64
    assert np.flatnonzero(measured.raw == NEVER).tolist() == [7, 450]
    assert measured.raw_failures is not None
    assert np.flatnonzero(measured.raw_failures == REFUSED).tolist() == [7, 450]


def test_where_none_failed_durations_stay_whole_numbers_and_no_codes_are_kept() -> None:
    measured = timed_by(Device(clean(500)), 500)
    assert measured.uniform.processes[0].dtype == np.int64
    assert measured.raw_failures is None


def test_requests_are_short_and_add_up() -> None:
    device = Device(failing(900, 3))
    measured = timed_by(device, 900)
    assert max(device.budgets) <= BLOCK_S
    (requests,) = measured.uniform.requests
    assert sum(request.calls for request in requests) == 900
    assert [request.failed for request in requests if request.failed] == [1]


def test_failed_calls_of_a_backend_that_makes_none_are_impossible() -> None:
    with pytest.raises(ImpossibleReport, match="calls no other computer"):
        timed_by(Device(failing(500, 7)), 500, timeout_ms=None)


def test_all_codes_are_counted_by_kind() -> None:
    codes = np.arange(1, len(KINDS) + 1, dtype=np.uint8)
    assert count_kinds(codes) == dict.fromkeys(KINDS, 1)
    assert describe_failed({"late": 10, "refused": 2}, 1000) == "12 of 1000 calls failed (late 10, refused 2)"


def test_answered_calls_alone_tell_of_the_clock() -> None:
    measured = remote(failing(100, 5, 6))
    assert len(measured.uniform.answered[0]) == 98
    assert measured.uniform.answered[0].dtype == np.int64
