"""What was timed of a cell: how its file of raw samples is cut, and the device's states: what bounds are made again of.

Once for a cell, for all checks that name the same raw samples rest on one measurement.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .entry import Count, Entry


class BoardState(Entry):
    """What makes a measurement valid or not, as the device said it at one moment."""

    boot: Annotated[str, Field(description="names the boot of its kernel")] = ""
    governor: Annotated[list[str], Field(description="CPU frequency governors in use")] = []
    frequency_khz: Annotated[list[int], Field(description="each core's frequency, kHz")] = []
    temperature_mc: Annotated[list[int], Field(description="each thermal zone, thousandths of a degree Celsius")] = []
    throttled_bits: Annotated[int | None, Field(description="Raspberry Pi's get_throttled; null elsewhere")] = None
    throttle_events: Annotated[int, Field(description="x86's count of throttling")] = 0
    swapped_pages: Annotated[int, Field(description="pages swapped in or out since boot")] = 0
    swapped_kib: Annotated[int, Field(description="of the serving process, KiB")] = 0


class TimedContent(Entry):
    """The spread inputs, or the model file's samples: how many inferences each process timed on them."""

    name: Annotated[str, Field(description="uniform or samples")]
    given: Annotated[Count, Field(description="how many calls the file's samples make; 0 of spread inputs")] = 0
    samples_per_call: Annotated[int, Field(ge=1)] = 1
    processes: Annotated[list[Count], Field(description="inferences of each process")]
    block_sizes: Annotated[
        list[Annotated[int, Field(ge=1, lt=1 << 63)]],
        Field(description="inferences in a block of time of each process, before bursts made blocks longer"),
    ]
    requests: Annotated[
        list[list[Annotated[list[Count], Field(min_length=4, max_length=4)]]] | None,
        Field(
            description="of calls to another computer, by process, each request to the device to make some: "
            "calls (or releases), failed ones, how long it took and how long the failed ones did, nanoseconds"
        ),
    ] = None


class TimedEntry(Entry):
    """What was timed of a cell."""

    block_ms: Annotated[float, Field(gt=0, description="how long a block lasts, milliseconds")]
    contents: Annotated[list[TimedContent], Field(description="in the order of each process's part of the raw samples")]
    states: Annotated[
        list[Annotated[list[BoardState], Field(min_length=2, max_length=2)]],
        Field(description="of each process that was timed: before its samples and after them"),
    ] = []
    timeout_ms: Annotated[
        float | None, Field(gt=0, description="after which a call to another computer failed; null where none is made")
    ] = None
    planned_s: Annotated[
        float | None,
        Field(ge=0, description="for how long such calls were to be made, fixed beforehand, seconds"),
    ] = None
