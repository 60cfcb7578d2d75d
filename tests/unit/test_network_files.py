"""Network files: what they may say, what comes shipped, and what a message says when one is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.agent.network.link import Outage
from harness.errors import NetworkError
from harness.evidence.parts import describe_network
from harness.host.shipped import NETWORKS
from harness.network import Network, load_network, named_network, network_folders
from harness.network.tables import KEYS
from harness.network.trace import read_trace
from harness.run.deploying import network_notes
from harness.run.measuring import SERVICE_EMULATED_S

HEAD = '[network]\ndescription = "d"\nsource = "s"\nmeasured = true\n'
Load = Callable[..., Network]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes a network file, and loads it."""

    def load(text: str, name: str = "mine") -> Network:
        (tmp_path / f"{name}.toml").write_text(text)
        return load_network(name, (tmp_path, NETWORKS), "robot.toml: options.oip.network")

    return load


def test_a_file_says_what_is_shaped(load: Load) -> None:
    text = "delay_ms = 10\njitter_ms = 2.5\nrate_up_mbit = 8\n[[network.outages]]\nevery_s = 30\nfor_s = 1.5\n"
    found = load(HEAD + text)
    assert (found.delay_ms, found.jitter_ms, found.outages) == (10, 2.5, (Outage(30, 1.5),))
    assert (found.up.bytes_per_s, found.down.bytes_per_s, found.is_shaping) == (1_000_000, 0, True)
    assert found.transfer_ms(1000, 5000) == 1.0
    assert found.asked() == {
        "up": {"delay_ms": 10, "jitter_ms": 2.5, "bytes_per_s": 1_000_000},
        "down": {"delay_ms": 10, "jitter_ms": 2.5, "bytes_per_s": 0},
        "traced": [],
        "outages": [[30, 1.5]],
    }
    said = "delay 10 ms each way, jitter ± 2.5 ms, up 8 Mbit/s, an outage of 1.5 s every 30 s"
    assert found.described == said


def test_a_trace_is_a_file_of_the_users_and_has_its_hash(load: Load, tmp_path: Path) -> None:
    (tmp_path / "a.up").write_text("0\n1\n1\n3\n")
    found = load(HEAD + 'trace_up = "a.up"\nrate_down_mbit = 12\n')
    assert (found.up.trace_ms, found.up.bytes_per_s, found.asked()["traced"]) == ((0, 1, 1, 3), 2_000_000, ["up"])
    assert [file.name for file in found.all_files] == ["mine", "a.up"]
    assert "up by a.up, 16 Mbit/s on average, down 12 Mbit/s" in found.described
    entry = describe_network(found, {"request_bytes": 2000, "response_bytes": 3000})
    assert entry.up.trace_sha256 == found.all_files[1].sha256
    assert (entry.up.rate_mbit, entry.transfer_ms) == (16.0, 3.0)


def test_one_extends_another_and_the_users_own_comes_first(load: Load) -> None:
    found = load('extends = "lte"\n[network]\nrate_up_mbit = 1\n')
    assert (found.up.rate_mbit, found.down.rate_mbit) == (1, 12.8)
    assert [file.name for file in found.files] == ["mine", "lte"]
    assert load('extends = "lte"\n[network]\ndelay_ms = 40\n', "lte").delay_ms == 40


def test_the_shipped_ones_say_where_they_come_from_and_none_is_called_measured() -> None:
    found = {path.stem: load_network(path.stem, (NETWORKS,)) for path in NETWORKS.glob("*.toml")}
    assert set(found) == {"none", "field-7mbit", "lte", "lte-driving", "outage"}
    assert not any(network.measured for network in found.values())
    assert not found["none"].is_shaping
    for name, network in found.items():
        (first, *_) = network_notes(network)
        assert name in first
        assert ("no measurement of anybody's" in first) == network.is_shaping
        assert network.source


def test_packets_are_lost_by_the_kernel_of_an_emulated_board_and_nowhere_else(load: Load, tmp_path: Path) -> None:
    found = load(HEAD + "loss_percent = 5\n", "lossy")
    assert (found.loss_percent, found.is_shaping, found.described) == (5, False, "5 % of the packets lost each way")
    assert network_notes(found) == [
        "calls go through the network lossy, which the emulated board's kernel makes: 5 % of the packets lost each way"
    ]
    both = load(HEAD + "delay_ms = 10\nloss_percent = 5\n", "slow")
    assert "which a proxy on the device and the emulated board's kernel make: delay 10 ms" in network_notes(both)[0]
    asked = {"network": "lossy"}, [tmp_path], "robot.toml: options.oip"
    assert named_network(*asked, loses_packets=True) == found
    with pytest.raises(NetworkError, match="loses packets") as caught:
        named_network(*asked)
    assert ('link = "qemu"' in caught.value.wanted, "a proxy" in caught.value.hint) == (True, True)


def test_outages_that_a_measurement_may_not_see_are_noted(load: Load) -> None:
    found = load(HEAD + "[[network.outages]]\nevery_s = 61\nfor_s = 1\n[[network.outages]]\nevery_s = 60\nfor_s = 1\n")
    _, noted = network_notes(found)
    assert "every 61 s is rarer than a measurement of 60 s" in noted


def test_an_emulated_service_is_called_for_a_shorter_time_and_that_is_said() -> None:
    assert not any("rarer" in note for note in network_notes(load_network("outage", [NETWORKS])))
    assert "a measurement of 3 s" in network_notes(load_network("outage", [NETWORKS]), SERVICE_EMULATED_S)[-1]


def test_networks_are_beside_the_folder_of_devices_and_options_may_name_none(tmp_path: Path) -> None:
    folders = network_folders([tmp_path / "devices", tmp_path / "hilgate"])
    assert folders == (tmp_path / "networks", NETWORKS)
    assert named_network({}, folders, "") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("delay = 3\n", ["unknown key 'network.delay'", "delay_ms"], id="unknown"),
        pytest.param("[netwerk]\n", ["unknown key 'netwerk'", "network"], id="table"),
        pytest.param("delay_ms = -1\n", ["'network.delay_ms' is wrong", "from 0 to 60000", "-1"], id="negative"),
        pytest.param("delay_ms = nan\n", ["'network.delay_ms' is wrong", "nan"], id="nan"),
        pytest.param('delay_ms = "25"\n', ["'network.delay_ms' is wrong", "'25'"], id="text"),
        pytest.param("rate_up_mbit = 7000000\n", ["in 10⁶ bits a second", "7000000"], id="in-bits"),
        pytest.param("rate_up_mbit = 0\n", ["'network.rate_up_mbit' is wrong", "from 0.001"], id="no-rate"),
        pytest.param("delay_ms = 1\njitter_ms = 2\n", ["at most delay_ms", "jitter_ms = 2"], id="jitter"),
        pytest.param("loss_percent = 100\n", ["'network.loss_percent' is wrong", "less than 100"], id="all-lost"),
        pytest.param("loss_percent = 0.0001\n", ["at least 0.001", "0.0001"], id="too-few-lost"),
        pytest.param("[[network.outages]]\nevery_s = 2\n", ["'network.outages.0.for_s' is missing"], id="half-outage"),
        pytest.param("[[network.outages]]\nevery_s = 2\nfor_s = 2\n", ["for_s below every_s"], id="for-ever"),
        pytest.param("[[network.outages]]\nevery_s = 2\nfor_s = 1\n" * 2, ["100% of the time"], id="together"),
        pytest.param("[[network.outages]]\nevery_s = 2\nfor_s = 0\n", ["seconds, from 0.001", "for_s"], id="no-time"),
        pytest.param("rate_down_mbit = 1e-300\n", ["from 0.001 to 1000"], id="nearly-no-rate"),
        pytest.param("delay_ms = inf\n", ["'network.delay_ms' is wrong", "inf"], id="endless"),
        pytest.param('trace_up = "pipe"\n', ["pipe cannot be used", "no regular file"], id="pipe"),
        pytest.param('trace_up = "zero"\n', ["zero cannot be used", "no regular file"], id="link-to-a-device"),
        pytest.param('trace_up = "."\n', ["cannot be used", "Is a directory"], id="folder"),
        pytest.param("[[network.outages]]\nevery_s = 9\nfor_s = 1\n" * 9, ["at most 8 tables"], id="nine"),
        pytest.param('trace_up = "no.up"\n', ["no.up cannot be used", "No such file", "mahimahi"], id="no-trace"),
        pytest.param('trace_up = "good.up"\nrate_up_mbit = 1\n', ["rate_up_mbit or trace_up", "both"], id="both"),
        pytest.param('trace_down = "bad.down"\n', ["bad.down cannot be used", "line 2 is 'x'"], id="bad-trace"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(load: Load, tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "good.up").write_text("1\n")
    (tmp_path / "bad.down").write_text("1\nx\n")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(NetworkError) as caught:
        load(HEAD + text)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "mine.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD.replace('source = "s"\n', ""), "'network.source' is missing"),
        (HEAD.replace("measured = true\n", ""), "'network.measured' is missing"),
        (HEAD.replace("true", '"yes"'), "'network.measured' is wrong"),
        ('extends = "wifi"\n', "'mine' extends 'wifi', which does not exist"),
        ("[network\n", "a network file cannot be read"),
    ],
)
def test_a_file_that_lacks_something_is_refused(load: Load, text: str, words: str) -> None:
    with pytest.raises(NetworkError, match=re.escape(words)):
        load(text)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_bytes(bytes((1 << 20) + 1))])
def test_a_file_that_is_none_is_neither_waited_for_nor_read_whole(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "mine.toml")
    with pytest.raises(NetworkError, match=r"no regular file|more than 1048576 bytes"):
        load_network("mine", (tmp_path,))


def test_a_name_without_a_file_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(NetworkError) as caught:
        named_network({"network": "field-7mbits"}, (tmp_path, NETWORKS), "robot.toml: options.oip")
    assert "did you mean 'field-7mbit'?" in str(caught.value)
    assert caught.value.where == "robot.toml: options.oip.network"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no line"),
        (b"0\n", "nothing after the millisecond 0"),
        (b"1\n\n2\n", "line 2 is ''"),
        (b"5\n4\n", "line 2 is 4, before 5"),
        (b"-1\n", "line 1 is '-1'"),
        (b"1.5\n", "line 1 is '1.5'"),
        (b"99999999\n", "line 1 is '99999999'"),
        (b"\xff\n", "line 1 is"),
        (b"1\n" * 1_000_001, "1000001 lines"),
        (b"1" * ((16 << 20) + 1), "more than 16777216 bytes"),
    ],
    ids=range(10),
)
def test_a_trace_that_is_none_is_told_by_its_line(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_trace(content)


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "remote.md").read_text(encoding="utf-8")
    section = page.partition("## The network\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE))
    assert {key for key in named if key.startswith(("network", "extends"))} == set(KEYS)
    shipped = {path.stem for path in NETWORKS.glob("*.toml")}
    assert shipped <= set(re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE))
