"""What the agent's files say of a board, and that they run there: Python 3.9, nothing but numpy and themselves."""

import ast
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.agent import facts
from harness.agent.orphans import boot_id
from harness.board.daemon_client import BOOT, SHARED, DaemonClient, sources
from harness.device.device import Device, Runtime
from harness.errors import DeviceError
from harness.links.local import Link
from harness.protocol.daemon import Facts
from tests.support.pythons import PYTHONS

HARNESS = Path(facts.__file__).parents[1]
AGENT = sorted((HARNESS / "agent").glob("*.py"))
DAEMON = sorted((HARNESS / "agent" / "daemon").glob("*.py"))
# What runs before there is anything but a Python: not even numpy.
BARE = {*DAEMON, *(HARNESS / "agent" / f"{name}.py" for name in SHARED)}
BACKENDS = {"torchscript": "torch", "onnxruntime": "onnxruntime"}
SHIPPED = [
    *(pytest.param(path, set() if path in BARE else {"numpy"}, id=f"agent-{path.stem}") for path in AGENT),
    *(pytest.param(path, set(), id=f"daemon-{path.stem}") for path in DAEMON),
    *(
        pytest.param(HARNESS / "backends" / f"{name}.py", {"numpy", runtime}, id=f"backend-{name}")
        for name, runtime in BACKENDS.items()
    ),
]

# /proc/cpuinfo, shortened to its first core where the others are alike.
PI4 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

Revision\t: c03115
Serial\t\t: 10000000deadbeef
Model\t\t: Raspberry Pi 4 Model B Rev 1.5
"""
PI4_32_BIT = "processor\t: 0\nmodel name\t: ARMv7 Processor rev 3 (v7l)\n" + PI4.partition("\n")[2]
PI5 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

Revision\t: d04170
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Processor @ 2.60GHz
"""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param(PI4, "cortex-a72", id="pi-4"),
        pytest.param(PI4_32_BIT, "cortex-a72", id="pi-4-32-bit"),
        pytest.param(PI5, "cortex-a76", id="pi-5"),
        pytest.param(PI5.replace("0xd0b", "0xd4f"), "arm-part-0xd4f", id="arm-unknown-part"),
        pytest.param(PI4 + PI5, "cortex-a72", id="two-kinds-the-first"),
        pytest.param(X86, "Intel(R) Xeon(R) Processor @ 2.60GHz", id="x86"),
    ],
)
def test_the_cpus_name(monkeypatch: pytest.MonkeyPatch, text: str, name: str) -> None:
    monkeypatch.setattr(facts, "read_text", {"/proc/cpuinfo": text}.__getitem__)
    assert facts.cpu_name() == name


@pytest.mark.parametrize(
    "text", [pytest.param("", id="no-cpuinfo"), pytest.param(PI5.replace("0x41", "0x61"), id="not-arms-own")]
)
def test_a_cpu_that_is_not_known_has_some_name(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(facts, "read_text", lambda path: text)
    assert facts.cpu_name() == (platform.processor() or "unknown")


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        pytest.param("MemTotal:        3884136 kB\nMemFree:          100 kB", 3793, id="pi-4"),
        pytest.param("", 0, id="no-meminfo"),
    ],
)
def test_the_memory_in_mib(monkeypatch: pytest.MonkeyPatch, text: str, mib: int) -> None:
    monkeypatch.setattr(facts, "read_text", lambda path: text)
    assert facts.memory_mib() == mib


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(b"10000000deadbeef\0", "10000000deadbeef", id="device-tree"),
        pytest.param(b"performance\n", "performance", id="sysfs"),
        pytest.param(b"\xff\xfe", "\ufffd\ufffd", id="not-utf-8"),
    ],
)
def test_a_files_text_has_no_end_of_its_own(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "x").write_bytes(content)
    assert facts.read_text(str(tmp_path / "x")) == text


def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert facts.read_text(str(tmp_path / "absent")) == ""


def test_packages_that_are_not_installed_are_left_out() -> None:
    found = facts.distributions(["numpy", "no-such-package-of-ours"])
    assert {name: item.version for name, item in found.items()} == {"numpy": np.__version__}


# On the device


EACH_PYTHON = [pytest.param(program, id=name) for name, program in PYTHONS.items()]


def board(python: str) -> Device:
    """This machine as a device that has only this Python."""
    return Device(
        name="board",
        path=Path("board.toml"),
        description="",
        link="local",
        backends=("onnxruntime",),
        runtime=Runtime(python=python),
    )


@pytest.mark.parametrize("python", EACH_PYTHON)
def test_the_daemon_runs_from_memory(python: str) -> None:
    device = board(python)
    daemon = DaemonClient.start(Link(device), device)
    try:
        found = daemon.request(Facts, packages=["numpy", "no-such-package-of-ours"])
    finally:
        daemon.close()
    here = facts.facts(["numpy"])
    assert set(Facts.model_fields) == {*here, "governor", "boot"}
    assert found.boot == boot_id()
    assert "no-such-package-of-ours" not in found.packages
    same = ("arch", "cpu", "features", "memory_mib", "kernel", "libc", "serial")
    said = found.model_dump(mode="json")
    assert {key: said[key] for key in same} == {key: here[key] for key in same}
    assert Path(found.executable).samefile(python)


def test_the_daemons_sources_are_all_that_it_imports() -> None:
    names = {name.removesuffix(".__init__") for name in sources()}
    modules = [path for path in BARE if path != BOOT and path.stem != "__init__"]
    expected = {f"agent.{'daemon.' if path in DAEMON else ''}{path.stem}" for path in modules}
    assert names == {"agent", "agent.daemon"} | expected


def test_a_python_that_is_too_old_is_said_to_be(tmp_path: Path) -> None:
    old = tmp_path / "python"
    pretend = "import sys; sys.version_info = (3, 8, 1); sys.version = '3.8.1 (old)'; exec(sys.argv[-1])"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{pretend}" "$3"\n')
    old.chmod(0o755)
    with pytest.raises(DeviceError, match="too old") as caught:
        DaemonClient.start(Link(board(str(old))), board(str(old)))
    assert caught.value.found == "Python 3.8.1"


@pytest.mark.parametrize(("path", "packages"), SHIPPED)
def test_a_shipped_file_is_python_3_9(path: Path, packages: set[str]) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


@pytest.mark.parametrize("python", EACH_PYTHON)
def test_a_real_python_compiles_what_is_shipped(python: str, tmp_path: Path) -> None:
    files = [str(param.values[0]) for param in SHIPPED]
    program = "import py_compile, sys; [py_compile.compile(path, sys.argv[1], doraise=True) for path in sys.argv[2:]]"
    subprocess.run([python, "-c", program, str(tmp_path / "x.pyc"), *files], check=True)


@pytest.mark.parametrize(("path", "packages"), SHIPPED)
def test_a_shipped_file_imports_only_what_is_there(path: Path, packages: set[str]) -> None:
    allowed = packages | sys.stdlib_module_names
    # agent/remote and agent/network go with backends that call another computer: only their agents are asked for them.
    # "backend" and a fallback's "near" are a backend's file, shipped beside them.
    siblings = {file.stem for file in AGENT} | {"backend", "near", "remote", "remote.fallback", "network.start"}
    around = [{file.stem for file in DAEMON}, siblings] if path in DAEMON else [siblings if path in AGENT else set()]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom) and node.level:
            names = {node.module} if node.module else {alias.name for alias in node.names}
            assert names <= around[node.level - 1]
        elif isinstance(node, ast.ImportFrom):
            assert str(node.module).partition(".")[0] in allowed | ({"agent"} if path == BOOT else set())
