"""Limits: which keys there are, who may set them, and what a message says about one that is wrong."""

from typing import Any

import pytest

from harness.checks.limits import Limit, Metric, Owner, parse_limits
from harness.errors import DeviceError, InputError
from harness.measure import known_metrics

METRICS = [
    Metric("memory_peak_mib", "MiB", "peak resident memory", device_limit=True),
    Metric("latency_p99_ms", "ms", "99th percentile", wall_clock=True),
    Metric("deadline_miss_rate", "", "misses", wall_clock=True, parameters=("deadline_ms",)),
    Metric("accuracy", "", "top-1", bound="min"),
    Metric("frames_per_battery", "", "endurance", bound="min", device_limit=True),
]


def parse(table: dict[str, Any], owner: Owner = "model") -> tuple[Limit, ...]:
    return parse_limits(table, metrics=METRICS, owner=owner, where="here: limits")


def refused(table: dict[str, Any], owner: Owner = "model") -> InputError:
    with pytest.raises(InputError) as caught:
        parse(table, owner)
    return caught.value


@pytest.mark.parametrize(
    ("table", "owner", "limits"),
    [
        pytest.param({}, "model", [], id="none"),
        pytest.param({"latency_p99_ms": 33}, "model", [("latency_p99_ms", 33.0)], id="upper"),
        pytest.param({"accuracy_min": 0.95}, "model", [("accuracy_min", 0.95)], id="lower"),
        pytest.param({"deadline_ms": 33}, "model", [("deadline_ms", 33.0)], id="parameter"),
        pytest.param({"deadline_miss_rate": 0}, "model", [("deadline_miss_rate", 0.0)], id="zero"),
        pytest.param({"memory_peak_mib": 512}, "model", [("memory_peak_mib", 512.0)], id="a-model-sets-any"),
        pytest.param({"memory_peak_mib": 512}, "device", [("memory_peak_mib", 512.0)], id="a-device-what-it-spares"),
        pytest.param({"frames_per_battery_min": 1}, "device", [("frames_per_battery_min", 1.0)], id="device-lower"),
        pytest.param(
            {"accuracy_min": 1, "latency_p99_ms": 2},
            "model",
            [("accuracy_min", 1.0), ("latency_p99_ms", 2.0)],
            id="several-in-their-order",
        ),
    ],
)
def test_limits_are_read(table: dict[str, Any], owner: Owner, limits: list[tuple[str, float]]) -> None:
    assert parse(table, owner) == tuple(Limit(key, value, "here: limits") for key, value in limits)


@pytest.mark.parametrize(
    ("key", "owner", "wanted"),
    [
        pytest.param(
            "latency_p95_ms",
            "model",
            "one of accuracy_min, deadline_miss_rate, deadline_ms, frames_per_battery_min, latency_p99_ms, "
            "memory_peak_mib",
            id="model",
        ),
        pytest.param("memory", "device", "one of frames_per_battery_min, memory_peak_mib", id="device"),
        pytest.param("", "device", "one of frames_per_battery_min, memory_peak_mib", id="empty"),
    ],
)
def test_an_unknown_key_lists_the_known_ones(key: str, owner: Owner, wanted: str) -> None:
    error = refused({key: 1}, owner)
    assert (error.what, error.wanted, error.where) == (f"unknown limit {key!r}", wanted, "here: limits")


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("accuracy", id="upper-bound-of-what-is-bounded-below"),
        pytest.param("latency_p99_ms_min", id="lower-bound-of-what-is-bounded-above"),
        pytest.param("deadline_ms_min", id="lower-bound-of-a-parameter"),
        pytest.param("Latency_p99_ms", id="case"),
    ],
)
def test_a_bound_from_the_wrong_side_is_unknown(key: str) -> None:
    assert refused({key: 1}).what == f"unknown limit {key!r}"


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("latency_p99_ms", id="latency"),
        pytest.param("deadline_ms", id="deadline"),
        pytest.param("accuracy_min", id="accuracy"),
    ],
)
def test_a_device_cannot_say_what_the_robot_needs(key: str) -> None:
    error = refused({key: 33}, "device")
    assert error.what == f"a device cannot limit {key!r}"
    assert error.hint == f"what the robot needs stands in the model file: limits={{{key!r}: 33}}"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(float("nan"), id="nan"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param(float("-inf"), id="minus-infinity"),
        pytest.param(-1, id="negative"),
        pytest.param(-1e-300, id="barely-negative"),
        pytest.param(True, id="bool"),
        pytest.param(10**400, id="beyond-float"),
        pytest.param("33", id="text"),
        pytest.param(None, id="none"),
        pytest.param([33], id="list"),
        pytest.param(1j, id="complex"),
    ],
)
def test_a_value_that_is_no_usable_number_is_shown(value: Any) -> None:
    error = refused({"latency_p99_ms": value})
    assert (error.wanted, error.found) == ("a finite number ≥ 0", repr(value))


def test_the_error_is_of_the_class_that_was_asked_for() -> None:
    with pytest.raises(DeviceError):
        parse_limits({"x": 1}, metrics=METRICS, owner="device", where="here", error=DeviceError)


def test_no_device_may_limit_what_is_measured_with_the_robots_clock() -> None:
    latencies = [metric for metric in known_metrics().values() if metric.name.startswith(("latency", "deadline"))]
    assert latencies
    assert not any(metric.device_limit for metric in latencies)
