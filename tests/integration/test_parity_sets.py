"""The parity check on models whose answers are picked, sorted, kept and suppressed: as the corpus, and with answers
that are made wrong by construction.

No device takes part: see tests.corpus.bench.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from harness.checks.check import Verdict, judge
from harness.checks.finding import Finding
from harness.checks.limits import Limit
from harness.model.model import Array
from harness.parity.localize import Location, locate
from harness.parity.trials.recipe import Recipe
from tests.corpus.bench import Bench, open_bench
from tests.corpus.sets import SETS

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated. Please use:DeprecationWarning")

Wrong = Callable[[list[Array]], list[Array]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One for all."""
    with open_bench(tmp_path_factory.mktemp("sets")) as opened:
        yield opened


def _told(finding: Finding) -> str:
    return f"{finding.value}: {finding.failure or finding.no_bound_reason or finding.invalid_reason}"


CASES = [
    pytest.param(name, backend, seed, id=f"{name}-{backend}-{seed}", marks=[] if quick else [pytest.mark.slow])
    for name, one in SETS.items()
    for backend, seed in (("onnx", 0), ("onnx", 1), ("onnx", 2), ("torchscript", 0))
    for quick in (one.quick and seed == 0,)
]


@pytest.mark.parametrize(("name", "backend", "seed"), CASES)
def test_no_right_set_raises_an_alarm(bench: Bench, name: str, backend: str, seed: int) -> None:
    verdict, finding = bench.search("sets", name, backend, seed)
    assert verdict is Verdict.PASS, _told(finding)


def test_points_that_coincide_are_a_tie_that_is_named(bench: Bench) -> None:
    _, finding = bench.search("sets", "nearest-points", "onnx", seed=0)
    assert finding.details["ties"] > 0
    assert finding.details["ties_in"] == ["topk of the model itself"]


def swapped(answers: list[Array]) -> list[Array]:
    """The first two rows have changed places."""
    return [np.concatenate([one[1:2], one[:1], one[2:]]) for one in answers]


def next_to_it(answers: list[Array]) -> list[Array]:
    """The first output's rows are the ones beside."""
    return [np.roll(answers[0], 1, axis=0), *answers[1:]]


def dropped(answers: list[Array]) -> list[Array]:
    """The best row is missing."""
    return [one[1:] for one in answers]


def mislabelled(answers: list[Array]) -> list[Array]:
    """A quarter of the labels is another one."""
    labels = answers[-1].copy()
    labels[::4] = 1 - labels[::4]
    return [*answers[:-1], labels]


WRONG = [
    pytest.param("suppression-by-hand", wrong, id=f"suppression-by-hand-{wrong.__name__}")
    for wrong in (swapped, next_to_it, dropped, mislabelled)
]
WRONG += [pytest.param("boxes-above-a-threshold", next_to_it, id="above-next_to_it", marks=pytest.mark.slow)]
WRONG += [pytest.param("best-boxes", mislabelled, id="best-mislabelled", marks=pytest.mark.slow)]


def broken(bench: Bench, name: str, wrong: Wrong) -> tuple[Verdict, Finding]:
    """What becomes of a backend whose answers are made wrong."""
    searching = bench.searching("sets", name, "torchscript", 0)
    right = searching.judging.infer

    def infer(recipes: Sequence[Recipe]) -> list[list[Array]]:
        return [wrong(answers) for answers in right(recipes)]

    searching.judging.infer = infer
    finding = searching.run(searching.check)
    return judge(finding, [Limit("parity", searching.built.model.parity_limit, name)]).verdict, finding


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_what_is_wrong_beside_ties_is_found(bench: Bench, name: str, wrong: Wrong) -> None:
    verdict, finding = broken(bench, name, wrong)
    assert verdict is Verdict.FAIL, _told(finding)


@pytest.mark.slow
def test_a_tie_is_no_modules_fault(bench: Bench) -> None:
    """All points in one place: ONNX Runtime picks others, and no module is to blame."""
    built, reference = bench.built("sets", "nearest-points")
    arrays = reference.space.make(reference.space.essential()[0]) | {"points": np.zeros((1, 8, 2), np.float32)}
    found = locate(
        built,
        bench.artifact("sets", "nearest-points", "onnx"),
        [arrays],
        bench.probe(built, "onnx"),
        report=lambda done, total: None,
    )
    assert not isinstance(found, Location), str(found)
