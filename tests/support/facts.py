"""What a board is: as one might say it, and this machine as its daemon would."""

from __future__ import annotations

from typing import Any

from harness.agent import facts, orphans, telemetry
from harness.protocol import BoardFacts, DeviceState, parse

USUAL: dict[str, Any] = {
    "arch": "aarch64",
    "cpu": "cortex-a72",
    "features": ["fp", "asimd"],
    "cores": 4,
    "memory_mib": 3794,
    "board": "",
    "serial": "",
    "kernel": "6.6.31",
    "libc": "glibc-2.36",
    "python": "3.11.2",
    "executable": "/usr/bin/python3",
    "bits": 64,
    "packages": {},
    "folders": {},
    "governor": ["performance"],
    "boot": "f5b81a04",
}


def board_facts(**differs: Any) -> BoardFacts:
    """Return the facts of a Raspberry Pi 4, with some replaced."""
    return parse(BoardFacts, {**USUAL, **differs}, to="facts", where="a board")


def own_facts() -> BoardFacts:
    """Return the facts of this machine."""
    said = {**facts.facts([]), "governor": telemetry.governors(), "boot": orphans.boot_id()}
    return parse(BoardFacts, said, to="facts", where="this machine")


def own_state() -> DeviceState:
    """Return the state of this machine."""
    return parse(DeviceState, telemetry.state(), to="measure", where="this machine")
