"""What the programs on a device answer, as types; the one border where it is checked.

A board is not trusted (issue 17): it may be broken, misconfigured, or lie. So whatever it sends is checked here for its
type, range and length before anything else sees it, and what is wrong is a ProtocolError that names the field:

- ``fields``: the bounded types that everything is made of;
- ``facts``, ``state``: what a board is, and in what state it is;
- ``keeper``, ``agent``: what the two programs answer to each operation; the agent's C++ twins answer alike;
- ``border``: the function that checks;
- ``asked``: how large a reply may be, by what was asked for.

What a frame is, and how much of one is read, is in harness.agent.wire. Keys that a schema does not have are left where
they are: nobody sees them, and a host never meets a program that it has not sent itself.
"""

from .border import parse, parse_text
from .facts import BoardFacts, Target
from .fields import Answer
from .state import DeviceState

__all__ = ["Answer", "BoardFacts", "DeviceState", "Target", "parse", "parse_text"]
