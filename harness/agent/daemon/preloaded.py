"""A forkserver that has imported the daemon, and whose children are daemons.

Its socket, and the program that joins it, are in the store's folder ``forkservers``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.abc import InspectLoader
from typing import cast

from .. import forkserver
from ..private import make_folder, open_new
from . import serve

Read = Callable[[int], bytes]


def main(path: str, read: Read) -> None:
    """Write the joining program beside the socket, then fork a daemon for each connection.

    Args:
        path: the socket's.
        read: reads so many bytes from stdin; boot's own function.
    """
    make_folder(os.path.dirname(path))
    spec = __spec__
    loader = cast(InspectLoader, spec.loader if spec is not None else None)
    with open(open_new(os.path.join(os.path.dirname(path), "attach.py")), "w", encoding="utf-8") as file:
        file.write(loader.get_source("agent.attach") or "")

    def be_daemon(_: list[str]) -> None:
        read(int(read(8)))  # the sources, as boot reads them: the same as those that are imported here already
        serve.main(**json.loads(read(int(read(8)))))

    forkserver.run_forkserver(path, be_daemon)
