"""Finds links by their names, plug-ins among them."""

from __future__ import annotations

import inspect
from typing import Any

from ..device.device import Device
from ..errors import DeviceError
from ..host.plugins import load_module, module_names
from ._link import LinkType

PACKAGE = __name__.rpartition(".")[0]


def _link_problem(value: Any) -> str:
    if not isinstance(value, type) or not issubclass(value, LinkType):
        return f"it is {value!r}"
    missing = ", ".join(sorted(value.__abstractmethods__)) if inspect.isabstract(value) else ""
    return f"the class has no {missing}" if missing else ""


# What a link's file must have.
LINK = {"Link": (_link_problem, "a class that derives from harness.links.LinkType, and has start")}


def link_names() -> list[str]:
    """List the names of all links; modules that begin with an underscore are none."""
    return module_names(PACKAGE)


def link_class(name: str) -> type[LinkType] | None:
    """Load the class of a link; None where there is no link of that name.

    Raises:
        DeviceError: the link's file cannot be imported, or lacks what a link must have.
    """
    if name not in link_names():
        return None
    module: Any = load_module(PACKAGE, name, LINK, "link", DeviceError)
    link: type[LinkType] = module.Link
    return link


def open_link(device: Device) -> LinkType:
    """Open the link that a device file names. Nothing is connected before something is started.

    Raises:
        DeviceError: there is no such link, or its file lacks what a link must have.
        LinkError: the device cannot be reached this way, whatever it does.
    """
    link = link_class(device.link)
    if link is None:
        raise DeviceError(
            f"there is no link {device.link!r}",
            wanted="one of " + ", ".join(link_names()),
            found=repr(device.link),
            where=f"{device.path}: device.link",
        )
    return link.open(device)
