"""How much a caller may send, and how long that may take."""

from __future__ import annotations

from dataclasses import dataclass

# SageMaker's own limit of a request (botocore 1.44.8, InvokeEndpoint's Body), and so the client's default, too.
MAX_REQUEST_BYTES = 6_291_456


@dataclass(frozen=True, kw_only=True)
class ServingLimits:
    """The bounds of a server. All callers together are bounded, too: none may take the memory of the others.

    Attributes:
        request_bytes: of one request's body.
        held_bytes: of all bodies that are held at once; at least one of the largest fits.
        connections: how many callers may be connected.
        head_bytes: of a request's line and headers.
        read_s: how long a request may take to arrive, in seconds, from its first byte to its last.
        write_s: how long an answer may stall at a caller that does not read.
        idle_s: how long a connection may be idle; clients make one anew after 20 s.
        grace_s: how long what is under way may take once the server was told to end. A container is killed after 30 s.
    """

    request_bytes: int = MAX_REQUEST_BYTES
    held_bytes: int = 1 << 28
    connections: int = 128
    head_bytes: int = 1 << 14
    read_s: float = 30.0
    write_s: float = 30.0
    idle_s: float = 75.0
    grace_s: float = 25.0

    @property
    def together_bytes(self) -> int:
        """How much all bodies that are held at once may take."""
        return max(self.held_bytes, 2 * self.request_bytes)
