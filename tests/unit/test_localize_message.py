"""What is said of a location, to a person and in the evidence."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from harness.parity.localize import Location, NotLocated
from harness.parity.localize.location import Clock, Unlocated

HERE = Location(
    module="layers.3",
    node="node_clamp",
    operator="Clip",
    output="clamp",
    index=(0, 2),
    found="3.4e+38",
    eager="inf",
    exact="inf",
    ratio=math.inf,
    fault="runtime",
    explanation="it clips",
)


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (
            HERE,
            "first wrong at module layers.3, node node_clamp (Clip): clamp[0, 2]: wanted inf (eager: inf); "
            "found 3.4e+38; fault: runtime: it clips",
        ),
        (
            replace(HERE, module="", index=(), notes=("node odd could not be evaluated",)),
            "first wrong at the model itself, node node_clamp (Clip): clamp: wanted inf (eager: inf); "
            "found 3.4e+38; fault: runtime: it clips; node odd could not be evaluated",
        ),
        (
            replace(HERE, node="", operator="aten::relu", output="act"),
            "first wrong at module layers.3 (aten::relu): act[0, 2]: wanted inf (eager: inf); "
            "found 3.4e+38; fault: runtime: it clips",
        ),
        (NotLocated("no time"), "not located: no time"),
    ],
)
def test_a_person_reads_one_line(location: Location | NotLocated, text: str) -> None:
    assert str(location) == text


def test_the_evidence_is_strict_json() -> None:
    described = json.loads(json.dumps(HERE.described, allow_nan=False))
    assert described["module"] == "layers.3"
    assert described["index"] == [0, 2]
    assert described["ratio"] is None
    assert replace(HERE, ratio=12.5).described["ratio"] == 12.5
    assert NotLocated("no time").described == {"not_located": "no time"}


def test_a_clock_says_what_it_was_at() -> None:
    told: list[tuple[int, int]] = []
    Clock(60.0, lambda done, total: told.append((done, total))).check("waiting")
    assert told == [(0, 60)]
    with pytest.raises(Unlocated, match="its 0 s were over while waiting"):
        Clock(0.0, lambda done, total: None).check("waiting")
