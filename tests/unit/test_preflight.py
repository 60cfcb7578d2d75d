"""What is looked at before anything is made or sent: have the inputs room at the sizes that are measured?"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import Input, Model
from harness.board.preflight import check_inputs
from harness.errors import ModelError
from tests.support.facts import board_facts

MIB = 1 << 20
OWN_MIB = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
DEVICE = cast(Any, SimpleNamespace(name="pi4"))


def build() -> Any:
    """What a model file has; never called here."""


def model(**more: Any) -> Model:
    """Whose largest input takes far more than any machine has; of each row 1 MiB."""
    return Model(build, [Input("x", shape=("rows", 1 << 18))], dims={"rows": (1, 10**9)}, name="net", **more)


@pytest.mark.parametrize(
    ("measure", "memory_mib", "said"),
    [
        pytest.param({"rows": 100}, 200, "", id="just-room"),
        pytest.param({"rows": 101}, 200, "pi4", id="no-room-there"),
        pytest.param({"rows": OWN_MIB}, 0, "this machine", id="no-room-here"),
        pytest.param({}, 200, "pi4", id="nothing-said"),
    ],
)
def test_inputs_without_room_are_refused_before_they_are_made(
    measure: dict[str, int], memory_mib: int, said: str
) -> None:
    one = model(measure=measure)
    if not said:
        check_inputs(DEVICE, one, board_facts(memory_mib=memory_mib), 4)
        return
    with pytest.raises(ModelError) as caught:
        check_inputs(DEVICE, one, board_facts(memory_mib=memory_mib), 4)
    assert said in caught.value.what
    assert f"at rows = {one.measured_sizes['rows']}" in caught.value.found
    assert "measure={…}" in caught.value.hint
