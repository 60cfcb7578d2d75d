"""Which of a device's rules forbid a backend that is not on the device."""

from __future__ import annotations

from ..backends import Backend

ONBOARD = "rules.onboard: no computer outside the robot may be used, and {} sends the inputs to one"
OFFLINE = "rules.offline: the cloud may not be used, and {} is in it"


def why_forbidden(backend: Backend, *, onboard: bool, offline: bool) -> str:
    """Say which rule forbids a backend; "" where none does.

    Args:
        backend: the backend.
        onboard: whether no computer outside the robot may be used.
        offline: whether the cloud may not be used.
    """
    if onboard and backend.remote:
        return ONBOARD.format(backend.name)
    if offline and backend.cloud:
        return OFFLINE.format(backend.name)
    return ""
