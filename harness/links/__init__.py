"""Links: how bytes reach a device. One file or folder each, found by its name, with a class ``Link``.

A link knows nothing of models, bundles or frames: it starts programs on the device and carries their bytes. A file that
is added here, or in a folder that is added to this package's ``__path__``, is a link; nothing else names it.

    _link   what a link is (LinkType, with defaults for most of it), and the programs that it starts (Channel)
    _find   finds links by their names
    local   this machine
    ssh/    a board on the network
    qemu    a board that QEMU emulates
"""

from ._find import link_class, link_names, open_link
from ._link import (
    GREETING_ALLOWED,
    STORE,
    Channel,
    ChannelClosed,
    LinkType,
    SnapshotPower,
    Tunnel,
    WayCheck,
    WayStatus,
    skip_checks,
    stderr_of,
)

__all__ = [
    "GREETING_ALLOWED",
    "STORE",
    "Channel",
    "ChannelClosed",
    "LinkType",
    "SnapshotPower",
    "Tunnel",
    "WayCheck",
    "WayStatus",
    "link_class",
    "link_names",
    "open_link",
    "skip_checks",
    "stderr_of",
]
