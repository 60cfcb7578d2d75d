"""The clock of a server, beside this device's: without a battery a board boots in the past, and no signature holds."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any, Optional

# AWS's services take a signature whose time is some minutes off, SageMaker 5: a larger difference explains a refusal.
MOST_SKEW_S = 240.0


def server_time(headers: Any) -> Optional[float]:  # noqa: UP045  # Python 3.9
    """Read a server's time from an answer's headers, in seconds since 1970; None where it does not say."""
    try:
        return parsedate_to_datetime(str(headers.get("Date", ""))).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def stamp(seconds: float) -> str:
    """Write seconds since 1970 for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
