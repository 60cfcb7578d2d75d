"""The tables of a network file and their keys, as pydantic models."""

from __future__ import annotations

from pydantic import Field

from ..host.file_table import FileTable, described_keys

# Beyond these it is most likely another unit; and beyond a gigabit the proxy would be what is measured.
MOST_DELAY_MS, MOST_MBIT, MOST_S = 60_000.0, 1000.0, 86_400.0
MOST_OUTAGES = 8
# Below these nothing passes in a run's time, or the proxy's clock is not fine enough.
LEAST_MBIT, LEAST_S, LEAST_PERCENT = 0.001, 0.001, 0.001
_RATE = f"a number from {LEAST_MBIT:g} to {MOST_MBIT:g}, in 10⁶ bits a second"
_SECONDS = f"seconds, from {LEAST_S:g} to {MOST_S:g}"


class OutageTable(FileTable):
    """A table [[network.outages]]: nothing passes for the last for_s of every every_s seconds."""

    every_s: float = Field(ge=LEAST_S, le=MOST_S, allow_inf_nan=False, description=f"{_SECONDS}: every_s = 20")
    for_s: float = Field(
        ge=LEAST_S, le=MOST_S, allow_inf_nan=False, description=f"{_SECONDS}, less than every_s: for_s = 2"
    )


class NetworkTable(FileTable):
    """The table [network]."""

    description: str = Field(min_length=1, description='a text: description = "the field\'s Wi-Fi"')
    source: str = Field(
        min_length=1, description='a text, where the figures come from: source = "measured with iperf3, 2026-11-20"'
    )
    measured: bool = Field(description="true or false, whether somebody has measured this network: measured = true")
    delay_ms: float = Field(
        0.0,
        ge=0,
        le=MOST_DELAY_MS,
        allow_inf_nan=False,
        description=f"milliseconds each way, from 0 to {MOST_DELAY_MS:g}: delay_ms = 25",
    )
    jitter_ms: float = Field(
        0.0,
        ge=0,
        le=MOST_DELAY_MS,
        allow_inf_nan=False,
        description="milliseconds, from 0 to delay_ms: jitter_ms = 5",
    )
    rate_up_mbit: float | None = Field(
        None, ge=LEAST_MBIT, le=MOST_MBIT, allow_inf_nan=False, description=f"{_RATE}: rate_up_mbit = 7"
    )
    rate_down_mbit: float | None = Field(
        None, ge=LEAST_MBIT, le=MOST_MBIT, allow_inf_nan=False, description=f"{_RATE}: rate_down_mbit = 7"
    )
    trace_up: str | None = Field(
        None, min_length=1, description='a file in mahimahi\'s format, beside the network file: trace_up = "lte.up"'
    )
    trace_down: str | None = Field(
        None, min_length=1, description='a file in mahimahi\'s format, beside the network file: trace_down = "lte.down"'
    )
    loss_percent: float = Field(
        0.0,
        ge=0,
        lt=100,
        allow_inf_nan=False,
        description=f"of the packets of each way, 0 or from {LEAST_PERCENT:g} to less than 100; on an emulated board "
        "only: loss_percent = 5",
    )
    outages: list[OutageTable] = Field(
        [],
        max_length=MOST_OUTAGES,
        description=f"at most {MOST_OUTAGES} tables [[network.outages]] with every_s and for_s: "
        "[[network.outages]] every_s = 20, for_s = 2",
    )


class File(FileTable):
    """A whole network file."""

    network: NetworkTable = Field(description="a table with description, source and measured: [network]")
    extends: None = Field(
        None, description="a network: extends = 'lte'"
    )  # declared only for its name in messages: it is removed before validation


# All keys with their descriptions: "network.delay_ms".
KEYS = described_keys({"": File, "network.": NetworkTable, "network.outages.": OutageTable})
