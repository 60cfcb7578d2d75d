"""Where the corpus is built, exported, run and searched: in this process, on one thread, without a device.

Exports are made in it, too: a process of its own for each of them, which is tested elsewhere, would take minutes. They
are nearly all of the time, so they are made once for all files that search the corpus, in a cache that outlasts them.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime
import pytest
import torch

from harness.agent.structure import flatten
from harness.checks.check import Verdict, judge
from harness.checks.finding import Finding
from harness.checks.limits import Limit
from harness.export import Artifact, artifact_cache, export_artifact, process
from harness.export.settings import read_settings
from harness.export.torchscript import NAMES
from harness.export.worker import main
from harness.host.cache import cache_folder, file_sha256
from harness.model.build import BuiltModel, build_model, one_thread
from harness.model.inputs import Arrays
from harness.model.model import Array
from harness.model.model_file import load_model
from harness.parity import pace
from harness.parity.rule.reference import Reference
from harness.parity.search import ParitySearch
from harness.parity.trials.recipe import Recipe

if TYPE_CHECKING:
    from torch.onnx._internal.exporter._registration import ONNXRegistry

SEARCH_S = 0.6
# In the user's cache, read before the tests' own takes its place. The key of an export has the models' code in it, but
# not how this file exports.
EXPORTS = cache_folder() / "test-corpus" / file_sha256(Path(__file__))[:16]
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
    _exported: dict[tuple[str, str, str], Artifact] = field(default_factory=dict)

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
        """What the backend runs. Finding it in the cache takes a good part of a second, so that is done once."""
        key = table, name, backend.partition("-")[0]
        if key not in self._exported:
            self._exported[key] = export_artifact(self.built(table, name)[0], key[2])
        return self._exported[key]

    def search(self, table: str, name: str, backend: str, seed: int) -> tuple[Verdict, Finding]:
        """One search, and what becomes of it under the model's own tolerance."""
        searching = self.searching(table, name, backend, seed)
        finding = searching.run(searching.check)
        return judge(finding, [Limit("parity", searching.built.model.parity_limit, name)]).verdict, finding

    def searching(self, table: str, name: str, backend: str, seed: int) -> ParitySearch:
        """A search that is not run yet."""
        built, reference = self.built(table, name)
        infer, names = BACKENDS[backend](self.artifact(table, name, backend), built)

        def answers(recipes: Sequence[Recipe]) -> list[list[Array]]:
            return [infer(reference.space.make(recipe)) for recipe in recipes]

        return ParitySearch(
            reference=reference,
            infer=answers,
            names=names,
            search_seed=seed,
            report=lambda done, total: None,
            search_s=SEARCH_S,
        )

    def probe(self, built: BuiltModel, backend: str) -> Callable[[Artifact, Sequence[Arrays]], list[dict[str, Array]]]:
        """The backend for any artifact, as locating wants it."""

        def run(artifact: Artifact, sets: Sequence[Arrays]) -> list[dict[str, Array]]:
            infer, names = BACKENDS[backend](artifact, built)
            return [dict(zip(names, infer(arrays), strict=True)) for arrays in sets]

        return run


@contextmanager
def open_bench(folder: Path) -> Iterator[Bench]:
    """Exports happen in this process meanwhile, and shrinking is short."""
    from torch.onnx._internal.exporter import _registration  # here: collecting tests does not wait for it

    registry = _registration.ONNXRegistry
    EXPORTS.mkdir(mode=0o700, parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILGATE_CACHE", str(EXPORTS))
        patch.setattr(registry, "from_torchlib", staticmethod(_remembered(registry.from_torchlib)))
        patch.setattr(artifact_cache, "run_worker", _export_here)
        patch.setattr(process, "_run", _refuse)
        patch.setattr(pace, "SHRINK_S", 1.0)
        yield Bench(folder)


def _remembered(make: Callable[[int], ONNXRegistry]) -> Callable[[int], ONNXRegistry]:
    """Have PyTorch's table of operators made once, and copied: each export makes it anew, which is half of its time."""
    once = functools.cache(make)

    def copied(opset_version: int) -> ONNXRegistry:
        registry = copy.copy(once(opset_version))
        registry.functions = {operator: [*metas] for operator, metas in registry.functions.items()}
        return registry

    return copied


def _refuse(*_: object) -> tuple[int, str]:
    """Let no export start a process unnoticed, which takes four times as long: once run_worker was found elsewhere."""
    raise AssertionError("wanted exports in this process; found one that starts a process of its own")


def _export_here(built: BuiltModel, artifact_format: str, folder: Path, given: Mapping[str, str] | None = None) -> None:
    """What it prints where it refuses stands in the test's report."""
    request: dict[str, Any] = {"model": str(built.file.path), "format": artifact_format, "folder": str(folder)}
    request |= {"weights": dict(built.weights), "outputs": list(built.outputs), "given": given}
    main(request | {"before": {}, "settings": read_settings()})
