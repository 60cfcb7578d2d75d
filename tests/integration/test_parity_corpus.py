"""The parity check on models of which it is known whether they are right: no false alarm, and nothing missed.

No device takes part: the artifacts are run in this process, on one thread. They are made in it, too: a process of its
own for each of them, which is tested elsewhere, would take minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

from harness.agent.structure import flatten
from harness.build import BuiltModel, build_model, one_thread
from harness.checks import Verdict, judge
from harness.export import Artifact, export_artifact, process
from harness.export.settings import read_settings
from harness.export.torchscript import NAMES
from harness.export.worker import main
from harness.finding import Finding
from harness.inputs import Arrays
from harness.limits import Limit
from harness.model import Array
from harness.model_file import load_model
from harness.parity import search
from harness.parity.inputs import Recipe
from harness.parity.reference import Reference
from harness.parity.search import ParitySearch
from tests.corpus.bad import BAD
from tests.corpus.clean import CLEAN

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated. Please use:DeprecationWarning")

SEARCH_S = 1.0
SEEDS = range(5)
Deployed = tuple[Callable[[Arrays], list[Array]], tuple[str, ...]]

# An export reads its model from a file.
MODEL_FILE = "from tests.corpus.{table} import {constant}\n\nmodel = {constant}[{name!r}].model\n"


def onnx(artifact: Artifact, built: BuiltModel) -> Deployed:
    """In ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = str(artifact.folder / artifact.files[0].name)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def infer(arrays: Arrays) -> list[Array]:
        found: list[Array] = session.run(None, {name: arrays[name] for name in names})
        return found

    return infer, tuple(item.name for item in session.get_outputs())


def torchscript(artifact: Artifact, built: BuiltModel, *, optimized: bool = False) -> Deployed:
    """In this process's PyTorch."""
    extra = {NAMES: ""}
    path = str(artifact.folder / artifact.files[0].name)
    module = torch.jit.load(path, _extra_files=extra).eval()  # type: ignore[no-untyped-call]
    if optimized:
        module = torch.jit.optimize_for_inference(torch.jit.freeze(module))

    def infer(arrays: Arrays) -> list[Array]:
        with torch.no_grad(), one_thread():
            answer: Any = module(*(torch.from_numpy(array.copy()) for array in arrays.values()))
        return [leaf.numpy() for _, leaf in flatten(answer)]

    return infer, tuple(json.loads(extra[NAMES])) if extra[NAMES] else built.outputs


BACKENDS: dict[str, Callable[[Artifact, BuiltModel], Deployed]] = {
    "onnx": onnx,
    "torchscript": torchscript,
    "torchscript-optimized": lambda artifact, built: torchscript(artifact, built, optimized=True),
}


@dataclass
class Bench:
    """Where models are built once, and searched as often as a test likes."""

    folder: Path
    _known: dict[str, tuple[BuiltModel, Reference]] = field(default_factory=dict)

    def built(self, table: str, name: str) -> tuple[BuiltModel, Reference]:
        """The model and its reference; those of one model are kept at a time."""
        key = f"{table}_{name.replace('-', '_')}"
        if key not in self._known:
            path = self.folder / f"{key}.py"
            path.write_text(MODEL_FILE.format(table=table, constant=table.upper(), name=name), encoding="utf-8")
            built = build_model(load_model(path, ()))
            self._known = {key: (built, Reference(built))}
        return self._known[key]

    def artifact(self, table: str, name: str, backend: str) -> Artifact:
        """What the backend runs."""
        return export_artifact(self.built(table, name)[0], backend.partition("-")[0])

    def search(self, table: str, name: str, backend: str, seed: int) -> tuple[Verdict, Finding]:
        """One search, and what becomes of it under the model's own tolerance."""
        built, reference = self.built(table, name)
        infer, names = BACKENDS[backend](self.artifact(table, name, backend), built)

        def answers(recipes: Sequence[Recipe]) -> list[list[Array]]:
            return [infer(reference.space.make(recipe)) for recipe in recipes]

        searching = ParitySearch(built, reference, answers, names, seed, lambda done, total: None, search_s=SEARCH_S)
        finding = searching.run(searching.check)
        return judge(finding, [Limit("parity", built.model.parity_limit, name)]).verdict, finding


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Exports happen in this process meanwhile, and shrinking is short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "run_worker", _export_here)
        patch.setattr(search, "SHRINK_S", 1.0)
        yield Bench(tmp_path_factory.mktemp("corpus"))


def _export_here(built: BuiltModel, artifact_format: str, folder: Path) -> None:
    """What it prints where it refuses stands in the test's report."""
    request = {"model": str(built.file.path), "format": artifact_format, "folder": str(folder)}
    main(request | {"weights": dict(built.weights), "settings": read_settings()})


def _told(finding: Finding) -> str:
    return f"{finding.value}: {finding.failure or finding.missing or finding.doubt}"


@pytest.mark.parametrize("name", [name for name, clean in CLEAN.items() if clean.quick])
def test_a_right_model_raises_no_alarm(bench: Bench, name: str) -> None:
    verdict, finding = bench.search("clean", name, "onnx", seed=0)
    assert verdict is Verdict.PASS, _told(finding)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("backend", ["onnx", "torchscript"])
@pytest.mark.parametrize("name", CLEAN)
def test_no_right_model_raises_an_alarm_with_any_seed(bench: Bench, name: str, backend: str, seed: int) -> None:
    verdict, finding = bench.search("clean", name, backend, seed)
    assert verdict is Verdict.PASS, _told(finding)


def test_the_corpus_is_large_enough() -> None:
    assert len(CLEAN) >= 40
    assert sum(clean.quick for clean in CLEAN.values()) >= 12


WRONG = [(name, backend) for name, bad in BAD.items() for backend in bad.backends]
RIGHT = [(name, backend) for name, bad in BAD.items() for backend in BACKENDS if backend not in bad.backends]


@pytest.mark.parametrize(("name", "backend"), WRONG)
def test_a_wrong_model_fails(bench: Bench, name: str, backend: str) -> None:
    verdict, finding = bench.search("bad", name, backend, seed=0)
    assert verdict is Verdict.FAIL, _told(finding)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "backend"), WRONG)
def test_a_wrong_model_fails_with_every_seed(bench: Bench, name: str, backend: str, seed: int) -> None:
    verdict, finding = bench.search("bad", name, backend, seed)
    assert verdict is Verdict.FAIL, _told(finding)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend"), RIGHT)
def test_a_wrong_model_passes_on_a_backend_that_is_right(bench: Bench, name: str, backend: str) -> None:
    verdict, finding = bench.search("bad", name, backend, seed=0)
    assert verdict is Verdict.PASS, _told(finding)


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_model_names_a_module_of_its_own_and_its_exporter(bench: Bench, name: str) -> None:
    built, _ = bench.built("bad", name)
    assert BAD[name].module in dict(built.module.named_modules())
    assert bench.artifact("bad", name, "onnx").exporter == BAD[name].exporter
