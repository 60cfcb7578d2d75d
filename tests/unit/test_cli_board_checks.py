"""What `hilgate doctor` makes of what a board says of itself."""

from pathlib import Path
from typing import Any

import pytest

from harness.board.trial import Trial
from harness.cli.board_checks import NAMES, board, condition, python, store
from harness.cli.doctor_check import FAILED, OK, WARNING, Check
from harness.device.device import Device, Runtime
from harness.errors import LinkError, StorageError
from harness.protocol import parse
from harness.protocol.daemon import Look
from tests.support.facts import board_facts, own_state

DEVICE = Device(
    name="rig",
    path=Path("devices/rig.toml"),
    description="a board",
    link="ssh",
    host="rig",
    arch="aarch64",
    cpu="cortex-a72",
    memory_mib=4096,
    backends=("onnxruntime",),
    runtime=Runtime(python="3.11", packages=("onnxruntime==1.32.0",)),
)
FACTS: dict[str, Any] = {
    "arch": "aarch64",
    "bits": 64,
    "cpu": "cortex-a72",
    "cores": 4,
    "memory_mib": 3794,
    "libc": "glibc-2.36",
    "python": "3.11.2",
    "executable": "/usr/bin/python3",
    "governor": ["performance"],
}
STATE: dict[str, Any] = {**own_state().model_dump(mode="json"), "temperature_mc": [45_000], "throttled_bits": 0}
LOOK: dict[str, Any] = {
    "store": "/home/me/.cache/hilgate",
    "holder": None,
    "entries": 3,
    "damaged": [],
    "time": 0.0,
    "used_bytes": 5 << 20,
    "free_bytes": 8 << 30,
    "state": STATE,
    "swap_total_kib": 100,
    "swap_used_kib": 0,
}
WELL = Trial()


def checks(facts: dict[str, Any], look: dict[str, Any], behind_s: float = 0.0, trial: Trial = WELL) -> dict[str, Check]:
    said, looked = board_facts(**facts), parse(Look, look, to="look", where="a board")
    stored = store(DEVICE, looked, trial)
    made = [python(DEVICE, said), *board(DEVICE, said), *stored, *condition(said, looked, behind_s)]
    return {check.name: check for check in made}


def test_a_board_as_it_should_be() -> None:
    found = checks(FACTS, LOOK)
    assert {check.mark for check in found.values()} == {OK}
    assert list(found) == ["Python", *NAMES]  # those that are said to be skipped where the board is not reached


@pytest.mark.parametrize(
    ("name", "differs"),
    [
        pytest.param("Python", {"python": "3.9.2"}, id="python"),
        pytest.param("architecture", {"arch": "x86_64"}, id="arch"),
        pytest.param("architecture", {"bits": 32}, id="32-bit Python"),
        pytest.param("CPU", {"cpu": "cortex-a76"}, id="cpu"),
        pytest.param("memory", {"memory_mib": 1850}, id="memory"),
        pytest.param("C library", {"libc": ""}, id="musl"),
    ],
)
def test_another_board_than_the_file_says(name: str, differs: dict[str, Any]) -> None:
    found = checks({**FACTS, **differs}, LOOK)
    assert [check.name for check in found.values() if check.mark != OK] == [name]
    assert found[name].mark == FAILED
    assert found[name].hint


@pytest.mark.parametrize(
    ("name", "mark", "differs"),
    [
        pytest.param("disk", FAILED, {"free_bytes": 1 << 20}, id="disk full"),
        pytest.param("disk", WARNING, {"free_bytes": 500 << 20}, id="little room"),
        pytest.param("store", WARNING, {"damaged": ["runtimes/abc"]}, id="store changed"),
        pytest.param("lock", FAILED, {"holder": {"who": "eve@desk", "since": "noon"}}, id="held"),
        pytest.param("swap", WARNING, {"swap_used_kib": 50}, id="swap used"),
        pytest.param("temperature", WARNING, {"state": {**STATE, "temperature_mc": [40_000, 79_000]}}, id="hot"),
        pytest.param("throttling", WARNING, {"state": {**STATE, "throttled_bits": 0x1}}, id="throttled now"),
        pytest.param("throttling", WARNING, {"state": {**STATE, "throttled_bits": 0x50000}}, id="throttled once"),
    ],
)
def test_a_condition_that_is_not_right(name: str, mark: str, differs: dict[str, Any]) -> None:
    found = checks(FACTS, {**LOOK, **differs})
    assert [check.name for check in found.values() if check.mark != OK] == [name]
    assert found[name].mark == mark
    assert found[name].hint


@pytest.mark.parametrize(
    "differs",
    [
        pytest.param({"swap_total_kib": 0}, id="no swap"),
        pytest.param({"entries": 0, "used_bytes": 0}, id="empty store"),
        pytest.param({"state": {**STATE, "temperature_mc": [], "throttled_bits": None}}, id="no sensor"),
        pytest.param({"state": {**STATE, "temperature_mc": [-274_000, 0]}}, id="sensors that are off"),
    ],
)
def test_what_a_board_does_not_have_is_no_fault(differs: dict[str, Any]) -> None:
    assert {check.mark for check in checks(FACTS, {**LOOK, **differs}).values()} == {OK}


@pytest.mark.parametrize(
    ("behind_s", "mark", "word"),
    [(59.0, OK, "as this"), (-59.0, OK, "as this"), (3600.0, WARNING, "behind"), (-3600.0, WARNING, "ahead of")],
)
def test_the_clock_may_differ_by_a_minute(behind_s: float, mark: str, word: str) -> None:
    check = checks(FACTS, LOOK, behind_s)["clock"]
    assert check.mark == mark
    assert word in check.found


@pytest.mark.parametrize(
    ("governors", "mark"),
    [([], OK), (["performance"], OK), (["ondemand"], WARNING), (["ondemand", "performance"], WARNING)],
)
def test_only_one_governor_is_steady(governors: list[str], mark: str) -> None:
    assert checks({**FACTS, "governor": governors}, LOOK)["governor"].mark == mark


@pytest.mark.parametrize(
    ("trial", "name"),
    [
        pytest.param(Trial(store=StorageError("no", hint="another folder")), "disk", id="store"),
        pytest.param(Trial(sessions=LinkError("no", hint="another setting")), "sessions", id="sessions"),
    ],
)
def test_what_was_tried_in_vain_is_named_with_what_to_do(trial: Trial, name: str) -> None:
    found = checks(FACTS, LOOK, trial=trial)
    assert {one: check.mark for one, check in found.items() if check.mark != OK} == {name: FAILED}
    assert "another" in found[name].hint
