"""Inputs that the search for a mismatch gets through in a second, against tensors drawn by Hypothesis and sent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.extra.numpy import arrays as tensors
from hypothesis.strategies import floats

from harness.agent.frames import Array
from harness.deploy.deployment import Deployment
from harness.model.build import build_model
from harness.model.inputs import Arrays
from harness.parity.pace import CALL_SETS
from harness.parity.rule.comparison import Expected, compare
from harness.parity.rule.reference import Reference
from harness.parity.trials.generate import drawn

from .support.deploy import prepare
from .support.interleave import Block, interleave, median_of, medians
from .support.row import Aim, Options, Row, ratio_row

NEEDS = ("runners",)
IS_QUICK = True
LIMIT_S = 1800

BACKENDS = ("onnxruntime", "onnxruntime-cpp")
SHAPE = (1, 3, 224, 224)
ROUNDS = 7
SENT = 20
AIM = Aim(math.inf, low=500.0)


def run(options: Options) -> Iterator[Row]:
    """With a model of 150 528 inputs that does next to nothing; its own time, on both sides, is taken off."""
    built = build_model(prepare("image", BACKENDS[0]).cell.file)
    for backend in BACKENDS:
        with prepare("image", backend).deployed() as deployment:
            side = Side(deployment, Reference(built))
            own, sent = interleave(ROUNDS, side.expanded, side.sent)
            own_s, sent_s = median_of(own) / 1e9, median_of(sent) / 1e9
            what, against = f"1×3×224×224, {backend}", f"drawn by Hypothesis and sent: {1 / sent_s:.1f} a second"
            rates = [1 / each for each in medians(own, 1e9)]
            yield Row(f"{what}: inputs in a second", 1 / own_s, "1/s", against, AIM, rounds=rates)
            yield ratio_row(f"{what}: an input", own, sent, against)


@dataclass
class Side:
    """Both sides compare each answer with the reference; all but the model's runs counts."""

    deployment: Deployment
    reference: Reference
    round: int = 0

    def expanded(self) -> Block:
        """Recipes, drawn and tried as the search does it: nanoseconds of each."""
        self.round += 1
        space = self.reference.space
        expected = {recipe.key: self.reference(space.make(recipe), recipe.key) for recipe in drawn(space, self.round)}

        def all_of_them() -> None:
            recipes = drawn(space, self.round)
            for first in range(0, len(recipes), CALL_SETS):
                call = recipes[first : first + CALL_SETS]
                answers = self.deployment.infer_fills([space.describe(recipe) for recipe in call])
                for recipe, answer in zip(call, answers, strict=True):
                    space.make(recipe)
                    _same(expected[recipe.key], answer)

        return [self._timed(all_of_them) / len(expected)]

    def sent(self) -> Block:
        """Tensors: nanoseconds of each."""
        self.round += 1
        wanted: list[Expected] = []
        drawing = tensors(np.float32, SHAPE, elements=floats(0, 1, width=32))

        def all_of_them() -> None:
            def one(image: Array) -> None:
                arrays: Arrays = {"image": image}
                (answer,) = self.deployment.infer([arrays])
                # The reference of one input, for all: it is not what is measured.
                wanted[:] = wanted or self.reference(arrays, "any")
                compare(wanted, ["output"], answer)

            _given(drawing, one)()

        return [self._timed(all_of_them) / SENT]

    def _timed(self, action: Callable[[], None]) -> float:
        model_s, start = self.deployment.device_time.seconds, time.perf_counter_ns()
        action()
        return time.perf_counter_ns() - start - (self.deployment.device_time.seconds - model_s) * 1e9


def _given(strategy: Any, test: Callable[[Array], None]) -> Callable[[], None]:
    def one(image: Array) -> None:
        test(image)

    quiet = settings(
        max_examples=SENT,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_it: Callable[[], None] = quiet(given(image=strategy)(one))
    return run_it


def _same(wanted: list[Expected], answer: list[Array]) -> None:
    if compare(wanted, ["output"], answer).ratio > 1:
        raise AssertionError("the device expanded another input than the host")
