"""Locating on the corpus of wrong models: the module that is to blame is named, and who is at fault.

No device takes part: see tests.corpus.bench.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx as onnx_format
import pytest

from harness.checks.check import Verdict, judge
from harness.checks.limits import Limit
from harness.parity.localize import Location, locate
from harness.parity.replay.write import write_replay
from harness.parity.rule.comparison import compare
from tests.corpus.bad import BAD
from tests.corpus.bench import Bench, open_bench
from tests.corpus.clean import CLEAN
from tests.support.broken import float_nodes, onnx_runtime, shifted

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated. Please use:DeprecationWarning")

WRONG = [(name, backend) for name, bad in BAD.items() for backend in bad.backends]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One for all."""
    with open_bench(tmp_path_factory.mktemp("corpus")) as opened:
        yield opened


def located(bench: Bench, name: str, backend: str, seed: int) -> Location:
    searching = bench.searching("bad", name, backend, seed)
    finding = searching.run(searching.check)
    assert judge(finding, [Limit("parity", searching.built.model.parity_limit, name)]).verdict is Verdict.FAIL
    assert searching.failing is not None
    built, artifact = searching.built, bench.artifact("bad", name, backend)
    failing = [searching.space.make(searching.failing)]
    optimize = "optimize_for_inference" if backend == "torchscript-optimized" else "none"
    probe = bench.probe(built, backend)
    found = locate(built, artifact, failing, probe, optimize=optimize, report=lambda done, total: None)
    assert isinstance(found, Location), str(found)
    return found


def check(bench: Bench, name: str, backend: str, seed: int) -> None:
    found = located(bench, name, backend, seed)
    assert found.module == BAD[name].module, str(found)
    assert found.fault == BAD[name].fault.get(backend, found.fault), str(found)
    assert found.operator, str(found)


@pytest.mark.parametrize(("name", "backend"), WRONG)
def test_the_wrong_module_is_named(bench: Bench, name: str, backend: str) -> None:
    check(bench, name, backend, seed=0)


CHOICES = range(2)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLEAN)
def test_a_node_of_a_right_model_that_is_run_wrongly_is_named(bench: Bench, name: str) -> None:
    """Two of the model's nodes, chosen by its name; only such count of which the model's answer takes notice."""
    built, reference = bench.built("clean", name)
    artifact = bench.artifact("clean", name, "onnx")
    arrays = reference.space.make(reference.space.essential()[0])
    proto = onnx_format.load(str(artifact.folder / artifact.files[0].name))
    right = onnx_runtime()(artifact, [arrays])[0]
    nodes = [node.name for node in float_nodes(proto, arrays)]
    random = np.random.default_rng([len(name), *name.encode()])
    for node in random.permutation(nodes)[: len(CHOICES)] if nodes else ():
        probe = onnx_runtime(shifted(str(node), 0.01))
        answers = probe(artifact, [arrays])[0]
        expected = reference.widened(arrays)
        difference = compare(expected, [*right], [answers[one] for one in right])
        if not built.model.parity_limit < difference.ratio < np.inf:
            continue  # it makes no difference to anybody
        found = locate(built, artifact, [arrays], probe, report=lambda done, total: None)
        assert isinstance(found, Location), str(found)
        assert (found.node, found.fault) == (str(node), "runtime"), str(found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize(("name", "backend"), WRONG)
def test_the_wrong_module_is_named_with_every_seed(bench: Bench, name: str, backend: str, seed: int) -> None:
    check(bench, name, backend, seed)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, id=name) for name in ("max-pool-nan", "log-sigmoid", "cumulative-sum", "clamp-infinity")],
)
def test_the_node_alone_shows_it_again(bench: Bench, name: str, tmp_path: Path) -> None:
    case = located(bench, name, "onnx", seed=0).case
    assert case is not None
    folder = tmp_path / "node"
    facts = {"cell": name, "what": "the node alone", "tolerance": 10.0}
    write_replay(folder, case.artifact(tmp_path), dict(case.inputs), [*case.expected], case.found, facts)
    command = [sys.executable, str(folder / "replay.py")]
    replayed = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=False)
    assert "the difference is still there" in replayed.stdout, replayed.stdout
    assert replayed.returncode == 1


def test_a_fault_of_the_exporters_has_no_node_alone(bench: Bench) -> None:
    found = located(bench, "floor-divide-floats", "onnx", seed=0)
    assert found.case is None
    assert "node alone" not in str(found)
