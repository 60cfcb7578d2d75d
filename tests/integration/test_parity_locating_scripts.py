"""Locating in TorchScript modules, run in this process."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.errors import AgentFailure
from harness.export import Artifact, ArtifactFile
from harness.export.torchscript import FILE, trace, trace_flat
from harness.host.cache import file_sha256
from harness.model.build import BuiltModel, build_model, run_eager
from harness.model.inputs import Arrays, uniform_set
from harness.model.model import Array
from harness.model.model_file import load_model
from harness.parity.localize import Location, NotLocated, Probe, locate
from tests.corpus.bench import torchscript

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated. Please use:DeprecationWarning")

MODEL = """
import torch
from torch import nn
from harness import Input, Model

class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.one, self.other, self.last = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x):
        x = self.first(x)
        x = self.one(x) if bool(x[0, 0] > {threshold}) else self.other(x)
        return {answer}

def build():
    torch.manual_seed(0)
    return {built}

model = Model(build=build, inputs=[Input("x", ("b", 4), min_value=-1, max_value=1)], dims={{"b": (1, 4)}})
"""


def made(
    folder: Path, *, threshold: float = -100.0, answer: str = "self.last(x)", built: str = "Experts().eval()"
) -> tuple[BuiltModel, Artifact]:
    path = folder / "experts.py"
    path.write_text(MODEL.format(threshold=threshold, answer=answer, built=built), encoding="utf-8")
    model = build_model(load_model(path, ()))
    (target := folder / "artifact").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (trace_flat if "{" in answer else trace)(model.module, model.model, model.outputs, target)
    file = target / FILE
    files = (ArtifactFile(FILE, file_sha256(file), file.stat().st_size),)
    return model, Artifact(
        folder=target,
        format="torchscript",
        files=files,
        exporter="test",
        warnings=("experts.py, line 13: TracerWarning: a branch. More",),
    )


def located(
    built: BuiltModel, artifact: Artifact, probe: Probe, seeds: Sequence[int] = range(3)
) -> Location | NotLocated:
    sets = [uniform_set(built.model, {"b": 3}, seed=seed) for seed in seeds]
    return locate(built, artifact, sets, probe, report=lambda done, total: None)


def running(built: BuiltModel) -> Probe:
    """TorchScript, here."""

    def run(artifact: Artifact, sets: Sequence[Arrays]) -> list[dict[str, Array]]:
        infer, names = torchscript(artifact, built)
        return [dict(zip(names, infer(arrays), strict=True)) for arrays in sets]

    return run


def test_a_branch_to_another_module_is_the_traces_fault(tmp_path: Path) -> None:
    built, artifact = made(tmp_path, threshold=0.0)
    infer, _ = torchscript(artifact, built)
    failing = []
    for seed in range(20):
        arrays = uniform_set(built.model, {"b": 3}, seed=seed)
        if not np.allclose(infer(arrays)[0], run_eager(built.module, arrays).numpy()):
            failing.append(seed)
    found = located(built, artifact, running(built), failing)
    assert isinstance(found, Location), str(found)
    # One expert stands in the trace: what the other should give is nowhere in it.
    assert (found.module, found.fault) == ("last", "TorchScript"), str(found)
    assert "TracerWarning: a branch; it has no o" in str(found)


def test_outputs_in_a_dict_are_found_by_the_modules_too(tmp_path: Path) -> None:
    built, artifact = made(tmp_path, answer="{'x': self.last(x), 'big': x > 0}")

    def wrong(artifact: Artifact, sets: Sequence[Arrays]) -> list[dict[str, Array]]:
        answers = running(built)(artifact, sets)
        return [answer | {"value_1": answer["value_1"] + 1} if "value_1" in answer else answer for answer in answers]

    found = located(built, artifact, wrong)
    assert isinstance(found, Location), str(found)
    assert (found.module, found.operator, found.fault) == ("one", "aten::linear", "runtime"), str(found)


def test_what_is_right_is_not_located(tmp_path: Path) -> None:
    built, artifact = made(tmp_path)
    found = located(built, artifact, running(built))
    assert isinstance(found, NotLocated)
    assert "right now" in str(found)


def test_a_scripted_module_is_not_traced_again(tmp_path: Path) -> None:
    built, artifact = made(tmp_path, built="torch.jit.script(Experts().eval())")
    found = located(built, artifact, running(built))
    assert isinstance(found, NotLocated)
    assert "scripted" in str(found)


def test_a_backend_that_refuses_is_said(tmp_path: Path) -> None:
    def refusing(artifact: Artifact, sets: Sequence[Arrays]) -> list[dict[str, Array]]:
        raise AgentFailure("the agent failed", found="no kernel")

    found = located(*made(tmp_path), refusing)
    assert isinstance(found, NotLocated)
    assert "no kernel" in str(found)


def test_what_breaks_the_looking_does_not_hide_the_mismatch(tmp_path: Path) -> None:
    def breaking(artifact: Artifact, sets: Sequence[Arrays]) -> list[dict[str, Array]]:
        raise KeyError("value_7")

    assert str(located(*made(tmp_path), breaking)) == "not located: KeyError: 'value_7'"
