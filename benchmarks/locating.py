"""From a mismatch to the located node ÷ one run of the model in float64, and how it grows with the nodes."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx.reference import ReferenceEvaluator

from harness.export import Artifact, ArtifactFile
from harness.export.onnx import FILE, export_traced
from harness.model.build import BuiltModel, build_model
from harness.model.inputs import Arrays, uniform_set
from harness.model.model_file import load_model
from harness.parity.localize import Location, locate
from harness.parity.rule.float64 import run_in_float64
from harness.parity.rule.module_runs import in_float64
from tests.support.broken import onnx_runtime, shifted

from .support.interleave import interleave, median_of, one_cpu, timed
from .support.row import Aim, Options, Row, ratio_row

SIZES = (50, 100, 200, 400)
MAIN = 200
ROUNDS = 5
GROWTH = Aim(2.5)  # linear, and what the machine adds
WIDE = "one run of the model in float64"
EVALUATION = "onnx.reference.ReferenceEvaluator: load the graph, run it once"

# A chain of layers of two nodes, each of two modules, at whose end an error in the middle is still seen.
MODEL = """
import torch
from torch import nn
from harness import Input, Model

def layer():
    line = nn.Linear(64, 64)
    nn.init.orthogonal_(line.weight)
    return nn.Sequential(line, nn.LeakyReLU(0.9))

def build():
    torch.manual_seed(0)
    return nn.Sequential(*(layer() for _ in range({layers}))).eval()

model = Model(build=build, inputs=[Input("x", ("b", 64), min_value=-1, max_value=1)], dims={{"b": (1, 64)}})
"""


@dataclass(frozen=True)
class Case:
    """A chain whose third-quarter node runs wrongly."""

    built: BuiltModel
    wide: torch.nn.Module
    artifact: Artifact
    failing: Arrays
    wrong: str

    def locate(self) -> None:
        """From the mismatch to the node."""
        probe = onnx_runtime(shifted(self.wrong, 0.01))
        found = locate(self.built, self.artifact, [self.failing], probe, report=lambda done, total: None)
        if not isinstance(found, Location) or found.node != self.wrong:
            raise RuntimeError(f"wanted {self.wrong}; found {found}")

    def evaluate(self) -> None:
        """Load the graph and evaluate it once, without inspecting any value."""
        ReferenceEvaluator(str(self.artifact.folder / FILE)).run(None, self.failing)

    def run_wide(self) -> None:
        """One run of the model in float64: locating needs about a dozen."""
        tensors = [torch.from_numpy(array) for array in self.failing.values()]
        run_in_float64(self.wide, tensors)


def run(options: Options) -> Iterator[Row]:
    """Time a graph of 200 nodes, and how the time grows with the nodes."""
    with one_cpu(), tempfile.TemporaryDirectory() as folder:
        cases = {nodes: _case(nodes, Path(folder)) for nodes in SIZES}
        main = cases[MAIN]
        sides = [timed(case.locate, 1) for case in cases.values()]
        *own, wide, one_run = interleave(ROUNDS, *sides, timed(main.run_wide, 1), timed(main.evaluate, 1))
        measured = dict(zip(SIZES, own, strict=True))
        details = {"own_ms": median_of(measured[MAIN]) / 1e6, "rounds": ROUNDS}
        for others, against, key in ((wide, WIDE, "wide_ms"), (one_run, EVALUATION, "evaluation_ms")):
            more = {key: median_of(others) / 1e6}
            yield ratio_row(f"{MAIN} nodes", measured[MAIN], others, against, None, details | more)
        for nodes in SIZES:
            aim = GROWTH if nodes == 2 * MAIN else None
            against = f"itself with {MAIN} nodes"
            more = {"own_ms": median_of(measured[nodes]) / 1e6}
            yield ratio_row(f"{nodes} nodes", measured[nodes], measured[MAIN], against, aim, more)


def _case(nodes: int, folder: Path) -> Case:
    path = folder / f"chain_{nodes}.py"
    path.write_text(MODEL.format(layers=nodes // 2), encoding="utf-8")
    built = build_model(load_model(path, ()))
    (target := folder / str(nodes)).mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_traced(built.module, built.model, built.outputs, target)
    file = target / FILE
    graph = onnx.load(str(file)).graph
    if len(graph.node) != nodes:
        raise RuntimeError(f"wanted {nodes} nodes; the exporter made {len(graph.node)}")
    artifact = Artifact(
        folder=target,
        format="onnx",
        files=(ArtifactFile(FILE, "", file.stat().st_size),),
        exporter="benchmark",
        warnings=(),
    )
    wide = in_float64(built)
    return Case(built, wide, artifact, uniform_set(built.model, {"b": 8}, seed=1), graph.node[nodes * 3 // 4].name)
