"""The preferences by which a decision is made, checked before anything is decided, or measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..decision import PREFER
from ..errors import InputError
from ..host.suggestion import did_you_mean

# Where they are named, for messages.
WHERE = "--prefer and --within, or hil_prefer in pytest.ini"


def checked_preferences(prefer: Sequence[str], within_percent: float, known: Iterable[str]) -> tuple[str, ...]:
    """Check the metrics that are preferred, and how near counts as equal.

    Args:
        prefer: metrics in their order; empty for the default ones.
        within_percent: of the best bound, 0 to 100.
        known: the metrics that exist, beside the default ones.

    Returns:
        The metrics, each once.

    Raises:
        InputError: a metric is unknown, or the percentage is none.
    """
    if not 0 <= within_percent <= 100:  # not a number, too
        raise InputError(
            "--within is no share of a figure", wanted="0 to 100, in percent", found=f"{within_percent:g}", where=WHERE
        )
    names = {*known, *PREFER}
    for name in prefer:
        if name not in names:
            raise InputError(
                "there is no metric of this name to prefer",
                wanted=f"one of {', '.join(sorted(names))}",
                found=name,
                where=WHERE,
                hint=did_you_mean(name, names),
            )
    return tuple(dict.fromkeys(prefer)) or tuple(PREFER)
