"""Cost: what an endpoint takes an hour, and for a million calls at the model's rate, by its file's prices.

Nothing of it is measured but the sizes of request and answer. So it is exact: the prices are decimal numbers as they
were written, and what follows from them is calculated in fractions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from ..checks.finding import Finding
from ..checks.limits import Metric
from ..endpoint import Endpoint, Prices

PER_HOUR = Metric("cost_per_hour_usd", "USD", "what an endpoint costs an hour, as long as it exists, called or not")
PER_MILLION = Metric("cost_per_million_usd", "USD", "what a million calls cost, made at the model's rate")
METRICS = (PER_HOUR, PER_MILLION)

HERE = "the model runs on the device: no endpoint is paid for"
HOUR_S = 3600
MILLION = 1_000_000
GB = 10**9


@dataclass(frozen=True)
class Rate:
    """How often a robot calls. hz: calls in a second. key: which of the model file's keys says so."""

    hz: Fraction
    key: str

    @classmethod
    def of_model(cls, rate_hz: float | None, deadline_ms: float | None) -> Rate | None:
        """Take the sensor's rate, else one call after the other, each as long as its deadline; None without both."""
        if rate_hz is not None:
            return cls(_exact(rate_hz), "rate_hz")
        return cls(1000 / _exact(deadline_ms), "deadline_ms") if deadline_ms else None


@dataclass(frozen=True)
class Sizes:
    """Bytes of a request, and of its answer, at the sizes that are measured."""

    request: int
    response: int

    @classmethod
    def of_settings(cls, settings: Any) -> Sizes | None:
        """Take what the device's client reports of the first inference; None where it has not."""
        sizes = [settings.get(key) for key in ("request_bytes", "response_bytes")]
        return cls(*sizes) if all(isinstance(size, int) for size in sizes) else None


def cost_per_hour(endpoint: Endpoint | None, limit: float | None) -> Finding:
    """Report what an endpoint costs an hour.

    Args:
        endpoint: that of the cell; None of a model that runs on the device.
        limit: the cell's limit, if there is one.
    """
    if (prices := endpoint.prices if endpoint else None) is None:
        return _untold(PER_HOUR, endpoint, limit)
    return hour_finding(prices)


def hour_finding(prices: Prices) -> Finding:
    """Report what an hour costs at these prices."""
    return _finding(PER_HOUR, _hour(prices), prices, {})


def cost_per_million(endpoint: Endpoint | None, rate: Rate | None, sizes: Sizes | None, limit: float | None) -> Finding:
    """Report what a million calls cost, the endpoint's hours that they take included.

    Args:
        endpoint: that of the cell; None of a model that runs on the device.
        rate: how often the robot calls; None where the model file does not say.
        sizes: of request and answer; None where no call was answered.
        limit: the cell's limit, if there is one.
    """
    if (prices := endpoint.prices if endpoint else None) is None:
        return _untold(PER_MILLION, endpoint, limit)
    if rate is None and _hour(prices):
        why = (
            "nothing says how often the robot calls, and an endpoint costs by the hour: Model(rate_hz=…) or deadline_ms"
        )
        return Finding(PER_MILLION, not_applicable=why, unasked=limit is None)
    if sizes is None and (prices.per_gb_in_usd or prices.per_gb_out_usd):
        return Finding(PER_MILLION, no_bound_reason="no call was answered: nobody knows how many bytes it takes")
    return million_finding(prices, rate, sizes)


def million_finding(prices: Prices, rate: Rate | None, sizes: Sizes | None) -> Finding:
    """Report what a million calls cost at these prices; without a rate no hours, without sizes no bytes are in it."""
    by_hour = _hour(prices) * MILLION / (rate.hz * HOUR_S) if rate is not None else Fraction(0)
    moved = Fraction(0)
    if sizes is not None:
        moved = sizes.request * Fraction(prices.per_gb_in_usd) + sizes.response * Fraction(prices.per_gb_out_usd)
    cost = by_hour + Fraction(prices.per_million_requests_usd) + moved * MILLION / GB
    details: dict[str, Any] = {"rate_hz": float(rate.hz), "rate_from": rate.key} if rate is not None else {}
    if sizes is not None:
        details |= {"request_bytes": sizes.request, "response_bytes": sizes.response}
    return _finding(PER_MILLION, cost, prices, details)


def _hour(prices: Prices) -> Fraction:
    return Fraction(prices.per_instance_hour_usd) * prices.instances


def _finding(metric: Metric, cost: Fraction, prices: Prices, details: dict[str, Any]) -> Finding:
    value = float(cost)  # the nearest that there is: 0.3 for 3 × 0.1
    told = {
        "per_instance_hour_usd": float(prices.per_instance_hour_usd),
        "instances": prices.instances,
        "per_million_requests_usd": float(prices.per_million_requests_usd),
        "per_gb_in_usd": float(prices.per_gb_in_usd),
        "per_gb_out_usd": float(prices.per_gb_out_usd),
        "source": prices.source,
    }
    return Finding(metric, value, value, samples=1, details={"prices": told, **details})


def _untold(metric: Metric, endpoint: Endpoint | None, limit: float | None) -> Finding:
    """Report that nothing is known of a cost, which is not that there is none."""
    why = HERE if endpoint is None else f"endpoint {endpoint.name} has no prices: [prices] in {endpoint.path.name}"
    return Finding(metric, not_applicable=why, unasked=limit is None)


def told_prices(told: Mapping[str, Any]) -> Prices:
    """Read prices as the evidence has them."""
    amounts = {key: Decimal(str(value)) for key, value in told.items() if key.endswith("_usd")}
    return Prices(**amounts, instances=told["instances"], source=told["source"])


def _exact(number: float) -> Fraction:
    return Fraction(str(number))
