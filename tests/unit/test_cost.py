"""What an endpoint costs: exactly what its file's prices say, and nothing where they do not."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from harness.checks.check import Verdict, judge
from harness.checks.limits import Limit
from harness.endpoint import Endpoint, Prices
from harness.measure.cost import PER_HOUR, PER_MILLION, Rate, Sizes, cost_per_hour, cost_per_million

UNPRICED = Endpoint(name="cloud", path=Path("endpoints/cloud.toml"), description="d", kind="sagemaker")
PRICES = Prices(per_instance_hour_usd=Decimal("0.1"), instances=3, source="a list")
SIZES = Sizes(602_112, 4_000)
TEN_HZ = Rate(Fraction(10), "rate_hz")


def priced(**keys: Any) -> Endpoint:
    return replace(UNPRICED, prices=replace(PRICES, **keys))


def test_an_hour_costs_what_all_instances_do_and_a_limit_that_equals_it_is_kept() -> None:
    finding = cost_per_hour(priced(), None)
    assert (finding.value, finding.bound, finding.confidence) == (0.3, 0.3, None)
    assert judge(finding, [Limit("cost_per_hour_usd", 0.3, "net.py")]).verdict is Verdict.PASS
    assert judge(finding, [Limit("cost_per_hour_usd", 0.29, "net.py")]).verdict is Verdict.FAIL
    assert finding.details["prices"]["source"] == "a list"


def test_a_million_calls_take_their_hours_their_requests_and_their_bytes() -> None:
    endpoint = priced(
        per_million_requests_usd=Decimal("0.2"), per_gb_in_usd=Decimal("0.016"), per_gb_out_usd=Decimal("0.09")
    )
    finding = cost_per_million(endpoint, TEN_HZ, SIZES, None)
    # 1,000,000 calls at 36,000 an hour; 602.112 GB there, 4 GB back.
    exact = Fraction(3, 10) * 1_000_000 / 36_000 + Fraction(2, 10) + Fraction("602.112") * Fraction("0.016")
    exact += 4 * Fraction("0.09")
    assert finding.value == float(exact)
    told = {key: finding.details[key] for key in ("rate_hz", "rate_from", "request_bytes", "response_bytes")}
    assert told == {"rate_hz": 10.0, "rate_from": "rate_hz", "request_bytes": 602_112, "response_bytes": 4_000}


def test_without_a_sensors_rate_calls_follow_each_other_at_the_deadline() -> None:
    rate = Rate.of_model(None, 50.0)
    assert rate == Rate(Fraction(20), "deadline_ms")
    assert Rate.of_model(30.0, 50.0) == Rate(Fraction(30), "rate_hz")
    assert Rate.of_model(None, None) is None


@pytest.mark.parametrize("limit", [None, 1.0])
def test_unknown_is_not_free(limit: float | None) -> None:
    limits = [Limit(metric.limit_key, limit, "net.py") for metric in (PER_HOUR, PER_MILLION)] if limit else []
    for endpoint, words in ((UNPRICED, "[prices] in cloud.toml"), (None, "the model runs on the device")):
        for finding in (cost_per_hour(endpoint, limit), cost_per_million(endpoint, TEN_HZ, SIZES, limit)):
            check = judge(finding, limits)
            assert check.verdict is Verdict.NOT_APPLICABLE
            assert words in check.reason
            assert (finding.value, finding.unasked) == (None, limit is None)


def test_without_a_rate_hours_have_no_price_of_a_call() -> None:
    finding = cost_per_million(priced(), None, SIZES, 1.0)
    assert "rate_hz" in finding.not_applicable
    assert not finding.unasked
    by_call = priced(per_instance_hour_usd=Decimal(0), per_million_requests_usd=Decimal("0.2"))
    assert cost_per_million(by_call, None, None, None).value == 0.2


def test_bytes_that_nobody_has_seen_leave_it_open() -> None:
    finding = cost_per_million(priced(per_gb_in_usd=Decimal(1)), TEN_HZ, None, None)
    assert judge(finding, []).verdict is Verdict.INCONCLUSIVE
    assert Sizes.of_settings({"request_bytes": 1, "response_bytes": 2}) == Sizes(1, 2)
    assert Sizes.of_settings({"request_bytes": 1}) is None
