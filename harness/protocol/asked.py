"""How large a reply may be, by what was asked for: if a device announces more, nothing further is read from it.

How much an inference returns is known from loading, which ends with one. Later ones may return more where their inputs
are larger, or where the outputs' sizes depend on the inputs' content (boxes that were detected). How much more only the
model knows; SLACK is what a host can spare.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..agent.frames import ALIGNMENT, Array
from ..agent.wire import MAX_HEADER_OF_DEVICE, MAX_PAYLOAD, Limits

# Allowed beyond what is known. A hostile answer may take 300 MiB more than a normal one (issue 17), copies included.
SLACK = 192 << 20
# A first inference may return this many times its inputs, as a picture that becomes as many others; of small inputs
# many more times, up to SMALL bytes, as a sequence of numbers that becomes as many rows of probabilities.
FIRST_TIMES, SMALL_TIMES, SMALL = 64, 4096, 64 << 20
# A later one may return this many times what the first has, for inputs of the same sizes; for larger inputs the square
# of how much larger they are comes in, as in an attention's scores.
TIMES, OUTPUTS_MORE = 4, 64
MOST_OUTPUTS = 1 << 16
# No reply may have more, whatever the first had: a board that lied in that must not fill the host's memory.
MOST = 1 << 30
# About the most characters that a header has for one tensor, its dtype and sizes: a reply must fit into one header.
TENSOR_CHARACTERS = 64
# The most that an agent keeps on the device for one call: the durations of 2^23 inferences, a byte for each that says
# whether its call failed, as long a time for each answer's first part, and the header.
KEPT = 2 * (1 << 26) + (1 << 23) + 2 * MAX_HEADER_OF_DEVICE
# What a measuring call returns at most: durations, codes of failed calls, and times of first parts.
MEASURED_TENSORS = 3


def of_device(payload: int = 0, tensors: int = 0) -> Limits:
    """Make the limits of a reply.

    Args:
        payload: how many bytes it may have.
        tensors: how many tensors.
    """
    return Limits(MAX_HEADER_OF_DEVICE, min(payload, MAX_PAYLOAD), tensors, strict=True)


NOTHING = of_device()


def of_measuring(samples: int, columns: int) -> Limits:
    """Bound the reply to a measuring call.

    Args:
        samples: how many inferences, or releases, it may time.
        columns: how many whole numbers it returns for each.
    """
    return of_device((8 * columns + 1 + 8) * samples + MEASURED_TENSORS * ALIGNMENT, MEASURED_TENSORS)


@dataclass(frozen=True)
class Outputs:
    """How much one inference returned, which bounds what others may return.

    Attributes:
        count: how many outputs.
        bytes: what they took in a frame.
        input_bytes: what its inputs took.
    """

    count: int
    bytes: int
    input_bytes: int

    @classmethod
    def seen(cls, outputs: Sequence[Array], input_bytes: int) -> Outputs:
        """Take note of what the first inference returned."""
        return cls(len(outputs), aligned_bytes(outputs), input_bytes)

    def limits(self, input_bytes: Iterable[int]) -> Limits:
        """Bound the reply to inferences.

        Args:
            input_bytes: what each set of inputs takes.
        """
        sets = known = 0
        for size in input_bytes:
            larger = max(size / max(self.input_bytes, 1), 1.0)
            sets, known = sets + 1, known + int(TIMES * self.bytes * larger**2)
        return of_device(SLACK + min(known, MOST), sets * (TIMES * self.count + OUTPUTS_MORE))

    def sets_in_a_call(self) -> int:
        """Return how many sets a call may have so that the header of its reply has room for all their outputs."""
        return max(MAX_HEADER_OF_DEVICE // (2 * TENSOR_CHARACTERS * max(self.count, 1)), 1)


def first_limits(input_bytes: int) -> Limits:
    """Bound the reply to loading, when nothing is known of the outputs yet.

    Args:
        input_bytes: what the first inference's inputs take.
    """
    known = FIRST_TIMES * input_bytes + min(SMALL_TIMES * input_bytes, SMALL)
    return of_device(SLACK + known, MOST_OUTPUTS)


def aligned_bytes(tensors: Iterable[Array]) -> int:
    """Return how many bytes tensors take in a frame at most."""
    return sum(tensor.nbytes + ALIGNMENT for tensor in tensors)
