"""What a device's link says of the device: whether it is emulated, whether it can count, what its file must have."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Protocol


class LinkFacts(Protocol):
    """What is asked here of a link's class; see harness.links.LinkType."""

    emulated: bool
    can_count: bool
    is_this_machine: bool
    tunnels_back: bool
    loses_packets: bool
    required_keys: Mapping[str, str]
    refused_keys: Mapping[str, str]


def link_class(name: str) -> LinkFacts | None:
    """Load the class of a link by its name; None where there is no such link, which is said when it is opened.

    Links stand above devices, and import them. So it is found at run time, by name, as whoever opens the link does.

    Raises:
        DeviceError: the link's file cannot be imported, or lacks what a link must have.
    """
    found: LinkFacts | None = importlib.import_module("harness.links").link_class(name)
    return found
