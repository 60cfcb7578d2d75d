"""Calls to a computer elsewhere that failed: they are results, not errors, and no loop drops them.

A backend whose inference is a call (see remote) raises CallFailed from ``run``. A measuring loop notes it in Failures
and goes on: a call that failed took for ever, as the caller sees it. Where outputs are wanted, not durations, the call
is repeated (Repeats), and raised if that does not help.

This file is shipped with every agent; what makes calls is shipped for remote backends only. hilgate doctor runs both on
devices without numpy, which is imported where a reply needs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .frames import Array

# How a call fails; its place here, from 1 on, is its code. 0 is the code of one that was answered.
#   unreachable  name resolution, connecting, TLS; or the connection ended before a byte of the answer came
#   refused      connection refused, or an answer that says no: any status but 200
#   late         the time for a call was over
#   broken       an answer that is cut, malformed, too long, or not the one that was asked for
#   rejected     our own request cannot be sent, as it is too large: known before the first call
KINDS = UNREACHABLE, REFUSED, LATE, BROKEN, REJECTED = ("unreachable", "refused", "late", "broken", "rejected")
# The duration of a call that failed, as of a release that was dropped: it never ended.
NEVER = -1
# How many texts of failures a loop reports; they are mostly alike.
TEXTS = 3
# Characters of a failure's text.
LONGEST = 1000
# The pauses before a failed call is repeated: a server that is restarting comes back in this time, or not soon.
PAUSES_S = (0.1, 0.3, 1.0)


class CallFailed(Exception):
    """A call that got no answer that can be used.

    Attributes:
        kind: one of KINDS.
        what: what happened, in words.
        answered: whether a byte of an answer had come; where none had, the call may be made once more.
        status: of the answer; 0 where it had none.
    """

    def __init__(self, kind: str, what: str, *, answered: bool = False, status: int = 0) -> None:
        """Keep it.

        Raises:
            ValueError: it is no kind of failure.
        """
        if kind not in KINDS:
            raise ValueError(f"wanted a kind of failure, of {', '.join(KINDS)}; found {kind!r}")
        what = what[:LONGEST]
        super().__init__(f"{kind}: {what}")
        self.kind, self.what, self.answered, self.status = kind, what, answered, status

    @property
    def code(self) -> int:
        """Its code in a reply's second tensor."""
        return KINDS.index(self.kind) + 1


class Failures:
    """The failed calls of one loop.

    Attributes:
        counts: how many there were of each kind.
        texts: what the first of them said.
        spent_ns: how long they took, until the failure was known.
    """

    def __init__(self, inferences: int) -> None:
        """Begin with none.

        Args:
            inferences: how many there will be at most. The codes take their memory now, so that it does not grow.
        """
        self.counts: dict[str, int] = {}
        self.texts: list[str] = []
        self.spent_ns = 0
        self._codes = bytearray(inferences)

    def __bool__(self) -> bool:
        return bool(self.counts)

    def add(self, number: int, error: CallFailed, spent_ns: int) -> None:
        """Note one, by the number of its inference."""
        self._codes[number] = error.code
        self.counts[error.kind] = self.counts.get(error.kind, 0) + 1
        self.spent_ns += spent_ns
        if len(self.texts) < TEXTS:
            self.texts.append(str(error))

    def mean_ns(self) -> float:
        """Return how long a failed call took on average."""
        return self.spent_ns / max(sum(self.counts.values()), 1)

    def header(self) -> dict[str, Any]:
        """Return what a reply says of them: nothing where there were none."""
        if not self:
            return {}
        return {"failed": self.counts, "failures": self.texts, "failed_ns": self.spent_ns}

    def tensors(self, inferences: int) -> list[Array]:
        """Return the codes of so many inferences, uint8[n], for a reply; nothing where none failed."""
        if not self:
            return []
        import numpy as np

        return [np.frombuffer(self._codes, np.uint8, inferences)]


def note(failures: Failures | None, number: int, error: CallFailed, spent_ns: int) -> None:
    """Note a failed call by the number of its inference; raise it where nobody keeps them."""
    if failures is None:
        raise error
    failures.add(number, error, spent_ns)


class Repeats:
    """Calls something, and once more where that failed, three times at most.

    Attributes:
        counts: how often it was repeated after each kind of failure.
        took_ns: how long the last call took that did not fail.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.took_ns = 0

    def __call__(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Return what the action returns.

        Raises:
            CallFailed: it failed each time; or it cannot be sent, which no repetition changes.
        """
        for pause_s in PAUSES_S:
            try:
                return self._timed(action, arguments)
            except CallFailed as error:
                if error.kind == REJECTED:
                    raise
                self.counts[error.kind] = self.counts.get(error.kind, 0) + 1
                time.sleep(pause_s)
        return self._timed(action, arguments)

    def header(self) -> dict[str, Any]:
        """Return what a reply says of them: nothing where nothing was repeated."""
        return {"repeated": self.counts} if self.counts else {}

    def _timed(self, action: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        start = time.perf_counter_ns()
        result = action(*arguments)
        self.took_ns = time.perf_counter_ns() - start
        return result
