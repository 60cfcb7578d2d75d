"""Whether a device was in a state to be measured: what is held against a measurement, and what is not."""

from typing import Any

import pytest

from harness.agent import telemetry
from harness.measure.validity import changed, doubt

CALM: dict[str, Any] = {
    "boot": "c0ffee",
    "governor": ["performance"],
    "frequency_khz": [1_500_000],
    "temperature_mc": [50_000],
    "throttled_bits": 0,
    "throttle_events": 0,
    "swapped_pages": 1000,
    "swapped_kib": 0,
}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({}, {}, id="unchanged"),
        pytest.param({}, {"temperature_mc": [79_000], "frequency_khz": [600_000]}, id="warmer-and-idle"),
        pytest.param({"throttled_bits": None}, {"throttled_bits": None}, id="no-such-register"),
        pytest.param({"throttled_bits": 0x50000}, {"throttled_bits": 0x50000}, id="throttled-before-we-came"),
        pytest.param({"throttle_events": 9}, {"throttle_events": 9}, id="events-before-we-came"),
        pytest.param({}, {"swapped_pages": 1256}, id="a-few-pages"),
        pytest.param({"swapped_pages": 9000}, {"swapped_pages": 9000}, id="pages-before-we-came"),
        pytest.param({"governor": []}, {"governor": []}, id="no-governor"),
    ],
)
def test_nothing_speaks_against_a_calm_device(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert doubt(CALM | before, CALM | after) == ""


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        pytest.param({"throttled_bits": 0x1}, {}, "get_throttled 0x1, then 0x0", id="under-voltage-before"),
        pytest.param({}, {"throttled_bits": 0x4}, "get_throttled 0x0, then 0x4", id="throttled-after"),
        pytest.param({}, {"throttled_bits": 0x40000}, "get_throttled 0x0, then 0x40000", id="throttled-in-between"),
        pytest.param(
            {"throttled_bits": 0x40000},
            {"throttled_bits": 0xC0000},
            "0x40000, then 0xc0000",
            id="hot-for-the-first-time",
        ),
        pytest.param(
            {"throttled_bits": 0x40008}, {"throttled_bits": 0x40000}, "0x40008, then 0x40000", id="hot-at-the-start"
        ),
        pytest.param({"throttled_bits": None}, {"throttled_bits": 0x2}, "0x0, then 0x2", id="register-appears"),
        pytest.param({}, {"throttle_events": 3}, "the CPU was throttled 3 times", id="cpu-events"),
        pytest.param({}, {"swapped_pages": 1257}, "the device swapped (257 pages; 0 KiB", id="many-pages"),
        pytest.param({}, {"swapped_kib": 4}, "the device swapped (0 pages; 4 KiB", id="our-own-pages"),
        pytest.param({}, {"governor": ["powersave"]}, "the governor changed: ['performance'], then", id="governor"),
    ],
)
def test_what_spoils_a_measurement_is_said(before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    assert reason in doubt(CALM | before, CALM | after)


def test_every_reason_is_given() -> None:
    after = CALM | {"throttled_bits": 0x1, "throttle_events": 1, "swapped_kib": 4, "governor": ["powersave"]}
    assert doubt(CALM, after).count("; ") == 3 + 1  # one within the reason about swap


def test_the_agent_reads_all_that_is_looked_at() -> None:
    assert set(telemetry.state()) == set(CALM)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        pytest.param({}, "", id="the-same"),
        pytest.param({"throttled_bits": 0x50000}, "", id="what-is-looked-at-within-a-process"),
        pytest.param({"boot": "decaf"}, "the board was restarted", id="restarted"),
        pytest.param({"governor": ["ondemand"]}, "the governor changed", id="another-governor"),
    ],
)
def test_two_processes_on_a_device_that_was_not_the_same(second: dict[str, Any], reason: str) -> None:
    said = changed(CALM, CALM | second)
    assert reason in said
    assert bool(said) == bool(reason)
