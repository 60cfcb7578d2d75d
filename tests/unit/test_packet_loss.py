"""The packets that a cell's calls lose: from when to when, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness.deploy.packet_loss import PacketLoss
from harness.device import load_device
from harness.errors import DeviceError, EmulatorError
from harness.host.shipped import DEVICES
from harness.links import LinkType
from harness.links.qemu import Link
from harness.measure import known_metrics
from harness.protocol import Packets


class Recording(LinkType):
    """A link that notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(load_device("qemu-pi4", [DEVICES], known_metrics().values()))
        self.asked: list[Any] = []
        self.error: EmulatorError | None = None

    def start(self, script: str, **options: Any) -> NoReturn:
        raise AssertionError(script)

    def lose(self, port: int, percent: float) -> None:
        self.asked.append((port, percent))

    def deliver(self) -> Packets:
        self.asked.append("deliver")
        if self.error is not None:
            raise self.error
        return Packets(sent=40, lost=2)


def make(link: LinkType, url: str = "https://127.0.0.1:8443/") -> tuple[PacketLoss, list[Any]]:
    noted: list[Any] = []
    return PacketLoss(link=link, percent=5.0, url=lambda: url, noted=lambda *said: noted.append(said)), noted


def test_they_are_lost_for_as_long_as_a_process_calls_and_counted_over_all_of_them() -> None:
    link = Recording()
    loss, noted = make(link)
    loss.end()
    for _ in range(2):
        loss.begin()
        loss.end()
        loss.end()
    assert link.asked == [(8443, 5.0), "deliver"] * 2
    assert noted == [(Packets(sent=40, lost=2), ""), (Packets(sent=80, lost=4), "")]


def test_a_count_that_does_not_come_is_none_and_said_to_be_missing() -> None:
    link = Recording()
    link.error = EmulatorError("the emulated board does not answer")
    loss, noted = make(link)
    loss.begin()
    loss.end()
    assert noted == [(None, "how many packets were lost to the end is not known: the emulated board does not answer")]


def test_a_server_that_is_not_reached_through_the_loopback_is_refused_for_nothing_would_be_lost() -> None:
    link = Recording()
    loss, _ = make(link, "http://10.0.0.2:8000")
    with pytest.raises(DeviceError, match="the server is elsewhere"):
        loss.begin()
    assert link.asked == []


def test_a_link_whose_devices_cannot_lose_packets_says_so(tmp_path: Path) -> None:
    (tmp_path / "desk.toml").write_text('extends = "local"\n')
    device = load_device("desk", [tmp_path, DEVICES], known_metrics().values())
    assert (device.loses_packets, Recording().device.loses_packets, Link.loses_packets) == (False, True, True)

    class Other(Recording):
        lose = LinkType.lose

    with pytest.raises(DeviceError, match="cannot make a device lose packets"):
        Other().lose(1, 5.0)
