"""How a call fails. The definitions are those of harness/agent/failure.py, which every agent has."""

from __future__ import annotations

from ..failure import BROKEN, KINDS, LATE, REFUSED, REJECTED, UNREACHABLE, CallFailed

__all__ = ["BROKEN", "KINDS", "LATE", "REFUSED", "REJECTED", "UNREACHABLE", "CallFailed"]
