"""The answers of the programs on a device, as types; the one border where they are checked.

A board is not trusted (issue 17): it may be broken, misconfigured, or lie. So whatever it sends is checked here for its
type, range and length before anything else sees it, and an error is a ProtocolError that names the field.

    fields         the bounded types that everything is made of
    facts, state   what a board is, and in what state it is
    daemon, agent  what the two programs answer to each operation; the C++ runners answer as the agent does
    page_cache     what the program answers that drops pages from the page cache
    memory_cap     what the program answers that makes a memory cgroup
    endpoint_look  what the program answers that looks at an endpoint
    guest          what an emulated board's init answers
    border         the function that checks an answer
    asked          how large a reply may be, by what was asked for

What a frame is, and how much of one is read, is in harness.agent.wire. Keys that a schema does not have are ignored: a
host only talks to programs that it has sent itself, so that none is of a newer version.
"""

from .border import parse, parse_text
from .facts import BoardFacts, Target
from .fields import Answer
from .guest import Packets
from .state import DeviceState

__all__ = ["Answer", "BoardFacts", "DeviceState", "Packets", "Target", "parse", "parse_text"]
