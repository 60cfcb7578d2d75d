"""Calls to another computer that failed, as a loop on the device reports them: counted, worded, and checked.

The codes are those of harness.agent.failure: a kind's place in KINDS, from 1 on; 0 is a call that was answered. A call
that failed is a result like any other: it took for ever, as the robot sees it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..agent.failure import KINDS, NEVER
from ..model.model import Array

# In the account of a measuring call: the codes of its inferences, uint8[n]; there only if any failed.
CODES = "codes"
# A call ends within so many times its timeout and this much more (harness.agent.remote): a thread that waits for a
# processor shuts the socket down late …
TIMEOUT_SHARE, TIMEOUT_S = 1.05, 0.05
# … on a busy board much later, now and then.
BUSY_S = 1.0


def codes_of(account: Mapping[str, Any], count: int) -> Array:
    """Return how each of ``count`` calls failed, from the account of a measuring call: uint8[n], 0 if it did not."""
    codes = account.get(CODES)
    return np.zeros(count, np.uint8) if codes is None else np.asarray(codes)


def which_ended(measured: Array) -> Array:
    """Return which inferences came to an end, bool[n]: neither a call that failed did, nor a release that was dropped.

    Args:
        measured: durations, int64[n], or releases, int64[n, 3].
    """
    ended: Array = (measured if measured.ndim == 1 else measured[:, 2]) != NEVER
    return ended


def count_kinds(codes: Array) -> dict[str, int]:
    """Count failed calls by how they failed; kinds that did not come are left out.

    Args:
        codes: of all calls, whole numbers of 0 to len(KINDS), [n].
    """
    counts = np.bincount(codes.astype(np.int64), minlength=len(KINDS) + 1)[1:].tolist()
    return {kind: count for kind, count in zip(KINDS, counts, strict=False) if count}


def describe_failed(by_kind: Mapping[str, int], calls: int) -> str:
    """Say how many calls failed, and how: "12 of 1000 calls failed (late 10, refused 2)"; "" if none did."""
    if not by_kind:
        return ""
    each = ", ".join(f"{kind} {count}" for kind, count in sorted(by_kind.items(), key=lambda item: -item[1]))
    return f"{sum(by_kind.values())} of {calls} calls failed ({each})"


def longest_call_ns(timeout_ms: float | None) -> float:
    """Return how long a call may take that ends when it says, in nanoseconds; infinite without a timeout."""
    return math.inf if timeout_ms is None else (timeout_ms / 1e3 * TIMEOUT_SHARE + TIMEOUT_S + BUSY_S) * 1e9


def why_failures_unlike(codes: Array, account: Mapping[str, Any], timeout_ms: float | None) -> tuple[str, str]:
    """Return what would be possible and what was reported, where failed calls cannot be as reported; ("", "") else.

    Args:
        codes: of all calls, uint8[n].
        account: of the measuring call: "failed" counts them by kind, "failed_ns" is how long they took in all.
        timeout_ms: after how long a call is late, in milliseconds; None of a backend that calls no other computer.
    """
    said, total_ns = account.get("failed") or {}, account.get("failed_ns") or 0
    if CODES not in account:
        return ("codes of the calls that failed", f"counts alone, {dict(said)}"[:200]) if said or total_ns else ("", "")
    if timeout_ms is None:
        return "no failed calls of a backend that calls no other computer", f"{np.count_nonzero(codes)} of {len(codes)}"
    if codes.max(initial=0) > len(KINDS) or not codes.any():
        return f"codes of failed calls, of 1 … {len(KINDS)}", f"codes up to {codes.max(initial=0)}"
    counted = count_kinds(codes)
    if counted != dict(said):
        return f"failed calls as their codes count them, {counted}", f"{dict(said)}"[:200]
    failed = int(np.count_nonzero(codes))
    most_ns = failed * (longest_call_ns(timeout_ms) - BUSY_S * 1e9) + BUSY_S * 1e9
    if not failed <= total_ns <= most_ns:
        wanted = f"{failed} failed calls of at most {most_ns / 1e9:.4g} s in all, each over after {timeout_ms:g} ms"
        return wanted, f"{total_ns / 1e9:.4g} s"
    return "", ""
