"""Growth of memory: which readings are fitted, what two processes must say, how often leak-free ones are accused."""

from __future__ import annotations

import numpy as np
import pytest

from harness.agent.frames import Array
from harness.checks.check import Check, Verdict, judge
from harness.checks.limits import Limit
from harness.deploy.content import UNIFORM, Timed
from harness.measure.growth import MEMORY_GROWTH, is_settled, memory_growth
from harness.measure.measurement import GROWTH, Measurement
from harness.measure.memory_series import NEEDED, MemorySeries

CALM = {"swapped_kib": 0}
START_KIB = 90_000


def reply(inferences: list[int], kib: list[int], untimed: int = 0) -> dict[str, object]:
    return {"inferences": inferences, "anonymous_kib": kib, "untimed": untimed, "before": CALM, "after": CALM}


def series(kib: Array, count: int = NEEDED) -> MemorySeries:
    """One of so many inferences, with readings at equal distances."""
    made = MemorySeries()
    places = np.arange(1, len(kib) + 1) * count // len(kib)
    made.add(reply(places.tolist(), (START_KIB + np.asarray(kib)).astype(int).tolist()), count, are_new=True)
    return made


def measured(*all_series: MemorySeries, pace_s: float = 0.01) -> Measurement:
    made = Measurement(uniform=Timed(name=UNIFORM, pace_s=pace_s))
    for each in all_series:
        made.add_series(each)
    return made


def judged(made: Measurement, limit: float | None = 100.0) -> Check:
    return judge(memory_growth(made), [] if limit is None else [Limit(MEMORY_GROWTH.limit_key, limit, "model.py")])


PLACES = np.arange(1, 61) / 60  # of 5000 inferences
NOISE = np.random.default_rng(1).integers(-8, 9, 60) * 4
FLAT, LEAKS, SLIGHT = NOISE, NOISE + 1000 * PLACES, NOISE + 250 * PLACES  # 0, 200 and 50 KiB per 1000
ONCE = NOISE + 2048 * (PLACES > 0.6)
SETTLES = NOISE - 4096 * np.exp(-PLACES * 5)
STAIRS = NOISE + 1024 * (PLACES > 0.9)  # one step of those that come each 5000


@pytest.mark.parametrize(
    ("all_kib", "verdict", "said"),
    [
        pytest.param([FLAT], Verdict.PASS, "", id="flat"),
        pytest.param([FLAT, FLAT, FLAT], Verdict.PASS, "", id="three-flat"),
        pytest.param([SLIGHT, SLIGHT], Verdict.PASS, "", id="less-than-the-limit"),
        pytest.param([LEAKS, LEAKS], Verdict.FAIL, "wanted ≤ 100 KiB (model.py); found at least 1", id="leaks"),
        pytest.param([LEAKS], Verdict.INCONCLUSIVE, "a second process has to say so", id="one-alone"),
        pytest.param([LEAKS, FLAT], Verdict.INCONCLUSIVE, "other processes do not say so", id="one-of-two"),
        pytest.param([FLAT, LEAKS, LEAKS], Verdict.FAIL, "found at least", id="two-of-three"),
        pytest.param([ONCE, ONCE, ONCE], Verdict.INCONCLUSIVE, "inferences would settle it", id="a-step-in-each"),
        pytest.param([SETTLES, SETTLES], Verdict.INCONCLUSIVE, "where 100 are allowed", id="caches-that-fill-slowly"),
        pytest.param([STAIRS], Verdict.INCONCLUSIVE, "where 100 are allowed", id="a-step-that-most-pairs-lack"),
        pytest.param([-LEAKS, -LEAKS], Verdict.PASS, "", id="falling"),
    ],
)
def test_a_limit_on_growth(all_kib: list[Array], verdict: Verdict, said: str) -> None:
    check = judged(measured(*map(series, all_kib)))
    assert (check.verdict, said in check.reason) == (verdict, True), check.reason


def test_without_a_limit_it_is_measured_where_there_are_enough_inferences() -> None:
    check = judged(measured(series(FLAT), series(LEAKS)), None)
    assert check.verdict is Verdict.MEASURED
    assert check.finding.value == pytest.approx(200, rel=0.1)
    assert check.finding.bound is not None
    assert check.finding.bound > 190
    assert [each["inferences"] for each in check.finding.details["by_process"]] == [NEEDED, NEEDED]


@pytest.mark.parametrize(
    ("count", "readings", "said"),
    [
        pytest.param(NEEDED - 1, 60, "a trend takes 5000", id="one-inference-less"),
        pytest.param(NEEDED, 20, "read 20 times in 5000 inferences: a trend takes 20", id="few-readings"),
        pytest.param(NEEDED, 0, "does not say how much of a process's memory is anonymous", id="an-old-kernel"),
    ],
)
def test_too_few_leave_it_open_and_nothing_is_asked_without_a_limit(count: int, readings: int, said: str) -> None:
    few = measured(series(np.zeros(readings), count))
    check = judged(few)
    assert (check.verdict, said in check.reason) == (Verdict.INCONCLUSIVE, True), check.reason
    assert not is_settled(few, 100.0)
    unasked = judged(few, None)
    assert (unasked.verdict, unasked.finding.unasked) == (Verdict.NOT_APPLICABLE, True)


def test_nothing_is_a_pass_of_nothing() -> None:
    assert judged(measured()).verdict is Verdict.INCONCLUSIVE


def test_the_time_that_enough_inferences_take_is_said() -> None:
    assert "about 50 s: --time-limit 135" in judged(measured(series(FLAT, 100), pace_s=0.01)).reason


def test_a_longer_process_tells_what_a_shorter_one_left_open() -> None:
    longer = series(NOISE, 4 * NEEDED)
    assert judged(measured(series(ONCE), longer)).verdict is Verdict.PASS
    assert judged(measured(series(LEAKS), longer)).verdict is Verdict.INCONCLUSIVE


def test_readings_that_cannot_be_are_no_measurement() -> None:
    lying = measured(series(FLAT), series(np.full(60, -START_KIB)))
    assert GROWTH in lying.impossible
    assert (judged(lying).verdict, judged(lying, None).verdict) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    assert is_settled(lying, 100.0)  # another process would be no better


def test_inferences_on_the_files_samples_count_and_their_readings_do_not() -> None:
    made = MemorySeries()
    made.add(reply([100], [500], untimed=10), 100, are_new=True)
    made.add(reply([50], [900], untimed=5), 200, are_new=False)
    made.add(reply([100], [600], untimed=0), 100, are_new=True)
    assert (made.inferences, made.kib, made.count) == ([100, 415], [500, 600], 415)


def test_of_many_readings_sixty_are_fitted_and_the_first_fifth_is_not() -> None:
    """What comes before lets it rise by 10 MiB."""
    kib = np.r_[np.linspace(-10_240, 0, 999), np.zeros(4001)]
    made = series(kib, 5000)
    found = made.trend()
    assert (found.slope, found.low, found.high, found.gained, found.late) == (0,) * 5
    assert len(made._settled()) == 48


# What a process that keeps nothing does to its memory, simulated (facts and numbers: docs/measuring.md, "Growth").


def simulated(random: np.random.Generator, count: int, leak: float) -> MemorySeries:
    """Pages of noise; caches that fill; arenas that grow for good now and then; and what the allocator gives back."""
    x = np.linspace(1 / 60, 1, 60) * count
    kib = random.normal(0, 12, 60) + leak * x / 1000
    kib += random.uniform(0, 4096) * -np.exp(-x / random.uniform(50, 700))  # settling
    for _ in range(random.poisson(0.5)):  # an arena
        kib += 256 * random.integers(1, 9) * (x > random.uniform(0, count))
    away = random.random(60) < random.uniform(0, 0.2)
    kib -= away * random.choice([132, 1024, 4096])
    return series(np.round(kib), count)


@pytest.mark.parametrize("count", [5000, 20_000])
def test_processes_that_keep_nothing_are_not_accused(count: int) -> None:
    random = np.random.default_rng(7)
    verdicts = [judged(measured(simulated(random, count, 0), simulated(random, count, 0))).verdict for _ in range(200)]
    assert verdicts.count(Verdict.FAIL) == 0
    assert verdicts.count(Verdict.PASS) > 60


@pytest.mark.parametrize("count", [5000, 20_000])
def test_processes_that_keep_twice_the_limit_never_pass(count: int) -> None:
    random = np.random.default_rng(8)
    verdicts = [
        judged(measured(simulated(random, count, 200), simulated(random, count, 200))).verdict for _ in range(200)
    ]
    assert verdicts.count(Verdict.PASS) == 0
    assert verdicts.count(Verdict.FAIL) > 160
