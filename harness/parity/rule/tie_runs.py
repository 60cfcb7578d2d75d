"""What the search for ties asks of a model, and whether what operators picked in a run is valid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...model.model import Array
from .comparison import Difference, Expected
from .indices import Picked
from .picks import Breaks, Watched


class Runs(Protocol):
    """Runs of a model on one input."""

    def cpu_s(self) -> float:
        """Tell how long this process and the one that has the module have computed."""

    def eager(self, breaks: Breaks) -> Watched:
        """Run the model in its own types."""

    def exact(self, breaks: Breaks) -> Watched:
        """Run it in float64."""

    def expected(self, eager: Watched, exact: Watched) -> list[Expected] | None:
        """Return what the outputs should be by these runs; None where the two have other shapes."""

    def widened(self, expected: list[Expected], eager: Watched) -> list[Expected]:
        """Widen expected outputs by the rule for suspicious inputs, with these picks on every input beside."""

    def compare(self, expected: list[Expected], names: Sequence[str], answers: Sequence[Array]) -> Difference:
        """Compare an answer with the expected outputs."""

    def scaled(self, near: Picked, exact: Picked) -> Picked | None:
        """Return keys in float64, with the error that counts as 1."""


def is_valid(runs: Runs, eager: Watched, exact: Watched, limit: float) -> bool:
    """Tell whether each pick is of a key that float32 cannot tell from the one that belongs there.

    Args:
        runs: of the model on this input.
        eager: a run in its own types.
        exact: the run in float64 that was told eager's picks.
        limit: how many of the errors that count as 1 keys may be apart.
    """
    if len(eager.calls) != len(exact.calls):
        return False
    for near, call in zip(eager.calls, exact.calls, strict=True):
        if (call.indices == call.natural).all():
            continue
        keys = runs.scaled(near.keys, call.keys)  # it sorts them all
        found = keys.at(call.indices) if keys is not None else None
        wanted = keys.at(call.natural) if keys is not None else None
        if keys is None or found is None or wanted is None or keys.ratios(found, wanted).max() > limit:
            return False
    return True


def picked(runs: Runs) -> dict[str, Picked]:
    """Return, by output that is an operator's indices, what they were picked from.

    float64 picks what eager did, so that the error that counts as 1 is that of the keys, and not how far rows are apart
    that changed places before them.
    """
    near = runs.eager(Breaks())
    far = runs.exact(orders(near)) if near.places else near
    result = {
        name: runs.scaled(near.calls[number].keys, far.calls[number].keys)
        for name, number in near.places.items()
        if number < len(far.calls)
    }
    return {name: one for name, one in result.items() if one is not None}


def orders(run: Watched) -> Breaks:
    """Return breaks by which a run picks what another run did."""
    return Breaks({number: call.indices for number, call in enumerate(run.calls)})
