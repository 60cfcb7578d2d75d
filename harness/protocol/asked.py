"""How large a reply may be, by what was asked for: a device that announces more is not read any further.

What an inference gives is known from loading, which ends with one: later ones may give more where their inputs are
larger, or where the outputs' sizes depend on what is in the inputs (boxes that were found). How much more is not known
to anybody but the model; SLACK is what a host can spare without noticing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..agent.frames import ALIGNMENT, Array
from ..agent.wire import MAX_HEADER_OF_DEVICE, MAX_PAYLOAD, Limits

# Beside what is known. A hostile answer may take 300 MiB more than a normal one (issue 17); the rest is for copies.
SLACK = 192 << 20
# A first inference may give so many times what goes in, as a picture that becomes as many others; what is small much
# more often, up to some size, as a sequence of numbers that becomes as many rows of probabilities.
FIRST_TIMES, SMALL_TIMES, SMALL = 64, 4096, 64 << 20
# A later one so many times what the first has given, for inputs of its sizes; and of larger ones by the square of how
# much they are larger, as an attention's scores are.
TIMES, OUTPUTS_MORE = 4, 64
MOST_OUTPUTS = 1 << 16
# No reply gets more than this, whatever the first has given: a board that lied in it is not to fill the host.
MOST = 1 << 30
# What a header has for a tensor, dtype and sizes, at most about: a call's reply must fit into one.
TENSOR_CHARACTERS = 64
# Durations of so many inferences, and the header: the most that an agent keeps on the device for one call.
KEPT = (1 << 26) + 2 * MAX_HEADER_OF_DEVICE


def of_device(payload: int = 0, tensors: int = 0) -> Limits:
    """Limits of a reply with so many bytes and tensors at most."""
    return Limits(MAX_HEADER_OF_DEVICE, min(payload, MAX_PAYLOAD), tensors, strict=True)


NOTHING = of_device()


@dataclass(frozen=True)
class Outputs:
    """What one inference has given, for inputs of so many bytes: what others may give is told by it."""

    count: int
    bytes: int
    input_bytes: int

    @classmethod
    def seen(cls, outputs: Sequence[Array], input_bytes: int) -> Outputs:
        """As the first inference showed it."""
        return cls(len(outputs), aligned_bytes(outputs), input_bytes)

    def limits(self, input_bytes: Iterable[int]) -> Limits:
        """Of a reply to inferences on inputs of these sizes."""
        sets = known = 0
        for size in input_bytes:
            larger = max(size / max(self.input_bytes, 1), 1.0)
            sets, known = sets + 1, known + int(TIMES * self.bytes * larger**2)
        return of_device(SLACK + min(known, MOST), sets * (TIMES * self.count + OUTPUTS_MORE))

    def sets_in_a_call(self) -> int:
        """How many sets a call may have, so that the header of its reply has room for all of their outputs."""
        return max(MAX_HEADER_OF_DEVICE // (2 * TENSOR_CHARACTERS * max(self.count, 1)), 1)


def first_limits(input_bytes: int) -> Limits:
    """Of the reply to loading, when nothing is known yet."""
    known = FIRST_TIMES * input_bytes + min(SMALL_TIMES * input_bytes, SMALL)
    return of_device(SLACK + known, MOST_OUTPUTS)


def aligned_bytes(tensors: Iterable[Array]) -> int:
    """What tensors take in a frame, at most."""
    return sum(tensor.nbytes + ALIGNMENT for tensor in tensors)
