"""One direction of a network: when the bytes that go in at one end come out at the other. It has no clock, no socket.

Bytes enter one after another, as fast as the link takes them: at a rate, or by a trace in mahimahi's format (a number
is a moment, in milliseconds, at which 1500 bytes may enter; after the last one it begins anew). Where outages are,
nothing enters. What has entered comes out after the delay, give or take the jitter, and never overtakes.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

# What one moment of a trace takes; mahimahi's own packets have this size.
OPPORTUNITY = 1500
# Bytes are handed on in pieces of so long: finer ones only cost the device's processor.
PIECE_S = 0.002
# So close to an outage's end it is over: sums of times are rounded.
ROUNDING_S = 1e-6
# A link without a rate takes pieces of any size.
ANY_SIZE = 1 << 20


class Outage(NamedTuple):
    """Nothing passes for the last for_s of every every_s seconds."""

    every_s: float
    for_s: float


class Rules(NamedTuple):
    """What a link does. bytes_per_s: 0 for no bound; trace_ms: moments, not decreasing; empty without a trace."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float = 0.0
    trace_ms: Sequence[int] = ()
    outages: Sequence[Outage] = ()


class Link:
    """One direction; see the module. Moments are seconds by the caller's clock.

    Attributes:
        piece: how many bytes are best sent at a time.
        free_at: when all has entered that was sent.
    """

    def __init__(self, rules: Rules, began: float, seed: int = 0) -> None:
        """Make a link.

        Args:
            rules: what it does.
            began: the moment from which trace and outages count.
            seed: of the jitter.
        """
        self.rules, self.began = rules, began
        self._random = random.Random(seed)  # no secret
        self.free_at = self._out = began
        self._moment, self._room = -1, 0
        self.piece = OPPORTUNITY if rules.trace_ms else max(int(rules.bytes_per_s * PIECE_S), 1)
        if not rules.trace_ms and not rules.bytes_per_s:
            self.piece = ANY_SIZE

    def send(self, now: float, size: int) -> float:
        """Send so many bytes, behind those that were sent before; return when the last of them comes out."""
        self.free_at = self._entered(self._passable(max(now, self.free_at)), size)
        jitter_s = self.rules.jitter_s
        late = self.rules.delay_s + (self._random.uniform(-jitter_s, jitter_s) if jitter_s else 0.0)
        self._out = max(self._out, self.free_at + late)
        return self._out

    def ask(self, now: float, size: int) -> float:
        """Say when bytes would come out, without sending any: those of a connection's handshake, which are few."""
        kept = self.free_at, self._out, self._moment, self._room
        out = self.send(now, size)
        self.free_at, self._out, self._moment, self._room = kept
        return out

    def backlog_s(self, now: float) -> float:
        """Return for how long the link is still busy with what was sent."""
        return max(self.free_at - now, 0.0)

    def _entered(self, start: float, size: int) -> float:
        """Return when so many bytes have entered that begin at a moment at which the link is free, and no outage is."""
        if self.rules.trace_ms:
            return self._entered_by_trace(start, size)
        if not self.rules.bytes_per_s:
            return start
        return self._passable(start + size / self.rules.bytes_per_s)

    def _entered_by_trace(self, start: float, size: int) -> float:
        self._go_to(start)
        while True:
            moment = self._time_of(self._moment)
            passable = self._passable(moment)
            if passable > moment:
                self._go_to(passable)
                continue
            taken = min(size, self._room)
            size, self._room = size - taken, self._room - taken
            if not size:
                return moment
            self._moment, self._room = self._moment + 1, OPPORTUNITY

    def _go_to(self, time_s: float) -> None:
        """Go to the first moment from this time on; those before it were not used, and are lost."""
        trace = self.rules.trace_ms
        # Rounded: a moment that was computed is found again.
        since_ms = round((time_s - self.began) * 1e3, 6)
        rounds = max(math.ceil(since_ms / trace[-1]) - 1, 0)  # the end of a round belongs to it
        moment = rounds * len(trace) + bisect_left(trace, since_ms - rounds * trace[-1])
        if moment > self._moment:
            self._moment, self._room = moment, OPPORTUNITY

    def _time_of(self, moment: int) -> float:
        trace = self.rules.trace_ms
        rounds, index = divmod(moment, len(trace))
        return self.began + (rounds * trace[-1] + trace[index]) / 1e3

    def _passable(self, time_s: float) -> float:
        """Return the first moment from this time on that is in no outage."""
        while True:
            begun = time_s
            for every_s, for_s in self.rules.outages:
                rest = every_s - (time_s - self.began) % every_s
                if ROUNDING_S < rest <= for_s:
                    time_s += rest
            if time_s == begun:
                return time_s
