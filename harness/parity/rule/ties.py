"""Ties: of keys that float32 cannot tell apart, any may come first, and all that is gathered by them follows.

Where a backend's answer is off, and operators that pick saw keys that are equal or as good as equal, the model itself
is run again with these ties broken in other ways, in its own types and in float64. If the answer agrees with one of
these runs, by the rule for any other output, it is right. Nothing is permitted beside: what agrees with no run in which
every operator picked validly is off.

A pick is valid where the key at its index is, in float64, within the tolerance of the key that belongs at its place:
times what float32 is off on keys of that size (indices.with_scale). That is what an output of indices is judged by.

Which way a backend took is guessed, and every guess is then run: the backend's own indices where it returns them; the
order of the answer's rows; that of float64's own keys; equal ones by their index (ONNX's TopK and ArgMax take the
lowest); and at last each small group of ties by itself, by what that does to the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...model.model import Array
from .comparison import Difference, Expected
from .picks import Breaks, Watched
from .tie_case import TieCase
from .tie_guesses import guesses
from .tie_runs import Runs, is_valid, orders


@dataclass(frozen=True)
class Tie:
    """An answer that agrees with the model when ties are broken another way.

    Attributes:
        calls: where the ties are, as in "topk of module edges".
    """

    difference: Difference
    expected: list[Expected]
    calls: tuple[str, ...]


class Ties:
    """The search for the way in which a backend broke the ties of one input.

    A guess is only ever accepted after a run of the model in both types in which every pick is valid, and whose outputs
    the answer agrees with: guesses decide how long it takes to find such a run, never whether it is right.

    Args:
        case: the answer, and the model's own picks.
        enough: the error ratio at which the answer agrees; the limit, where it is not given.
    """

    def __init__(self, case: TieCase, enough: float | None = None) -> None:
        self.case = case
        self.enough = case.limit if enough is None else enough
        self._tried: set[bytes] = set()
        self._shapes = {_shapes(case.base)}  # of the outputs, as the ties are broken
        self._near: list[tuple[float, Watched, list[Expected]]] = []

    @classmethod
    def watch(
        cls, runs: Runs, names: Sequence[str], answers: Sequence[Array], limit: float, enough: float | None = None
    ) -> Ties:
        """Run the model once, watched, to learn what its operators pick.

        Args:
            runs: of the model on this input.
            names: the backend's, of its answers.
            answers: the backend's outputs.
            limit: the largest error ratio that is allowed.
            enough: the error ratio at which the answer agrees; the limit, where it is not given.

        Raises:
            Exception: whatever the model raises when it is watched.
        """
        return cls(TieCase.watch(runs, names, answers, limit), enough)

    def find(self) -> Tie | None:
        """Search for the run that the answer agrees with; None where there is none."""
        if list(self.case.names) != list(self.case.base.outputs) or len(self.case.answers) != len(self.case.names):
            return None
        if not self.case.base.calls or (self.case.aligned is None) or not any(self.case.sites):
            return None
        for breaks in guesses(self.case):
            if self.case.is_over():
                break
            if (tie := self._verified(breaks)) is not None:
                return tie
        for _, eager, expected in sorted(self._near, key=lambda one: one[0])[:3]:
            if (tie := self._agreeing(eager, self.case.runs.widened(expected, eager))) is not None:
                return tie
        return None

    def _verified(self, breaks: Breaks) -> Tie | None:
        """Return the tie by which the answer agrees with a run, if all its picks are valid."""
        self.case.left -= 2
        if (eager := self.case.try_run(lambda: self.case.runs.eager(breaks))) is None:
            return None
        mark = b"".join(call.indices.tobytes() for call in eager.calls)
        if mark in self._tried:
            return None
        self._tried.add(mark)
        exact = self.case.try_run(lambda: self.case.runs.exact(orders(eager)))
        if (
            exact is None
            or not is_valid(self.case.runs, eager, exact, self.case.limit)
            or (expected := self.case.expected(eager, exact)) is None
        ):
            return None
        self._shapes.add(_shapes(eager))
        return self._agreeing(eager, expected)

    @property
    def decide_sizes(self) -> bool:
        """Whether ties decide how large an output is, and the answer has another size, which they explain.

        Which of hundreds of ways to break them a backend took need not be known then: suppression keeps other boxes,
        and float32 does not say how many (issue 15, point 13).
        """
        return len(self._shapes) > 1 and tuple(answer.shape for answer in self.case.answers) != _shapes(self.case.base)

    def _agreeing(self, eager: Watched, expected: list[Expected]) -> Tie | None:
        difference = self.case.runs.compare(expected, self.case.names, self.case.answers)
        if difference.ratio <= self.enough:
            return Tie(difference, expected, tuple(dict.fromkeys(self._places(eager))))
        if difference.ratio < np.inf:
            self._near.append((difference.ratio, eager, expected))
        return None

    def _places(self, eager: Watched) -> Iterator[str]:
        """Name the calls whose picks are others than eager's own."""
        for number, call in enumerate(eager.calls):
            if number >= len(self.case.base.calls) or (
                call.indices.tobytes() != self.case.base.calls[number].indices.tobytes()
            ):
                yield str(call)


def _shapes(run: Watched) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in run.outputs.values())
