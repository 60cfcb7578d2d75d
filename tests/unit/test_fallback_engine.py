"""The engine of two, where its thread and its caller meet in a moment that a real server cannot be brought to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from harness.agent.remote import fallback
from harness.agent.remote.failure import UNREACHABLE, CallFailed
from harness.agent.sides import FAR, UNASKED


class Side:
    """An engine that answers with its name."""

    def __init__(self, name: str) -> None:
        self.name, self.asked = name, list[Any]()
        self.before_load: Callable[[], None] = lambda: None

    def load(self, artifact: str) -> None:
        """Load nothing."""
        self.before_load()

    def prepare(self, inputs: Mapping[str, Any]) -> list[Any]:
        """Take them as they are."""
        return [*inputs.values()]

    def run(self, prepared: list[Any]) -> str:
        """Note what is asked, as it is then."""
        self.asked.append([np.array(array) for array in prepared])
        return self.name

    def output_names(self) -> list[str]:
        """Return the one output's."""
        return ["y"]

    def arrays(self, raw: str) -> tuple[str]:
        """Return what it is."""
        return (raw,)


def test_a_far_end_that_is_back_before_there_are_inputs_is_asked_once_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And with a copy of the first ones, whatever becomes of the caller's."""
    monkeypatch.setattr(fallback, "EVERY_S", 0.01)
    far, opened = Side("far"), threading.Event()

    def fail_once() -> None:
        far.before_load = opened.set
        raise CallFailed(UNREACHABLE, "nobody is there yet")

    far.before_load = fail_once
    engine = fallback.FallbackEngine(far, Side("near"), "", "near")
    engine.load("")
    time.sleep(0.2)  # a device that is still loading, and asks meanwhile
    x = np.ones(3, np.float32)
    prepared = engine.prepare({"x": x})
    engine.warm(prepared)
    x += 1
    assert engine.run(prepared).raw in ("near", "far")
    assert opened.wait(20)
    end = time.monotonic() + 20
    while engine.run(prepared).raw == "near" and time.monotonic() < end:
        assert engine.side == UNASKED
        time.sleep(0.01)
    assert engine.side == FAR
    engine.close()
    np.testing.assert_array_equal(far.asked[0][0], np.ones(3))
    np.testing.assert_array_equal(far.asked[-1][0], np.full(3, 2))
