"""What SageMaker's runtime says to a request without a signature: that it is there, and what its clock says.

Nothing is signed here, so nothing of the endpoint is told: credentials are for runs.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

# AWS's services take a signature whose time is some minutes off, at SageMaker 5.
MOST_SKEW_S = 240.0
MARKS = ("x-amzn-ErrorType", "x-amzn-RequestId")


def describe_service(status: int, headers: Any) -> str:
    """Describe the answer; compare the clocks.

    Raises:
        ValueError: it is no answer of SageMaker's runtime, or the clocks differ too much for any signature.
    """
    if not any(mark in headers for mark in MARKS):
        raise ValueError(f"what answers, with {status}, is not SageMaker's runtime: a portal, a proxy, another server?")
    name = str(headers.get(MARKS[0], "")).partition(":")[0][:80]
    theirs, here = _seconds(headers.get("Date")), time.time()
    said = f"the service answers {status} {name}, as it does without a signature"
    if theirs is None:
        return f"{said}; it does not say what its clock says"
    if abs(theirs - here) > MOST_SKEW_S:
        raise ValueError(f"this device's clock says {_stamp(here)}, the service's {_stamp(theirs)}")
    return f"{said}; the clocks differ by {abs(theirs - here):.0f} s"


def _seconds(date: Any) -> float | None:
    try:
        return parsedate_to_datetime(str(date)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
