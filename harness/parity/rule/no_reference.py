"""Why there is nothing that a backend could be compared with."""

from __future__ import annotations

from ...errors import HilgateError


class NoReference(HilgateError):
    """The model has nothing to be compared with.

    Its float64 run fails, or takes another way than in float32; or it gives two answers for one input.
    """


class AtThreshold(NoReference):
    """Rounding decides on which side of a threshold an element lies, or how many rows are kept.

    On other inputs there may be a reference.
    """
