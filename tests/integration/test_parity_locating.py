"""Locating on the corpus of wrong models: the module that is to blame is named, and who is at fault.

No device takes part: see tests.corpus.bench.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.parity.locating import Location, locate
from tests.corpus.bad import BAD
from tests.corpus.bench import Bench, open_bench

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated. Please use:DeprecationWarning")

WRONG = [(name, backend) for name, bad in BAD.items() for backend in bad.backends]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One for all."""
    with open_bench(tmp_path_factory.mktemp("corpus")) as opened:
        yield opened


def check(bench: Bench, name: str, backend: str, seed: int) -> None:
    searching = bench.searching("bad", name, backend, seed)
    searching.run(searching.check)
    assert searching.failing is not None
    built, artifact = searching.built, bench.artifact("bad", name, backend)
    failing = [searching.space.make(searching.failing)]
    optimize = "optimize_for_inference" if backend == "torchscript-optimized" else "none"
    probe = bench.probe(built, backend)
    found = locate(built, artifact, failing, probe, optimize=optimize, report=lambda done, total: None)
    assert isinstance(found, Location), str(found)
    assert found.module == BAD[name].module, str(found)
    assert found.fault == BAD[name].fault.get(backend, found.fault), str(found)
    assert found.operator, str(found)


@pytest.mark.parametrize(("name", "backend"), WRONG)
def test_the_wrong_module_is_named(bench: Bench, name: str, backend: str) -> None:
    check(bench, name, backend, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize(("name", "backend"), WRONG)
def test_the_wrong_module_is_named_with_every_seed(bench: Bench, name: str, backend: str, seed: int) -> None:
    check(bench, name, backend, seed)
