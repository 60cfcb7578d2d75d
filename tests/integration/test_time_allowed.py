"""Whether a model gets its samples in the time allowed is said before the first is taken (issue 16, point 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import Input, Model
from harness.deploy.content import content_of
from harness.measure.sampling import take_samples
from harness.model.model_file import ModelFile

from .runners import scripted
from .test_prepared_inputs import Agents

pytestmark = pytest.mark.slow

NOTHING: Any = None
# A millisecond or so on any machine.
FORWARD = """def forward(x):
    for _ in range(20):
        x = torch.relu(x @ x)
    return x"""


@pytest.mark.parametrize(
    ("allowed_s", "needed"),
    [
        pytest.param(2.0, 5000, id="not enough time"),
        pytest.param(120.0, 30, id="enough time"),
    ],
)
def test_fewer_samples_than_needed_come_only_where_it_was_said_beforehand(
    tmp_path: Path, allowed_s: float, needed: int
) -> None:
    file = ModelFile(
        Path("net.py"), Model(lambda: NOTHING, [Input("x", (128, 128), min_value=-0.1, max_value=0.1)]), ()
    )
    agents = Agents(tmp_path, file)
    agents.artifact = scripted(tmp_path, FORWARD)
    told: list[tuple[int, float]] = []
    try:
        measured = take_samples(
            agents,
            content_of(file.model),
            allowed_s,
            lambda progress: told.append((progress.done, progress.left_s)),
            at_least=needed,
        )
    finally:
        for deployment in agents.started:
            deployment.close()
    before = [left_s for done, left_s in told if done == 0]
    assert [done for done, _ in told[:2]] == [0, 0]
    assert (measured.count >= needed) == (before[1] <= allowed_s), (measured.count, before)
    assert (before[1] > allowed_s) == (needed == 5000)
