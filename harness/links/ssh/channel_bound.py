"""How long a channel may take to open; apart from ``connection``, which takes paramiko and Fabric to import."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import paramiko

# paramiko's own default is an hour.
CHANNEL_TIMEOUT_S = 15.0


@contextmanager
def bounded(transport: paramiko.Transport) -> Iterator[None]:
    """Close a connection whose other end takes too long: paramiko waits for the answer to a command without limit."""
    timer = threading.Timer(2 * CHANNEL_TIMEOUT_S, transport.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join(CHANNEL_TIMEOUT_S)
