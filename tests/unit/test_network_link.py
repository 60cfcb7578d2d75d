"""One direction of a shaped network, by arithmetic alone: rate, trace, delay, jitter, outages."""

from __future__ import annotations

import random

import pytest

from harness.agent.network.link import OPPORTUNITY, Link, Outage, Rules


def sent(link: Link, size: int, now: float = 0.0) -> float:
    """Send in pieces, as the relay does; return when the last one comes out."""
    out = now
    for start in range(0, size, link.piece):
        out = link.send(now, min(link.piece, size - start))
    return out


@pytest.mark.parametrize("mbit", [0.01, 0.83, 7, 1000])
def test_a_rate_is_exact_and_the_delay_comes_on_top(mbit: float) -> None:
    link = Link(Rules(delay_s=0.025, bytes_per_s=mbit * 125_000), 0.0)
    assert sent(link, 6_021, 3.0) == pytest.approx(3.025 + 6_021 / (mbit * 125_000))
    assert link.backlog_s(3.0) == pytest.approx(6_021 / (mbit * 125_000))
    idle = link.send(1000.0, 125)  # what was not used in between is not saved up
    assert idle == pytest.approx(1000.025 + 125 / (mbit * 125_000))


def test_without_a_rate_only_the_delay_counts() -> None:
    assert sent(Link(Rules(delay_s=0.025), 0.0), 10_000_000, 7.0) == pytest.approx(7.025)


def test_jitter_goes_both_ways_and_nothing_overtakes() -> None:
    link = Link(Rules(delay_s=0.02, jitter_s=0.02), 0.0)
    late = [link.send(float(second), 1) - second for second in range(4000)]
    assert 0 <= min(late) < 0.001
    assert 0.039 < max(late) <= 0.04
    assert sum(late) / len(late) == pytest.approx(0.02, abs=0.001)
    outs = [link.send(5000.0 + each / 1000, 1) for each in range(1000)]
    assert outs == sorted(outs)


def test_a_handshake_is_asked_for_and_takes_no_room() -> None:
    link = Link(Rules(bytes_per_s=1000), 0.0)
    sent(link, 100)
    assert [link.ask(0.0, 40), link.ask(0.0, 40)] == [pytest.approx(0.14)] * 2
    traced = Link(Rules(trace_ms=(10, 20)), 0.0)
    assert [traced.ask(0.0, 40), traced.send(0.0, OPPORTUNITY)] == [pytest.approx(0.01)] * 2


def test_a_trace_passes_so_many_bytes_at_its_moments_and_begins_anew() -> None:
    link = Link(Rules(trace_ms=(0, 10, 10, 30)), 100.0)
    moments = [round(link.send(100.0, OPPORTUNITY) - 100.0, 6) for _ in range(7)]
    assert moments == [0, 0.01, 0.01, 0.03, 0.03, 0.04, 0.04]
    # Two halves share a moment, of which there are two here; moments that were not used are lost.
    halves = [round(link.send(100.051 + each / 1000, 700) - 100, 6) for each in range(5)]
    assert halves == [0.06, 0.06, 0.06, 0.06, 0.07]


def test_a_traces_mean_rate_is_kept_over_many_rounds() -> None:
    trace = tuple(sorted(random.Random(1).sample(range(10_000), 800)))
    link = Link(Rules(trace_ms=trace), 0.0)
    size = 800 * OPPORTUNITY * 10
    assert sent(link, size) == pytest.approx(10 * trace[-1] / 1e3, rel=0.01)


def test_outages_go_by_the_clock_and_stop_rates_and_traces() -> None:
    outages = [Outage(10.0, 2.0)]
    link = Link(Rules(delay_s=0.1, outages=outages), 0.0)
    assert [round(link.send(now, 1), 3) for now in (7.9, 8.1, 9.9, 10.1)] == [8.0, 10.1, 10.1, 10.2]
    rated = Link(Rules(bytes_per_s=1000, outages=outages), 0.0)
    assert sent(rated, 10_000, 5.0) == pytest.approx(17.0, abs=0.01)  # 3 s, a pause of 2 s, 7 s
    traced = Link(Rules(trace_ms=(500, 1000), outages=outages), 0.0)
    assert [round(traced.send(7.1, OPPORTUNITY), 3) for _ in range(4)] == [7.5, 10.0, 10.5, 11.0]


def test_outages_that_overlap_are_all_waited_for() -> None:
    link = Link(Rules(outages=[Outage(10.0, 4.0), Outage(7.0, 2.0)]), 0.0)
    for tenth in range(3000):
        out = link.send(tenth / 10, 1)
        assert out % 10 < 6.001
        assert out % 7 < 5.001


def test_the_clock_of_a_device_that_has_long_been_up_is_exact_enough() -> None:
    began = 5e7  # a year and a half
    link = Link(Rules(trace_ms=(1, 5), outages=[Outage(20.0, 2.0)]), 0.0)
    outs = [link.send(began, OPPORTUNITY) for _ in range(1000)]
    assert outs[-1] - outs[0] == pytest.approx(999 * 0.0025, abs=0.003)
