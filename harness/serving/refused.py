"""What a caller is told in place of an answer."""

from __future__ import annotations

from ..printable import printable

# Of a caller's own words, and of a runtime's.
QUOTED, TOLD = 80, 1_000


class Refused(Exception):
    """A request that gets no answer.

    Args:
        status: HTTP's: 400 (its content), 404, 408 (too slow), 413 (too large), 415 (its type), 503 (not now).
        text: why, in one line.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = printable(text, TOLD)


def quoted(found: object) -> str:
    """Quote something of a caller's, short and in ASCII."""
    if isinstance(found, dict | list):
        return "a list" if isinstance(found, list) else "an object"
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) >= 10**QUOTED:
        return "a number of more digits than are shown"
    text = ascii(found[: QUOTED + 1] if isinstance(found, str) else found)
    return text if len(text) <= QUOTED else text[: QUOTED - 3] + "..."
