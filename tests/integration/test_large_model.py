"""A model of 2.3 GB, exported, shipped and run here and over a loopback sshd: slow, and large."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.boards import write_device
from tests.integration.conftest import Project, put_runners
from tests.integration.runners import Built
from tests.support.processes import descendants
from tests.support.sshd import BoardServer

pytestmark = pytest.mark.slow

DISK_GB = 16
# More than 2 GiB, which is all that a protobuf can hold.
SIZE = 14 * 6400 * 6400 * 4
MODEL = """
    import torch
    from harness import Input, Model

    WIDTH, DEPTH = 6400, 14

    class Large(torch.nn.Module):
        def __init__(self):
            super().__init__()
            drawn = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)) / WIDTH**0.5
            # Each layer has its own, which to draw would take longer than all else that is done to them.
            self.weights = torch.nn.ParameterList(drawn.roll(layer, 0) for layer in range(DEPTH))

        def forward(self, x):
            for weight in self.weights:
                x = torch.relu(x @ weight)
            return x

    model = Model(
        build=lambda: Large().eval(),
        inputs=[Input("x", shape=("batch", WIDTH), min_value=-1.0, max_value=1.0)],
        dims={"batch": (1, 2)},
    )
"""


@pytest.fixture(scope="module")
def large(built: dict[str, Built]) -> Iterator[Project]:
    """A project, with the runners built, in a folder that goes at the end: pytest keeps its own, and these are
    gigabytes."""
    with tempfile.TemporaryDirectory(prefix="large-") as name:
        free = shutil.disk_usage(name).free / 1e9
        if free < DISK_GB:
            pytest.fail(f"wanted {DISK_GB} GB free in {name}; found {free:.0f} GB: name a larger disk, TMPDIR=…")
        project = Project(Path(name), {"HILGATE_CACHE": str(Path(name, "cache")), "HOME": name})
        project.write("pytest.ini", "[pytest]\nhil_model = large.py\nhil_device = local\n")
        project.write("large.py", MODEL)
        put_runners(Path(name, "cache"))
        yield project


def run(project: Project, *arguments: str) -> float:
    """A run that passes; returns the most that it and its export processes held in memory, in bytes."""
    log = project.folder / "log"
    # Its answers are right by construction; what each of them takes is no matter of how many there are.
    command = project.command(*project.searching(2.0), "--time-limit", "5", *arguments)
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=project.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **project.environment},
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, held(process.pid))
            time.sleep(0.2)
    assert process.returncode == 0, log.read_text()
    return peak


def held(pid: int) -> int:
    """The resident memory of a process and of what it has started, but for the programs of the device."""
    ours = [pid, *(below.pid for below in descendants(pid))]
    return sum(resident(one) for one in ours if not is_device(one))


def resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0  # it has ended
    return pages * os.sysconf("SC_PAGE_SIZE")


def is_device(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return True  # it has ended
    return (
        b"agent" in words
        or words[0].endswith(b"hilgate/runner")
        or any(b"hilgate: wanted Python" in word for word in words)
    )


def test_it_runs_here(large: Project) -> None:
    """In all backends; it is timed in one of C++, and on the board below in one of Python, each in three processes."""
    peak = run(large, "-k", "parity or (latency_p50 and onnxruntime-cpp)")
    assert 1 * SIZE < peak < 4 * SIZE


def test_it_is_shipped_and_runs_on_a_board(large: Project) -> None:
    with BoardServer() as server:
        write_device(large.folder, server, runtime='packages = ["onnxruntime==1.32.0", "numpy==2.4.6"]')
        peak = run(large, "--device", "board", "-k", "parity or latency_p50")
        assert 1 * SIZE < peak < 4 * SIZE
        stored = [path for path in server.home.rglob("model.onnx.data") if path.is_file()]
        assert [path.stat().st_size for path in stored] == [SIZE]
