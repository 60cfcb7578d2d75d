"""Inputs that an arm64 board makes from a few numbers, in Python and in C++: to the last bit what the host expands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.support.deploy import prepare_on
from harness.agent.expand import expand
from harness.agent.frames import ITEM_SIZES
from harness.board import Board
from tests.support.fills import drawn, to_keep

from .emulated import opened
from .runners import bits

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("users_cache")]

SETS, SHAPE = 200, (3, 7)
KEEP = to_keep(2, SHAPE)
LIMIT_S = 300.0
SAME = f"""
import torch
from harness import Input, Model

class Same(torch.nn.Module):
    def forward(self, {", ".join(f"of_{kind}" for kind in ITEM_SIZES)}):
        return {", ".join(f"of_{kind}.clone()" for kind in ITEM_SIZES)}

def input_of(kind):
    ends = {{}} if kind == "bool" else {{"min_value": 0, "max_value": 1}}
    return Input("of_" + kind, shape={SHAPE}, dtype=kind, **ends)

model = Model(build=lambda: Same().eval(), inputs=[input_of(kind) for kind in {list(ITEM_SIZES)}])
"""


@pytest.fixture(scope="module")
def board(users_cache: Path) -> Iterator[Board]:
    """Of the user's image."""
    with opened() as found:
        yield found


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-cpp"])
def test_a_model_on_arm64_is_given_what_the_host_expands(board: Board, tmp_path: Path, backend: str) -> None:
    """Denormals as they are: there ONNX Runtime has no way to flush them."""
    (tmp_path / "same.py").write_text(SAME, encoding="utf-8")
    prepared = prepare_on(board, str(tmp_path / "same"), backend)
    sets = drawn(SETS, KEEP, SHAPE)
    with prepared.deployed() as deployment:
        kept = [arrays[index] for index in range(2) for arrays in KEEP.values()]
        deployment.session.ask({"op": "keep"}, kept, LIMIT_S)
        found = [array for outputs in deployment.infer_fills(sets) for array in outputs]
    assert bits(found) == bits([expand(fill, KEEP[fill["dtype"]]) for each in sets for fill in each])
