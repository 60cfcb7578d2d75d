"""Deployer: what it notes of its processes, and when it starts another."""

from __future__ import annotations

import copy
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import Input, Model
from harness.agent.frames import encode
from harness.deploy.deployer import IDLE_S, Deployer
from harness.deploy.deployment import DeviceTime, Timeouts
from harness.errors import AgentDied, AgentFailure, AgentTimeout, DeploymentError

NOTHING = cast(Any, None)


@pytest.fixture
def deployer() -> Deployer:
    """Of no cell."""
    notes = ["the connection dropped and was made again"]
    board = cast(Any, SimpleNamespace(notes=notes, verify=lambda bundle: {}, check_stored=lambda bundle: None))
    return Deployer(cell=NOTHING, board=board, bundle=NOTHING, timeouts=Timeouts(), device_time=DeviceTime())


def test_a_greeting_and_what_the_board_notes_stand_once_in_a_cell(deployer: Deployer) -> None:
    for _ in range(3):
        deployer._note_greeting("Welcome")
    assert deployer.notes == [
        "the connection dropped and was made again",
        "something was printed before the agent's first frame: 'Welcome'",
    ]


@pytest.mark.parametrize(
    ("idle_s", "again"),
    [pytest.param(0, False, id="just-used"), pytest.param(IDLE_S + 1, True, id="so-idle-that-it-may-have-ended")],
)
def test_a_process_is_shared_unless_it_was_idle_for_long(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch, idle_s: float, again: bool
) -> None:
    live, load, fresh = (cast(Any, SimpleNamespace(alive=True, last_used=time.monotonic() - idle_s)) for _ in range(3))
    deployer.live, deployer.load = live, load
    monkeypatch.setattr(deployer, "fresh", lambda: (fresh, load))
    assert (deployer.shared()[0] is fresh) is again


@pytest.mark.parametrize(
    ("error", "chooses"),
    [
        pytest.param(AgentDied("the agent died", found="killed by SIGKILL"), True, id="killed"),
        pytest.param(AgentFailure("load failed", found="MemoryError"), True, id="python"),
        pytest.param(AgentFailure("load failed", found="RuntimeError: std::bad_alloc"), True, id="c++"),
        pytest.param(AgentTimeout("no answer", hint="--time-limit SECONDS"), True, id="time"),
        pytest.param(AgentFailure("load failed", found="30 must match 3"), False, id="the-model's-own"),
    ],
)
@pytest.mark.parametrize("measured", [pytest.param(True, id="measuring"), pytest.param(False, id="parity")])
def test_what_goes_wrong_while_measuring_says_at_which_sizes(
    deployer: Deployer, error: DeploymentError, chooses: bool, measured: bool
) -> None:
    dims = {"batch": (1, 2), "height": (480, 1080)}
    model = Model(build=lambda: NOTHING, inputs=[Input("image", tuple(dims))], dims=dims)
    deployer.cell = cast(Any, SimpleNamespace(file=SimpleNamespace(model=model)))
    fresh = copy.copy(error)
    with pytest.raises(type(error)), deployer.failures_kept(at_measured_sizes=measured):
        raise fresh
    assert (fresh.where == "at batch = 2, height = 1080") is measured
    assert ("measure={…}" in fresh.hint) is (chooses and measured)
    assert fresh.hint.startswith(error.hint)


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        pytest.param(None, None, id="nothing"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"\x89HIL\1\0\0\0", None, id="cut-short"),
        pytest.param(b"".join(encode({"error": "MemoryError"})), None, id="a-failure"),
        pytest.param(b"".join(encode({"elapsed_ns": 7})), {"elapsed_ns": 7}, id="whole"),
    ],
)
def test_what_was_kept_is_collected_if_it_is_whole(
    deployer: Deployer, kept: bytes | None, found: dict[str, int] | None
) -> None:
    deployer.board.collect = lambda name, wait_s: kept  # type: ignore[method-assign]
    frame = deployer.collect("block-1")
    assert (frame.header if frame else None) == found
