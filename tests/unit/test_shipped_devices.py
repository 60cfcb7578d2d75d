"""The device files that hilgate brings: what a user's own file extends."""

from pathlib import Path

import pytest

from harness.backends import load_backend
from harness.device import Device, device_names, load_device
from harness.measure import known_metrics

SHIPPED = Path(__file__).parents[2] / "devices"
BOARDS = ("jetson-orin-nano", "pi4", "pi5")


def load(name: str) -> Device:
    return load_device(name, [SHIPPED], known_metrics().values())


def test_there_are_these() -> None:
    assert set(BOARDS) <= set(device_names([SHIPPED]))


@pytest.mark.parametrize("name", device_names([SHIPPED]))
def test_its_backends_exist_and_know_its_options(name: str) -> None:
    device = load(name)
    for backend in device.backends:
        load_backend(backend).check_options(device.options.get(backend, {}), name)


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_says_all_that_preflight_compares(name: str) -> None:
    device = load(name)
    assert (device.link, device.host, device.arch, device.threads) == ("ssh", name, "aarch64", 1)
    assert device.cpu
    assert device.memory_mib
    assert device.rules.offline


@pytest.mark.parametrize(
    ("name", "cpu", "memory_mib"),
    [
        pytest.param("pi4", "cortex-a72", 4096, id="pi4"),
        pytest.param("pi5", "cortex-a76", 8192, id="pi5"),
        pytest.param("jetson-orin-nano", "cortex-a78ae", 8192, id="jetson-orin-nano"),
    ],
)
def test_cpu_and_memory(name: str, cpu: str, memory_mib: int) -> None:
    device = load(name)
    assert (device.cpu, device.memory_mib) == (cpu, memory_mib)


@pytest.mark.parametrize("name", ["pi4", "pi5"])
def test_a_raspberry_pi_is_sent_a_torch_that_runs_on_it(name: str) -> None:
    runtime = load(name).runtime
    assert runtime.python == "3.11"
    assert runtime.packages == ("torch==2.9.1", "onnxruntime==1.32.0", "numpy==2.4.6")


def test_the_jetson_uses_what_is_installed_there_on_its_gpu_first() -> None:
    device = load("jetson-orin-nano")
    assert device.runtime.environment == "/opt/hilgate"
    assert device.options["onnxruntime"]["providers"] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
