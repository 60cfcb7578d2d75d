"""A resident that has imported the keeper, and whose children are keepers.

Its socket, and the program that joins it, are in the store's folder ``residents``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.abc import InspectLoader
from typing import cast

from .. import resident
from ..private import make_folder, open_new
from . import serve

Read = Callable[[int], bytes]


def main(path: str, read: Read) -> None:
    """Write the joining program beside the socket, then fork a keeper for each connection.

    Args:
        path: the socket's.
        read: reads so many bytes from stdin; boot's own function.
    """
    make_folder(os.path.dirname(path))
    spec = __spec__
    loader = cast(InspectLoader, spec.loader if spec is not None else None)
    with open(open_new(os.path.join(os.path.dirname(path), "join.py")), "w", encoding="utf-8") as file:
        file.write(loader.get_source("agent.join") or "")

    def be_keeper(_: list[str]) -> None:
        read(int(read(8)))  # the sources, as boot reads them: the same as those that are imported here already
        serve.main(**json.loads(read(int(read(8)))))

    resident.wait(path, be_keeper)
