"""A server that answers in place of the device, as its file says: where it is, and which model it serves.

endpoint     the data: Endpoint, and the names of those that there are
prices       what it costs: Prices
kinds        which keys of a file belong together, and which backends call which kind
tables       an endpoint file's tables and keys, each with what a message says was expected
load         load_endpoint: finds an endpoint's file and those that it extends, checks and merges them
url          what its URL may be
description  what the device's client is told: the content of the artifact
rules        which of a device's rules forbid a backend that is not on the device
"""

from .description import Calls, describe_endpoint
from .endpoint import Endpoint, EndpointFile, endpoint_folders, endpoint_names
from .load import load_endpoint, named_endpoint
from .prices import Prices
from .rules import why_forbidden

__all__ = [
    "Calls",
    "Endpoint",
    "EndpointFile",
    "Prices",
    "describe_endpoint",
    "endpoint_folders",
    "endpoint_names",
    "load_endpoint",
    "named_endpoint",
    "why_forbidden",
]
