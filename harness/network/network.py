"""A network between a device and the computer that it calls, as its file describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..agent.network.link import OPPORTUNITY, Outage
from ..host.shipped import NETWORKS

FOLDER = "networks"
BITS_A_MEGABIT = 1e6


@dataclass(frozen=True, kw_only=True)
class NetworkFile:
    """A file that describes a network, or a trace that one names, as it was read.

    Attributes:
        name: the network's that it is named after; of a trace the file's.
        path: resolved.
        sha256: of its bytes.
    """

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One direction of a network.

    Attributes:
        rate_mbit: in 10⁶ bits a second; None for no bound, or for a trace.
        trace_ms: moments at which 1500 bytes pass; empty without a trace.
        trace: the trace's file; None without one.
    """

    rate_mbit: float | None = None
    trace_ms: tuple[int, ...] = ()
    trace: NetworkFile | None = None

    @property
    def bytes_per_s(self) -> float:
        """The rate: of a trace its mean; 0 for no bound."""
        if self.trace_ms:
            return len(self.trace_ms) * OPPORTUNITY / (self.trace_ms[-1] / 1e3)
        return (self.rate_mbit or 0.0) * BITS_A_MEGABIT / 8

    def transfer_ms(self, size: int) -> float:
        """Return how long the rate alone takes for so many bytes."""
        return size / self.bytes_per_s * 1e3 if self.bytes_per_s else 0.0

    def asked(self, delay_ms: float, jitter_ms: float) -> dict[str, float]:
        """Return what the proxy is told of it, its trace apart; see harness.agent.network.proxy."""
        return {
            "delay_ms": delay_ms,
            "jitter_ms": jitter_ms,
            "bytes_per_s": 0.0 if self.trace_ms else self.bytes_per_s,
        }


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network; its keys: docs/remote.md.

    Attributes:
        path: the network's own file, the first of the chain.
        source: where its figures come from.
        measured: whether it is somebody's measurement.
        delay_ms: of each way.
        jitter_ms: by how much the delay varies, up and down.
        loss_percent: how many of the packets of each way are lost; by the device's kernel, not by the proxy.
        up: from the device to the server.
        down: back.
        files: the chain: its own file and those that it extends.
    """

    name: str
    path: Path
    description: str
    source: str
    measured: bool
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss_percent: float = 0.0
    up: Direction = Direction()
    down: Direction = Direction()
    outages: tuple[Outage, ...] = ()
    files: tuple[NetworkFile, ...] = ()

    @property
    def is_shaping(self) -> bool:
        """Whether it changes anything but loses packets; without, no proxy is started."""
        return bool(self.delay_ms or self.outages or self.up.bytes_per_s or self.down.bytes_per_s)

    @property
    def all_files(self) -> tuple[NetworkFile, ...]:
        """The chain, and the traces that it names."""
        return (*self.files, *(trace for trace in (self.up.trace, self.down.trace) if trace is not None))

    @property
    def described(self) -> str:
        """What it does, in words."""
        if not self.is_shaping and not self.loss_percent:
            return "nothing is shaped: the device's own network"
        parts = [f"delay {self.delay_ms:g} ms each way"] if self.delay_ms else []
        parts += [f"jitter ± {self.jitter_ms:g} ms"] if self.jitter_ms else []
        for name, way in (("up", self.up), ("down", self.down)):
            if way.trace is not None:
                parts.append(
                    f"{name} by {way.trace.name}, {way.bytes_per_s * 8 / BITS_A_MEGABIT:.3g} Mbit/s on average"
                )
            elif way.rate_mbit is not None:
                parts.append(f"{name} {way.rate_mbit:g} Mbit/s")
        parts += [f"{self.loss_percent:g} % of the packets lost each way"] if self.loss_percent else []
        parts += [f"an outage of {each.for_s:g} s every {each.every_s:g} s" for each in self.outages]
        return ", ".join(parts)

    def transfer_ms(self, request_bytes: int, response_bytes: int) -> float:
        """Return how long the rates alone take for a request and its answer, without delay, queue and model."""
        return self.up.transfer_ms(request_bytes) + self.down.transfer_ms(response_bytes)

    def asked(self) -> dict[str, Any]:
        """Return what the agent is asked for; see op_network in harness.agent.operations."""
        ways = {"up": self.up, "down": self.down}
        return {
            **{name: way.asked(self.delay_ms, self.jitter_ms) for name, way in ways.items()},
            "traced": [name for name, way in ways.items() if way.trace_ms],
            "outages": [[each.every_s, each.for_s] for each in self.outages],
        }


def network_folders(device_folders: Sequence[Path]) -> tuple[Path, ...]:
    """Return where network files are looked for: beside the user's folder of devices, then hilgate's own.

    Args:
        device_folders: those of device files, the user's first.
    """
    return (*(folder.parent / FOLDER for folder in device_folders[:1]), NETWORKS)
