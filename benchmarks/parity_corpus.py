"""What parity finds, and what it should not: wrong models of tests/corpus found, false alarms on right ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.checks.check import Verdict
from tests.corpus.bad import BAD
from tests.corpus.bench import open_bench
from tests.corpus.clean import CLEAN

from .support.row import Aim, Options, Row

QUICK = 40
SEEDS = range(5)
NONE = Aim(0.0)


def run(options: Options) -> Iterator[Row]:
    """In this process, for a second each; with --quick one seed of each, and some of the right ones."""
    seeds = SEEDS[:1] if options.quick else SEEDS
    with tempfile.TemporaryDirectory() as folder, open_bench(Path(folder)) as bench:
        wrong = [(name, backend, seed) for name, bad in BAD.items() for backend in bad.backends for seed in seeds]
        missed = [one for one in wrong if bench.search("bad", *one)[0] is not Verdict.FAIL]
        against = f"{len(wrong)} searches of {len(BAD)} models that are known to be wrong"
        yield Row("wrong models that were not found", len(missed), "", against, NONE, {"missed": missed})
        chosen = [*CLEAN][:: len(CLEAN) // QUICK][:QUICK] if options.quick else [*CLEAN]
        right = [(name, "onnx", seed) for name in chosen for seed in seeds]
        alarms = [one for one in right if bench.search("clean", *one)[0] is not Verdict.PASS]
        against = f"{len(right)} searches of {len(chosen)} right models"
        yield Row("false alarms", len(alarms), "", against, NONE, {"alarms": alarms})
