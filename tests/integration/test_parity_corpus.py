"""The parity check on models of which it is known whether they are right: no false alarm, and nothing missed.

No device takes part: see tests.corpus.bench.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.checks.check import Verdict
from harness.checks.finding import Finding
from tests.corpus.bad import BAD
from tests.corpus.bench import BACKENDS, Bench, open_bench
from tests.corpus.clean import CLEAN

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated. Please use:DeprecationWarning")

SEEDS = range(5)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One for all."""
    with open_bench(tmp_path_factory.mktemp("corpus")) as opened:
        yield opened


def _told(finding: Finding) -> str:
    return f"{finding.value}: {finding.failure or finding.no_bound_reason or finding.invalid_reason}"


@pytest.mark.parametrize("name", [name for name, clean in CLEAN.items() if clean.quick])
def test_a_right_model_raises_no_alarm(bench: Bench, name: str) -> None:
    verdict, finding = bench.search("clean", name, "onnx", seed=0)
    assert verdict is Verdict.PASS, _told(finding)


# TorchScript, which computes with PyTorch's own operators, is mostly off by nothing. Each model has one of the five
# seeds, in turn; all of them it has in benchmarks/parity_corpus, which judges the same searches.
SEARCHED = [
    (name, backend, seed)
    for index, name in enumerate(CLEAN)
    for backend, seed in (("onnx", SEEDS[index % 5]), ("torchscript", 0))
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend", "seed"), SEARCHED)
def test_no_right_model_raises_an_alarm_with_any_seed(bench: Bench, name: str, backend: str, seed: int) -> None:
    verdict, finding = bench.search("clean", name, backend, seed)
    assert verdict is Verdict.PASS, _told(finding)


def test_the_corpus_is_large_enough() -> None:
    assert len(CLEAN) >= 40
    assert sum(clean.quick for clean in CLEAN.values()) >= 12


RIGHT = [(name, backend) for name, bad in BAD.items() for backend in BACKENDS if backend not in bad.backends]


# That the wrong ones fail, with all seeds, is seen in test_parity_locating.
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
