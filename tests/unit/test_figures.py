"""What is said of a content: a bound rests on different inputs, and the worse of two contents is judged."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from harness.checks.check import Check, Verdict, judge
from harness.checks.limits import Limit
from harness.deploy.content import SAMPLES, UNIFORM, Content, Timed, content_of, noise_notes
from harness.evidence.parts import describe_check
from harness.measure.figures import Figures
from harness.measure.latency import P50, P90, P99, deadline_miss_rate, latency, published
from harness.measure.measurement import Measurement
from harness.measure.tails import Standing, Tail, tail_figures
from harness.model.model import Array, Input, Model

MS = 1_000_000
QUICK, SLOW = MS, 65 * MS


def timed(durations: Any, numbers: Any = None, given: int = 0) -> Timed:
    """Durations of three processes, each inference a block of time by itself."""
    durations = np.asarray(durations)
    numbers = np.arange(len(durations)) if numbers is None else np.asarray(numbers)
    return Timed(
        name=SAMPLES if given else UNIFORM,
        given=given,
        processes=np.array_split(durations, 3),
        numbers=np.array_split(numbers, 3),
        wanted=len(durations),
    )


def p99(of: Timed) -> Figures:
    """Figures of p99 without a limit."""
    return tail_figures(Standing(timed=of, tail=Tail.of_quantile(0.99), is_over=True), lambda standing: "open")


def of_file(given: int, slow: int, times: int = 1) -> Timed:
    """Samples of which some are slow, each time that they are run; in a random order, as they are timed."""
    numbers = np.concatenate([np.random.default_rng(turn).permutation(given) for turn in range(times)])
    return timed(np.where(numbers < slow, SLOW, QUICK), numbers, given)


def judged(samples: Timed | None, limit: float | None = 20.0, uniform: Array | None = None, metric: Any = P99) -> Check:
    measured = Measurement(uniform=timed(np.full(1000, QUICK) if uniform is None else uniform))
    if samples is not None:
        measured.samples = samples
    limits = [] if limit is None else [Limit(metric.name, limit, "here")]
    check = judge(latency(measured, metric, "", limit), limits)
    unaware = judge(latency(measured, metric, ""), limits)  # as a test of a user's own may call it
    assert (unaware.verdict, unaware.reason, unaware.finding) == (check.verdict, check.reason, check.finding)
    return check


@pytest.mark.parametrize(
    ("samples", "verdict", "said"),
    [
        pytest.param(None, Verdict.PASS, "", id="none"),
        pytest.param(of_file(6, 0, 90), Verdict.PASS, "", id="few-and-quick"),
        pytest.param(of_file(6, 6, 80), Verdict.FAIL, "6 of the model file's 6 samples", id="few-and-slow"),
        pytest.param(of_file(6, 1, 80), Verdict.FAIL, "found at least 65 ms", id="one-of-6"),
        pytest.param(of_file(300, 1, 2), Verdict.INCONCLUSIVE, "1 of the model file's 300 samples", id="one-of-300"),
        pytest.param(of_file(500, 1), Verdict.INCONCLUSIVE, "1 of the model file's 500", id="one-of-500"),
        pytest.param(of_file(500, 1, 3), Verdict.INCONCLUSIVE, "1 of the model file's 500", id="one-of-500-often"),
        pytest.param(of_file(459, 2, 2), Verdict.INCONCLUSIVE, "2 of the model file's 459", id="two-of-459"),
        pytest.param(of_file(500, 0, 3), Verdict.PASS, "", id="none-of-500"),
        pytest.param(of_file(1000, 1), Verdict.PASS, "", id="one-of-1000"),
        pytest.param(of_file(1000, 20, 3), Verdict.FAIL, "found at least 65 ms", id="2-percent"),
        pytest.param(of_file(6, 6, 1), Verdict.INCONCLUSIVE, "6 blocks of 100 ms in the time", id="once-each"),
        pytest.param(
            timed(np.full(100, QUICK), None, 2000),
            Verdict.INCONCLUSIVE,
            "100 of the model file's 2000",
            id="few-of-2000",
        ),
        pytest.param(timed([], None, 6), Verdict.INCONCLUSIVE, "no sample was taken", id="no-time-for-them"),
    ],
)
def test_p99_is_judged_on_the_samples_too(samples: Timed | None, verdict: Verdict, said: str) -> None:
    check = judged(samples)
    assert check.verdict is verdict
    assert said in check.reason


def test_the_noise_is_judged_where_it_is_worse() -> None:
    check = judged(of_file(6, 0, 80), uniform=np.full(1000, SLOW))
    assert (check.verdict, check.finding.details["content"]) == (Verdict.FAIL, UNIFORM)


def test_a_limit_that_is_broken_is_not_left_open_by_the_other_content() -> None:
    assert judged(timed(np.full(9, QUICK), None, 2000), uniform=np.full(1000, SLOW)).verdict is Verdict.FAIL


def test_without_a_limit_the_worse_is_shown_and_both_are_kept() -> None:
    check = judged(of_file(6, 6, 80), limit=None, metric=P50)
    entry = describe_check(check).as_json()
    assert (check.verdict, entry["value"], entry["inputs"], entry["samples"]) == (Verdict.MEASURED, 65.0, 6, 480)
    assert [entry["by_content"][name]["value"] for name in (UNIFORM, SAMPLES)] == [1.0, 65.0]


def test_without_a_limit_a_bound_is_never_that_of_the_other_content_alone() -> None:
    check = judged(timed(np.full(200, QUICK), None, 1000), limit=None)
    assert (check.verdict, check.finding.value, check.finding.bound) == (Verdict.MEASURED, 1.0, None)
    assert "200 of the model file's 1000 samples" in check.finding.no_bound_reason
    assert describe_check(check).as_json()["by_content"][SAMPLES]["open"] == check.finding.no_bound_reason


@pytest.mark.parametrize(
    ("metric", "given", "verdict"),
    [
        pytest.param(P50, 6, Verdict.INCONCLUSIVE, id="p50-of-6"),
        pytest.param(P50, 7, Verdict.INCONCLUSIVE, id="p50-of-7"),
        pytest.param(P50, 10, Verdict.INCONCLUSIVE, id="p50-of-10"),
        pytest.param(P50, 11, Verdict.PASS, id="p50-of-11"),
        pytest.param(P90, 43, Verdict.INCONCLUSIVE, id="p90-of-43"),
        pytest.param(P90, 44, Verdict.INCONCLUSIVE, id="p90-of-44"),
        pytest.param(P90, 64, Verdict.PASS, id="p90-of-64"),
        pytest.param(P99, 661, Verdict.INCONCLUSIVE, id="p99-of-661"),
        pytest.param(P99, 662, Verdict.PASS, id="p99-of-662"),
    ],
)
def test_a_slow_sample_is_doubt_until_there_are_enough_to_show_how_rare_it_is(
    metric: Any, given: int, verdict: Verdict
) -> None:
    assert judged(of_file(given, 1, 100), metric=metric).verdict is verdict


def test_what_disturbs_single_inferences_fails_as_it_does_on_noise() -> None:
    numbers = np.tile(np.arange(1000), 3)
    disturbed = np.where(np.arange(3000) % 33, QUICK, SLOW)  # 3 %, of no sample again and again
    assert judged(timed(disturbed, numbers, 1000)).verdict is Verdict.FAIL
    assert judged(timed(np.where(numbers == 0, SLOW, disturbed), numbers, 1000)).verdict is Verdict.FAIL


def test_a_limit_that_was_kept_for_a_while_is_not_passed_by_what_exceeds_it_in_the_end() -> None:
    process = [QUICK] * 59 + [QUICK, SLOW] * 8  # after 49 blocks p90 is kept; in the end 10.7 % are slow
    check = judged(None, uniform=np.array(process * 3), metric=P90)
    assert check.verdict is Verdict.INCONCLUSIVE, check
    assert check.finding.bound == check.finding.value == 65.0


@pytest.mark.parametrize(
    ("inputs", "times", "bounded"),
    [
        pytest.param(4, 250, False, id="four-a-thousand-times"),
        pytest.param(458, 10, False, id="one-too-few"),
        pytest.param(459, 1, False, id="enough-inputs-in-too-few-blocks"),
        pytest.param(459, 2, True, id="enough"),
        pytest.param(459, 4, True, id="enough-repeated"),
    ],
)
def test_a_bound_takes_as_many_inputs_as_samples(inputs: int, times: int, bounded: bool) -> None:
    of = timed(np.full(inputs * times, QUICK), np.tile(np.arange(inputs), times), given=1000)
    assert (p99(of).bound is not None) is bounded


def test_an_input_that_is_slow_each_time_counts_once() -> None:
    numbers = np.tile(np.arange(459), 20)
    of = timed(np.where(numbers == 5, SLOW, QUICK), numbers, given=1000)  # 0.2 % of the inferences, one input of 459
    assert p99(of).bound == 65.0


@pytest.mark.parametrize(
    ("samples", "limit", "verdict"),
    [
        pytest.param(of_file(6, 1, 80), 0.01, Verdict.FAIL, id="one-of-6-misses"),
        pytest.param(of_file(300, 1, 2), 0.01, Verdict.INCONCLUSIVE, id="one-of-300-misses"),
        pytest.param(of_file(300, 0, 2), 0.01, Verdict.PASS, id="none-misses"),
        pytest.param(of_file(500, 1, 3), 0.01, Verdict.INCONCLUSIVE, id="one-of-500-misses"),
        pytest.param(of_file(500, 15, 3), 0.01, Verdict.FAIL, id="fifteen-of-500-miss"),
        pytest.param(of_file(1000, 0), 0.01, Verdict.PASS, id="none-of-1000-misses"),
    ],
)
def test_missed_deadlines_are_counted_on_the_samples_too(samples: Timed, limit: float, verdict: Verdict) -> None:
    measured = Measurement(uniform=timed(np.full(1000, QUICK)), samples=samples)
    finding = deadline_miss_rate(measured, 20.0, limit, "")
    assert judge(finding, [Limit("deadline_miss_rate", limit, "here")]).verdict is verdict


@pytest.mark.parametrize(
    ("limit", "missed", "notes"),
    [
        pytest.param(None, 10, 1, id="nothing-limits-it"),
        pytest.param(None, 0, 0, id="none-missed"),
        pytest.param(0.5, 10, 0, id="judged"),
    ],
)
def test_missed_deadlines_that_nothing_limits_are_told(limit: float | None, missed: int, notes: int) -> None:
    finding = deadline_miss_rate(Measurement(uniform=of_file(500, missed, 3)), 20.0, limit, "")
    assert len([note for note in finding.notes if "missed the deadline of 20 ms; nothing limits that" in note]) == notes


# Which inputs


def content(given: int, size: int = 4) -> Content:
    samples = [{"x": np.full(size, index, np.float32)} for index in range(given)]
    return content_of(Model(build=cast(Any, int), inputs=[Input("x", (size,))]), samples)


@pytest.mark.parametrize(("given", "count"), [pytest.param(6, 153, id="few"), pytest.param(500, 153, id="many")])
def test_processes_go_on_in_one_random_order_in_which_each_sample_is_as_frequent(given: int, count: int) -> None:
    parts = [content(given).sequence(process * count, count) for process in range(3)]
    whole = np.concatenate(parts)
    np.testing.assert_array_equal(whole, content(given).sequence(0, 3 * count))
    times = np.bincount(whole, minlength=given)
    assert times.max() - times.min() <= 1
    assert len(np.unique(whole)) == min(given, 3 * count)


def test_samples_travel_once_a_process_and_few_at_a_time() -> None:
    large = content(20, size=1 << 18)  # a MiB each
    numbers = large.sequence(0, 153)
    portions = list(large.portions(numbers))
    assert [len(chosen) for chosen, _ in portions] == [4] * 5
    assert sorted(number for chosen, _ in portions for number in chosen) == list(range(20))
    run = [chosen[place] for chosen, order in portions for place in order]
    np.testing.assert_array_equal(np.bincount(run), np.bincount(numbers))


def test_two_inputs_of_a_model_never_have_one_key() -> None:
    model = Model(build=cast(Any, int), inputs=[Input("x", (2,)), Input("y", (2,), "int64", min_value=0, max_value=9)])
    keys = [fill["key"] for fill in content_of(model).fills]
    assert keys[1] - keys[0] > 10**9


def test_the_median_of_each_input() -> None:
    one = timed([5 * MS, MS, 7 * MS, 6 * MS, MS], [2, 0, 2, 2, 0], given=3)
    assert one.medians().tolist() == [1.0, 6.0]
    assert (one.inputs, one.is_whole) == (2, False)


# What is said of them


def pictures(count: int, size: int, measure: int, step: int = 1) -> Content:
    """Samples of a size of their own, of a model that is measured at another."""
    item = Input("x", (step, "height"))
    model = Model(build=cast(Any, int), inputs=[item], dims={"height": (4, 1080)}, measure={"height": measure})
    return content_of(model, [{"x": np.zeros((step, size), np.float32)}] * count, step)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        pytest.param(16, ["at their own sizes, height = 16: what was timed at height = 1080 is noise"], id="others"),
        pytest.param(1080, [], id="as-measured"),
    ],
)
def test_samples_of_other_sizes_than_measured_are_no_word_on_those(size: int, said: list[str]) -> None:
    of = pictures(6, size, 1080)
    notes = noise_notes([of.spread_timed(), of.samples_timed()])
    assert [part in note for part, note in zip(said, notes, strict=True)] == [True] * len(said)


def test_a_judged_content_is_named_with_its_sizes_and_so_is_each_in_the_evidence() -> None:
    of = pictures(6, 16, 1080)
    uniform, samples = of.spread_timed(), of.samples_timed()
    uniform.processes, uniform.numbers = [np.full(1000, QUICK)], [np.arange(1000)]
    samples.processes, samples.numbers = [np.full(600, SLOW)], [np.tile(np.arange(6), 100)]
    check = judge(latency(Measurement(uniform=uniform, samples=samples), P99, ""), [Limit(P99.name, 20.0, "here")])
    assert "600 samples on 6 of the model file's 6 samples at height = 16)" in check.reason
    by_content = describe_check(check).as_json()["by_content"]
    assert [by_content[name]["sizes"] for name in (UNIFORM, SAMPLES)] == [{"height": 1080}, {"height": 16}]


def test_a_call_of_several_samples_is_not_called_a_sample() -> None:
    of = pictures(2, 16, 16, step=4)
    samples = of.samples_timed()
    samples.processes, samples.numbers = [np.tile([QUICK, SLOW], 300)], [np.tile([0, 1], 300)]
    check = judged(samples, metric=P50)
    assert "1 of the 2 calls of 4 of the model file's samples each took longer than 20 ms" in check.reason
    assert "(call 1); 2 calls are too few" in check.reason
    assert describe_check(check).as_json()["by_content"][SAMPLES]["samples_per_call"] == 4


@pytest.mark.parametrize(
    ("slow", "content"), [pytest.param(6, SAMPLES, id="the-samples"), pytest.param(0, UNIFORM, id="noise")]
)
def test_what_is_published_is_the_content_that_is_judged(slow: int, content: str) -> None:
    measured = Measurement(uniform=timed(np.full(1000, 2 * MS)), samples=of_file(6, slow, 90))
    durations, more = published(measured, [Limit(P99.name, 20.0, "here")])
    assert (more["content"], more["p99_ms"]) == (content, 65.0 if slow else 2.0)
    assert "memory_peak_mib" not in more  # no process came to its end
    assert set(durations) == {more["p99_ms"]}
    assert more["verdicts"] == {
        "latency_p50_ms": "MEASURED",
        "latency_p90_ms": "MEASURED",
        "latency_p99_ms": "FAIL" if slow else "PASS",
        "latency_p999_ms": "NOT_APPLICABLE",
    }
    assert (more["blocks"], more["bound_ms"]) == ((540, 65.0) if slow else (1000, 2.0))
