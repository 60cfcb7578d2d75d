"""A resident that has imported the keeper: its children are keepers.

Its socket, and the program that joins it, are in the store's folder ``residents``.
"""

from __future__ import annotations

import os
import sys
from importlib.abc import InspectLoader
from typing import cast

from .. import resident
from . import serve

SIZE_DIGITS = 8


def main() -> None:
    """Leave the joining program there, wait."""
    path = sys.argv[1]
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    spec = __spec__
    loader = cast(InspectLoader, spec.loader if spec is not None else None)
    with open(os.path.join(os.path.dirname(path), "join.py"), "w", encoding="utf-8") as file:
        file.write(loader.get_source("agent.join") or "")
    resident.wait(path, be_keeper)


def be_keeper(_: list[str]) -> None:
    """What boot does, but for the sources: they are the same, and here already."""
    left = int(_read(SIZE_DIGITS))
    while left:
        left -= len(_read(min(left, 1 << 16)))
    serve.main()


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = os.read(0, size - len(data))
        if not chunk:
            sys.exit("hilgate: the host went away")
        data += chunk
    return data
