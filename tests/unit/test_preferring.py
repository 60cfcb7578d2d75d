"""What a decision may be made by: metrics that exist, and a share of a figure."""

from pathlib import Path
from typing import Any

import pytest

from harness.decision import PREFER
from harness.errors import InputError
from harness.report.preferring import checked_preferences
from harness.run.options import Options
from harness.run.plan import with_preferences


@pytest.mark.parametrize(
    ("prefer", "checked"),
    [
        pytest.param([], PREFER, id="the default"),
        pytest.param(["b", "a", "b"], ("b", "a"), id="each once, in their order"),
        pytest.param(["energy_per_inference_mj"], ("energy_per_inference_mj",), id="one that nothing measures yet"),
    ],
)
def test_metrics_that_exist_are_taken(prefer: list[str], checked: tuple[str, ...]) -> None:
    assert checked_preferences(prefer, 5.0, ["a", "b"]) == checked


@pytest.mark.parametrize(
    ("prefer", "within", "words"),
    [
        pytest.param(["latency_p99"], 5.0, "did you mean 'latency_p99_ms'", id="a metric"),
        pytest.param([""], 5.0, "no metric", id="no name"),
        pytest.param(["\x1b[2J"], 5.0, r"\\x1b\[2J", id="a terminal's command"),
        *(pytest.param([], each, "0 to 100", id=str(each)) for each in (-0.1, 100.1, float("nan"), float("inf"))),
    ],
)
def test_what_cannot_be_preferred_is_refused(prefer: list[str], within: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked_preferences(prefer, within, ["a", "b"])


def options(*prefer: str) -> Options:
    here = Path("here")
    keys: dict[str, Any] = {"models": (), "devices": (), "device_folders": (), "backends": ()}
    return Options(**keys, time_limit_s=1.0, evidence=here, root=here, seed=0, allow_inconclusive=False, prefer=prefer)


def test_a_run_knows_the_metrics_that_it_measures() -> None:
    assert with_preferences(options("parity", "instructions_per_inference")).prefer[0] == "parity"
    assert with_preferences(options()).prefer == PREFER
    with pytest.raises(InputError, match="hil_prefer"):
        with_preferences(options("latency"))
