"""The network between a device and the computer that it calls, as a file describes it: what a proxy there shapes.

network  the data: Network, its two directions, its outages; what it costs requests and answers
tables   a network file's tables and keys, each with what a message says was expected
trace    a trace in mahimahi's format
load     load_network: finds a network's file and those that it extends, checks and merges them
"""

from .load import load_network, named_network
from .network import Direction, Network, NetworkFile, network_folders

__all__ = ["Direction", "Network", "NetworkFile", "load_network", "named_network", "network_folders"]
