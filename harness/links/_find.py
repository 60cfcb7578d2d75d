"""Finds links by their names: the modules of this package, in whatever folders its ``__path__`` has."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil

from ..device.device import Device
from ..errors import DeviceError
from ._link import LinkType

PACKAGE = __name__.rpartition(".")[0]
WANTED = "a class Link that derives from harness.links.LinkType"


def link_names() -> list[str]:
    """List the names of all links; modules that begin with an underscore are none."""
    modules = pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__)
    return sorted(module.name for module in modules if not module.name.startswith("_"))


def link_class(name: str) -> type[LinkType] | None:
    """Load the class of a link; None where there is no link of that name.

    Raises:
        DeviceError: the link's file cannot be imported, or lacks what a link must have.
    """
    if name not in link_names():
        return None
    try:
        module = importlib.import_module(f"{PACKAGE}.{name}")
    except Exception as error:
        where = _file_of(name)
        found = f"{type(error).__name__}: {error}"
        raise DeviceError(f"the link {name!r} cannot be imported", wanted=WANTED, found=found, where=where) from error
    link = getattr(module, "Link", None)
    if not isinstance(link, type) or not issubclass(link, LinkType):
        found = "no Link" if link is None else f"Link is {link!r}"
        raise _incomplete(name, wanted=WANTED, found=found)
    if inspect.isabstract(link):
        missing = ", ".join(sorted(link.__abstractmethods__))
        raise _incomplete(name, wanted=f"a class Link with {missing}", found=f"no {missing}")
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


def _incomplete(name: str, *, wanted: str, found: str) -> DeviceError:
    what = f"the link {name!r} lacks what a link must have"
    return DeviceError(what, wanted=wanted, found=found, where=_file_of(name), hint="see harness/links/_link.py")


def _file_of(name: str) -> str:
    spec = importlib.util.find_spec(f"{PACKAGE}.{name}")
    return str(spec.origin) if spec is not None else name
