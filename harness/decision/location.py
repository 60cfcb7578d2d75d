"""Where a failed parity begins, as its check tells."""

from __future__ import annotations

from ..evidence.schema import CheckEntry

_LONGEST = 80


def module_of(check: CheckEntry) -> str:
    """Return the module at which a failed parity begins; "" where the evidence does not say."""
    location = (check.model_extra or {}).get("location")
    module = location.get("module") if isinstance(location, dict) else None
    return " ".join(module.split())[:_LONGEST] if isinstance(module, str) else ""
