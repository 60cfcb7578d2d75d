"""The machine under test, as its file says: read, checked, merged with what it extends.

device  the data: Device, and the names of those that there are
tables  a device file's tables and keys, each with what a message says was expected
link_facts  what a device's link says of it, found by the link's name
memory_size  whether a board may report so much memory
load    load_device: finds a device's file and those that it extends, checks and merges them
"""

from .device import KNOWN_HOSTS, Device, Measure, Rules, Runtime, device_names
from .load import load_device

__all__ = ["KNOWN_HOSTS", "Device", "Measure", "Rules", "Runtime", "device_names", "load_device"]
