"""What SageMaker's runtime says to a request without a signature: that it is there, and what its clock says.

Nothing is signed here, so nothing of the endpoint is told: credentials are for runs.
"""

from __future__ import annotations

import time
from typing import Any

from ..remote.clock import MOST_SKEW_S, server_time, stamp

MARKS = ("x-amzn-ErrorType", "x-amzn-RequestId")


def describe_service(status: int, headers: Any) -> str:
    """Describe the answer; compare the clocks.

    Raises:
        ValueError: it is no answer of SageMaker's runtime, or the clocks differ too much for any signature.
    """
    if not any(mark in headers for mark in MARKS):
        raise ValueError(f"what answers, with {status}, is not SageMaker's runtime: a portal, a proxy, another server?")
    name = str(headers.get(MARKS[0], "")).partition(":")[0][:80]
    theirs, here = server_time(headers), time.time()
    said = f"the service answers {status} {name}, as it does without a signature"
    if theirs is None:
        return f"{said}; it does not say what its clock says"
    if abs(theirs - here) > MOST_SKEW_S:
        raise ValueError(f"this device's clock says {stamp(here)}, the service's {stamp(theirs)}")
    return f"{said}; the clocks differ by {abs(theirs - here):.0f} s"
