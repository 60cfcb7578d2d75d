"""Links are found by file, in whatever folders the package has, and a file that lacks something is named."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import harness.links
from harness.device import Device, load_device
from harness.errors import DeviceError, TunnelError
from harness.links import LinkType, link_class, link_names, open_link

TOY = """
from harness.links import LinkType

class Link(LinkType):
    emulated = True
    refused_keys = {"device.host": "no host"}

    def start(self, script, *, bulk=False, kill=None):
        raise NotImplementedError
"""
DEVICE = '[device]\ndescription = "a toy"\nlink = "toy"\nbackends = ["onnxruntime"]\n'

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write the file of the link ``toy`` into a project's folder of plug-ins."""
    folder = tmp_path / "plugins" / "links"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HILGATE_PLUGINS", str(folder.parent))

    def write(text: str) -> Path:
        (folder / "toy.py").write_text(text)
        importlib.invalidate_caches()
        return folder / "toy.py"

    yield write
    sys.modules.pop("harness.links.toy", None)
    harness.links.__dict__.pop("toy", None)


def read(folder: Path, text: str = DEVICE) -> Device:
    (folder / "toy.toml").write_text(text)
    return load_device("toy", [folder], [])


def test_what_comes_with_hilgate_is_there() -> None:
    assert link_names() == ["local", "qemu", "ssh"]


def test_a_file_is_a_link_with_what_every_link_has(write: Write, tmp_path: Path) -> None:
    write(TOY)
    device = read(tmp_path)
    assert "toy" in link_names()
    told = (device.emulated, device.can_count, device.is_this_machine, device.tunnels_back)
    assert told == (True, False, False, False)
    link = open_link(device)
    assert isinstance(link, LinkType)
    assert (link.shares_files, link.snapshots, link.described) == (False, None, {})
    assert list(link.check_way(device)) == []
    assert link.describe_unopened(device) is None
    for end in (link.abort, link.close, link.power_off, link.cut_power):
        end()
    with pytest.raises(TunnelError, match="no way back"):
        link.tunnel_back(1)


def test_a_links_own_rules_for_device_files_count(write: Write, tmp_path: Path) -> None:
    write(TOY)
    with pytest.raises(DeviceError, match="does not fit") as caught:
        read(tmp_path, DEVICE.replace("backends", 'host = "pi"\nbackends'))
    assert caught.value.wanted == 'no host, as link = "toy"'


def test_a_link_that_does_not_exist_is_named_when_it_is_opened(tmp_path: Path) -> None:
    device = read(tmp_path)
    assert not device.emulated
    assert link_class("toy") is None
    with pytest.raises(DeviceError, match="there is no link 'toy'") as caught:
        open_link(device)
    assert caught.value.wanted == "one of local, qemu, ssh"


@pytest.mark.parametrize(
    ("text", "what", "found"),
    [
        pytest.param("import no_such_module", "cannot be imported", "no_such_module", id="it-cannot-be-imported"),
        pytest.param("class Link", "cannot be imported", "SyntaxError", id="it-is-no-Python"),
        pytest.param("", "lacks what it must have", "Link: it is not there", id="it-is-empty"),
        pytest.param("class Link: pass", "lacks what it must have", "it is <class", id="its-class-is-another"),
        pytest.param("Link = 1", "lacks what it must have", "it is 1", id="its-Link-is-no-class"),
        pytest.param(
            TOY.replace("def start", "def begin"),
            "lacks what it must have",
            "the class has no start",
            id="it-starts-nothing",
        ),
    ],
)
def test_a_file_that_lacks_something_is_named_with_what_is_missing(
    write: Write, tmp_path: Path, text: str, what: str, found: str
) -> None:
    path = write(text)
    with pytest.raises(DeviceError, match=f"the link 'toy' {what}") as caught:
        read(tmp_path)
    assert found in caught.value.found
    assert caught.value.where == str(path)
