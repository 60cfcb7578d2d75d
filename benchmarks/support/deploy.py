"""An example model, exported and deployed on ``local`` by the harness's own means."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.backends import load_backend
from harness.board import Board, open_board
from harness.bundle import Bundle, make_bundle
from harness.bundle.planning import plan_runtime
from harness.cell import Cell
from harness.deploy.deployer import Deployer
from harness.deploy.deployment import Deployment, DeviceTime, LoadReport, Timeouts
from harness.device.device import load_device
from harness.export import export_artifact
from harness.measure import known_metrics
from harness.model.build import build_model
from harness.model.inputs import Arrays, measured_sets
from harness.model.model_file import load_model

# Models that write into their input: a bare loop has to write it anew.
IN_PLACE = ("in_place",)
# Inputs that a bare loop and a deployment take in turn: more than one, for a branch predictor learns it by heart.
TIMED_SETS = 4
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
# Models that are no example for a user.
MODELS = Path(__file__).with_name("models")
BACKENDS = ("torchscript", "onnxruntime")
NATIVE_BACKENDS = ("libtorch", "onnxruntime-cpp")


@dataclass(frozen=True)
class Prepared:
    """A cell whose bundle can be deployed any number of times; its module is not kept."""

    cell: Cell
    board: Board
    bundle: Bundle

    @property
    def artifact(self) -> Path:
        """The file that the runtime opens."""
        return self.bundle.files[self.bundle.entry].source

    @property
    def sets(self) -> list[Arrays]:
        """The inputs of the closed loop."""
        return measured_sets(self.cell.file.model, TIMED_SETS)

    @contextmanager
    def loaded(self) -> Iterator[tuple[Deployment, LoadReport]]:
        """A fresh process, loaded, and what that took."""
        deployer = Deployer(self.cell, self.board, self.bundle, Timeouts(), DeviceTime())
        try:
            yield deployer.fresh()
        finally:
            deployer.close()

    @contextmanager
    def deployed(self) -> Iterator[Deployment]:
        """A fresh process, loaded."""
        with self.loaded() as (deployment, _):
            yield deployment


@cache
def prepare(example: str, backend_name: str) -> Prepared:
    """Export examples/EXAMPLE.py, or one of support/models, for a backend, or take the export from the cache."""
    return prepare_on(_board("local"), example, backend_name)


def prepare_on(board: Board, example: str, backend_name: str) -> Prepared:
    """The same for a board that was opened by the caller."""
    folder = MODELS if (MODELS / f"{example}.py").exists() else EXAMPLES
    file = load_model(folder / f"{example}.py", known_metrics().values())
    backend = load_backend(backend_name)
    artifact = export_artifact(build_model(file), backend.artifact)
    bundle = make_bundle(artifact, backend, plan_runtime(board.device, backend, board.facts))
    return Prepared(Cell(file, board.device, backend), board, bundle)


@cache
def _board(name: str) -> Board:
    """Locked until this process ends: one for all that it deploys."""
    board = open_board(load_device(name, (ROOT / "devices",), known_metrics().values()), wait_s=600)
    atexit.register(board.close)
    return board
