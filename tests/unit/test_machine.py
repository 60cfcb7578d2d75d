"""The machine that a device file asks QEMU for, and what is said where there is none such."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.device import Device, load_device
from harness.emulator import host_programs
from harness.emulator.machine import Machine, machine_of
from harness.errors import DeviceError

ALL = {"arch": '"aarch64"', "cpu": '"cortex-a72"', "memory_mib": "512"}

asks_qemu = pytest.mark.skipif(
    shutil.which(host_programs.QEMU, path=host_programs.PATH) is None, reason=f"no {host_programs.QEMU} here"
)


def device(folder: Path, **keys: str | None) -> Device:
    """An emulated one; a key that is None is left out."""
    lines = [f"{key} = {value}" for key, value in {**ALL, **keys}.items() if value is not None]
    text = '[device]\ndescription = "a board"\nlink = "qemu"\nbackends = ["onnxruntime"]\n'
    (folder / "board.toml").write_text(text + "\n".join(lines))
    return load_device("board", [folder], [])


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        pytest.param({"arch": None}, "no device.arch", id="no-arch"),
        pytest.param({"cpu": None}, "no device.cpu", id="no-cpu"),
        pytest.param({"memory_mib": None}, "no device.memory_mib", id="no-memory"),
        pytest.param({"cpu": None, "memory_mib": None}, "no device.cpu, no device.memory_mib", id="neither"),
        pytest.param({"arch": '"x86_64"'}, "arch = 'x86_64'", id="another-arch"),
    ],
)
def test_a_device_that_does_not_say_what_to_emulate_is_an_error(
    tmp_path: Path, keys: dict[str, str | None], found: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        machine_of(device(tmp_path, **keys))
    assert (caught.value.found, caught.value.where) == (found, str(tmp_path / "board.toml"))


@asks_qemu
@pytest.mark.parametrize(
    "cpu",
    [
        pytest.param("cortex-a720000", id="no-such"),
        pytest.param("max", id="no-boards"),
        pytest.param("cortex-m4", id="a-microcontrollers"),
        pytest.param("cortex-a15", id="of-32-bits"),
        pytest.param("cortex-a7", id="of-32-bits-though-it-looks-like-an-a72"),
    ],
)
def test_a_cpu_that_is_none_of_a_64_bit_board_is_an_error_that_lists_those(tmp_path: Path, cpu: str) -> None:
    with pytest.raises(DeviceError) as caught:
        machine_of(device(tmp_path, cpu=f'"{cpu}"'))
    assert caught.value.found == repr(cpu)
    assert "cortex-a53" in caught.value.wanted
    assert caught.value.where == f"{tmp_path / 'board.toml'}: device.cpu"


@asks_qemu
@pytest.mark.parametrize(
    ("threads", "cores"), [pytest.param("1", 2, id="at-least-two"), pytest.param("4", 4, id="one-a-thread")]
)
def test_a_machine_has_a_core_for_each_thread(tmp_path: Path, threads: str, cores: int) -> None:
    assert machine_of(device(tmp_path, threads=threads)) == Machine("cortex-a72", 512, cores)
