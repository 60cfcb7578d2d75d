"""What `hilgate add` writes, by what a board says of itself."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.board.preflight import check_board
from harness.cli.add_board import check_usable
from harness.cli.device_file import base_for, check_text, device_text, nominal_memory, pins_for
from harness.cli.project import Project
from harness.device.device import Device
from harness.errors import DeviceError
from harness.host.shipped import DEVICES
from tests.support.facts import board_facts

PI4: dict[str, Any] = {
    "arch": "aarch64",
    "bits": 64,
    "cpu": "cortex-a72",
    "cores": 4,
    "memory_mib": 3794,
    "board": "Raspberry Pi 4 Model B Rev 1.4",
    "libc": "glibc-2.36",
    "python": "3.11.2",
    "executable": "/usr/bin/python3",
    "governor": ["ondemand"],
}
PI5 = {**PI4, "cpu": "cortex-a76", "memory_mib": 8063, "board": "Raspberry Pi 5 Model B Rev 1.0"}
JETSON = {
    **PI4,
    "cpu": "cortex-a78ae",
    "memory_mib": 7620,
    "board": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    "python": "3.10.12",
    "libc": "glibc-2.35",
}
OTHER = {**PI4, "cpu": "cortex-a55", "board": "Some Board", "memory_mib": 1965}
INTEL = {**OTHER, "arch": "x86_64", "cpu": "Intel(R) N100", "board": "", "memory_mib": 15769}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "devices")


def written(project: Project, facts: dict[str, Any], name: str = "rig") -> tuple[dict[str, Any], Device]:
    """The file's own content, and the device that it makes; it fits the board in any case."""
    said = board_facts(**facts)
    base = base_for(project, name, said)
    text = device_text(name, "me@rig", said, base)
    device = check_text(project, name, text, base)
    check_board(device, said)
    assert device.host == "me@rig"
    return tomllib.loads(text), device


@pytest.mark.parametrize(
    ("facts", "base"),
    [
        pytest.param(PI4, "pi4", id="pi4"),
        pytest.param({**PI4, "board": "Raspberry Pi 400 Rev 1.0"}, "pi4", id="pi400"),
        pytest.param({**PI4, "board": "Raspberry Pi Compute Module 4 Rev 1.0"}, "pi4", id="cm4"),
        pytest.param(PI5, "pi5", id="pi5"),
        pytest.param({**PI5, "board": "Raspberry Pi 500 Rev 1.0"}, "pi5", id="pi500"),
        pytest.param({**PI5, "board": "Raspberry Pi Compute Module 5 Rev 1.0"}, "pi5", id="cm5"),
        pytest.param(JETSON, "jetson-orin-nano", id="orin nano"),
        pytest.param({**JETSON, "board": "NVIDIA Jetson AGX Orin"}, None, id="agx orin"),
        pytest.param({**PI4, "board": "Raspberry Pi 3 Model B", "cpu": "cortex-a53"}, None, id="pi3"),
        pytest.param({**PI4, "cpu": "cortex-a53"}, None, id="another CPU than its family's"),
        pytest.param(OTHER, None, id="unknown"),
        pytest.param(INTEL, None, id="no device tree"),
    ],
)
def test_known_boards_are_recognised(project: Project, facts: dict[str, Any], base: str | None) -> None:
    found = base_for(project, "rig", board_facts(**facts))
    assert (found.name if found else None) == base


def test_a_known_board_says_only_what_differs(project: Project) -> None:
    own, device = written(project, PI4)
    assert own == {
        "extends": "pi4",
        "device": {"description": "Raspberry Pi 4 Model B Rev 1.4, 4 GB", "host": "me@rig"},
    }
    assert device.memory_mib == 4096


def test_other_memory_and_python_are_written(project: Project) -> None:
    own, device = written(project, {**PI4, "memory_mib": 7811, "python": "3.13.5"})
    assert own["device"]["memory_mib"] == 8192
    assert own["runtime"] == {"python": "3.13"}
    assert "torch==2.9.1" in device.runtime.packages


def test_an_older_python_gets_packages_that_still_know_it(project: Project) -> None:
    own, _ = written(project, {**PI4, "python": "3.9.2"})
    assert own["runtime"] == {"python": "3.9", "packages": list(pins_for("3.9"))}


def test_an_environments_python_is_its_own(project: Project) -> None:
    own, device = written(project, JETSON)
    assert "runtime" not in own
    assert device.runtime.environment == "/opt/hilgate"


def test_a_device_of_its_familys_name_extends_the_shipped_one(project: Project) -> None:
    project.folder.mkdir()
    (project.folder / "pi4.toml").write_text("an older file, about to go")
    own, device = written(project, PI4, name="pi4")
    assert own["extends"] == "pi4"
    assert device.cpu == "cortex-a72"


def test_in_a_clone_the_familys_own_file_is_not_replaced_by_itself() -> None:
    with pytest.raises(DeviceError, match="pi4 is what other devices extend"):
        base_for(Project(DEVICES), "pi4", board_facts(**PI4))


def test_an_unknown_arm_board_gets_a_whole_file(project: Project) -> None:
    own, device = written(project, OTHER)
    assert own["device"] | {"description": ""} == {
        "description": "",
        "link": "ssh",
        "host": "me@rig",
        "arch": "aarch64",
        "cpu": "cortex-a55",
        "memory_mib": 2048,
        "backends": ["torchscript", "libtorch", "onnxruntime", "onnxruntime-cpp"],
        "threads": 1,
    }
    assert device.runtime.packages == pins_for("3.11")


def test_an_intel_board_is_sent_no_cuda(project: Project) -> None:
    own, device = written(project, INTEL)
    assert own["device"]["memory_mib"] == 16384
    assert device.backends == ("onnxruntime", "onnxruntime-cpp")
    assert not [pin for pin in device.runtime.packages if pin.startswith("torch")]


def test_without_glibc_nothing_can_be_shipped(project: Project) -> None:
    _, device = written(project, {**OTHER, "libc": ""})
    assert device.runtime.environment == "/opt/hilgate"
    assert device.runtime.packages == ()
    assert device.backends == ("torchscript", "onnxruntime")


def test_a_boards_name_cannot_break_out_of_the_file(project: Project) -> None:
    _, device = written(project, {**OTHER, "board": 'Board "A" \\ \n[rules]\noffline = true \x7f\x00'})
    assert device.description.startswith('Board "A" \\ [rules]')
    assert not device.rules.offline


@pytest.mark.parametrize(
    "differs", [pytest.param({"arch": "armv7l"}, id="32-bit system"), pytest.param({"bits": 32}, id="32-bit Python")]
)
def test_a_board_that_no_wheels_are_made_for_is_refused(differs: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="hilgate cannot use this board"):
        check_usable(board_facts(**{**PI4, **differs}), "me@rig")


@pytest.mark.parametrize(
    ("reported", "nominal"),
    [
        pytest.param(3794, 4096, id="a Pi 4"),
        pytest.param(7620, 8192, id="a Jetson"),
        pytest.param(416, 416, id="nothing fits"),
        pytest.param(24105, 24105, id="none of these sizes"),
        pytest.param(0, 0, id="not known"),
    ],
)
def test_what_is_soldered_on(reported: int, nominal: int) -> None:
    assert nominal_memory(reported) == nominal
