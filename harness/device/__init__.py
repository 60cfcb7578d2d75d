"""The machine under test, as its file says: read, checked, merged with what it extends."""

from .device import Device, load_device

__all__ = ["Device", "load_device"]
