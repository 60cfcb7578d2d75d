"""Releases of a run on a board over SSH: with the runtime of each backend in them, and C++ for one installed there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.sshd import Board, BoardServer

from .boards import FURNISHED, furnish, write_device
from .conftest import MODEL, Outcome, Project
from .gated import Gated, OnBoard

pytestmark = pytest.mark.slow

LIMITS = '{"latency_p99_ms": 1000, "memory_peak_mib": 4000, "load_time_s": 600}'
REQUIRE = ("parity", "latency_p99_ms", "memory_peak_mib")
TORCH = version("torch")
# With CUDA it would be gigabytes.
HAS_CPU_TORCH = TORCH.endswith("+cpu")
# PyTorch's own libraries are half a gigabyte: where they are installed, they are tried here and in test_gate.
SHIPPED = ["onnxruntime", "onnxruntime-cpp"]
INSTALLED = ["onnxruntime-cpp", *(["libtorch"] if HAS_CPU_TORCH else [])]
PACKAGES = [f"{name}=={version(name)}" for name in ("onnxruntime", "numpy")]
# C++ is compiled for the board.
RUN_S = 900


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer(Board(mounts=FURNISHED)) as made:
        yield made


@pytest.fixture(scope="module")
def run(server: BoardServer, kept_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Gated, Outcome]:
    """A run of the tiny model: all backends with their runtimes, and those in C++ with what is installed there."""
    project = Project(tmp_path_factory.mktemp("boards"))
    project.write("pytest.ini", "[pytest]\nhil_model = tiny.py\n")
    project.write("tiny.py", MODEL.replace("dims={", f"limits={LIMITS},\n        dims={{"))
    write_device(project.folder, server, runtime=f"packages = {json.dumps(PACKAGES)}")
    path = project.folder / "devices/board.toml"
    path.write_text(path.read_text().replace('["onnxruntime"]', json.dumps(SHIPPED)))
    project.write(
        "devices/installed.toml",
        f'extends = "board"\n[device]\nbackends = {json.dumps(INSTALLED)}\n'
        f'[runtime]\npackages = []\nenvironment = "{furnish(server)}"\n',
    )
    project.environment["HOME"] = str(project.folder)
    gated = Gated(project)
    gated.commit()
    return gated, project.run_command(project.command("--device", "board", "--device", "installed"), RUN_S)


def library(release: Path, backend: str) -> str:
    """A library that the release has, by its path in it."""
    if backend in INSTALLED:
        named = str(json.loads((release / "check/check.json").read_bytes())["load"]["library"])
        return "runtime/hilgate/engine.so" if named.startswith("/") else named
    return str(next((release / "runtime").rglob("onnxruntime_pybind11_state*.so")).relative_to(release))


@pytest.mark.parametrize(
    ("device", "backend"),
    [*(("board", backend) for backend in SHIPPED), *(("installed", backend) for backend in INSTALLED)],
)
def test_a_release_checks_itself_on_the_board_and_refuses_a_changed_library(
    run: tuple[Gated, Outcome], server: BoardServer, device: str, backend: str
) -> None:
    gated, done = run
    assert done.status == 0, done.output
    release = gated.release(gated.policy(device, backend=backend, require=REQUIRE))
    there = OnBoard.sent(server, release, "077")
    # What runs have left there helps nobody.
    server.run("rm -rf ~/.cache/hilgate/runtimes ~/.cache/hilgate/bundles")
    there.passes()
    there.refuses_a_changed_byte(library(release, backend))
    server.run(f"echo 'raise SystemExit' > {there.folder}/runtime/sitecustomize.py")
    status, lines, _ = there.check()
    said = "check: FAIL: a file that SHA256SUMS does not list: runtime/sitecustomize.py"
    assert (status, lines) == (1, [said])
    server.run(f"rm -rf {there.folder}", timeout=300)
