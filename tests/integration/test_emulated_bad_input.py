"""Images and saved states that are not what they should be: a clear error in bounded time, or made anew."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.board import new_board, snapshot_boot, snapshot_build
from harness.board.snapshot_build import foundations, snapshot_key
from harness.emulator import emulator, host_programs, record
from harness.emulator import image as images
from harness.emulator.building import HOST_KEY, INITRD
from harness.emulator.image import Image, find_image, provide_image
from harness.emulator.image_recipe import recipe_key
from harness.emulator.machine import Machine, machine_of
from harness.emulator.snapshot_store import Snapshot, find_snapshot
from harness.errors import EmulatorError, HostKeyError
from harness.host.cache import link_or_copy
from harness.host.progress_log import showing_progress
from harness.links import local
from harness.links.qemu import Link
from tests.support.facts import own_facts

from .desk import new_key, said
from .emulated import device, hosted

# A board that does not come up is known to be none so soon.
PANIC_S, REFUSED_S = 60.0, 20.0


@pytest.fixture
def link() -> Iterator[Link]:
    """To a board that is off, and is off again in the end: nothing is left of it."""
    made = Link(device())
    yield made
    made.power_off()
    assert hosted() == []


@pytest.fixture
def image(users_cache: Path) -> Image:
    """The user's."""
    found = find_image()
    assert found is not None
    return found


@pytest.fixture
def other_image(image: Image, tmp_path: Path) -> Image:
    """The same, for a test to change: a file that it replaces is not the user's."""
    folder = tmp_path / "image"
    folder.mkdir()
    for path in image.folder.iterdir():
        (folder / path.name).symlink_to(path)
    return replace(image, folder=folder)


def put(path: Path, content: bytes) -> None:
    """In place of what was there, and not into it."""
    path.unlink()
    path.write_bytes(content)


@pytest.fixture
def saved(image: Image) -> Snapshot:
    """The state that a run starts from."""
    bundles = foundations(device(), image)
    found = find_snapshot(snapshot_key(device(), image, machine_of(device()), bundles))
    assert found is not None
    return found


@pytest.mark.slow
def test_a_guest_whose_kernel_panics_is_an_error_with_its_console(link: Link, other_image: Image) -> None:
    put(other_image.folder / INITRD, b"no archive at all" * 1000)
    start = time.monotonic()
    with pytest.raises(EmulatorError, match="ended while it was being started") as caught:
        link.power_on(other_image)
    assert time.monotonic() - start < PANIC_S
    assert "Kernel panic" in caught.value.found
    assert "its console ends:" in caught.value.found
    assert "QEMU ended with exit status 0" in caught.value.found


@pytest.mark.slow
def test_a_board_with_another_key_is_not_spoken_to(
    link: Link, other_image: Image, saved: Snapshot, tmp_path: Path
) -> None:
    key = new_key(tmp_path / "key").with_suffix(".pub").read_bytes()
    put(other_image.folder / HOST_KEY, b" ".join(key.split()[:2]))
    link.power_on(other_image, saved)
    with pytest.raises(HostKeyError):
        said(link, "true")


@pytest.fixture
def damaged(saved: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Snapshot]:
    """Puts that state into a cache of the test's own, where files of it are others, and it is sealed with these."""
    for path in saved.folder.parents[1].iterdir():
        if path.name not in ("states", "emulators"):
            (tmp_path / path.name).symlink_to(path)

    def damage(devices: bytes | None = None, *, memory: bool = False) -> Snapshot:
        folder = tmp_path / "states" / saved.folder.name
        folder.mkdir(parents=True)
        for name in ("devices", "memory", "disk.qcow2", "home.qcow2"):
            link_or_copy(saved.folder / name, folder / name)
        if devices is not None:
            put(folder / "devices", devices)
        if memory:
            spoil(folder / "memory")
        record.write_record(folder, {name: saved.record[name] for name in ("device", "entries", "forkservers")})
        monkeypatch.setenv("HILGATE_CACHE", str(tmp_path))
        return Snapshot(folder, record.read_record(folder))

    return damage


def spoil(memory: Path) -> None:
    """Zeros in the upper half of a guest's memory, where its programs are; its kernel is at the bottom."""
    copy = memory.with_suffix(".copy")
    subprocess.run(["cp", "--sparse=always", memory, copy], check=True, timeout=60)
    with copy.open("r+b") as file:
        half = copy.stat().st_size // 2
        file.truncate(half)
        file.truncate(2 * half)
    copy.replace(memory)


def garbage(whole: bytes) -> bytes:
    return b"\xff\x00 garbage" * 1000


def half(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(garbage, id="garbage"),
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(half, id="half"),
    ],
)
def test_a_state_that_cannot_be_restored_is_made_anew(
    link: Link,
    saved: Snapshot,
    damaged: Callable[..., Snapshot],
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
) -> None:
    damaged(damage((saved.folder / "devices").read_bytes()))
    lines: list[str] = []
    monkeypatch.setattr(snapshot_boot, "store_snapshot", lambda key, save: saved)
    monkeypatch.setattr(emulator, "RESTORE_S", 3.0)
    start = time.monotonic()
    board = new_board(device(), link)
    with showing_progress(lines.append):
        snapshot_boot.switch_on(board, link, 0.0)
    assert time.monotonic() - start < REFUSED_S
    assert lines[0].startswith("the saved state of qemu-pi4 is of no use and is made anew: ")
    assert board.entries == set(saved.record["entries"])
    assert said(link, "echo alive") == "alive"
    board.close()


@pytest.mark.slow
def test_a_state_whose_board_comes_up_and_is_broken_is_made_anew(
    link: Link, saved: Snapshot, damaged: Callable[..., Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory was changed, its size and time were not: only its use shows it."""
    damaged(memory=True)
    lines: list[str] = []
    monkeypatch.setattr(snapshot_boot, "store_snapshot", lambda key, save: saved)
    board = new_board(device(), link)
    with showing_progress(lines.append):
        snapshot_boot.switch_on(board, link, 0.0)
    assert lines[0].startswith("the saved state of qemu-pi4 is of no use and is made anew: ")
    assert said(link, "echo alive") == "alive"
    board.close()


@pytest.mark.slow
def test_why_a_state_cannot_be_restored_is_said_in_qemus_words(
    link: Link, image: Image, damaged: Callable[..., Snapshot]
) -> None:
    with pytest.raises(EmulatorError) as caught:
        link.power_on(image, damaged(garbage(b"")))
    assert "QEMU ended with exit status 1\nQEMU said:" in caught.value.found
    assert "Not a migration stream" in caught.value.found


PI4 = Machine("cortex-a72", 2048)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"qemu": "version 8.2.0"}, id="qemu"),
        pytest.param({"host_key": "ssh-ed25519 BBBB"}, id="image"),
        pytest.param({"machine": replace(PI4, cpu="cortex-a76")}, id="cpu"),
        pytest.param({"machine": replace(PI4, memory_mib=4096)}, id="memory"),
        pytest.param({"store": "~/elsewhere"}, id="store"),
    ],
)
def test_a_state_is_of_one_qemu_one_image_one_machine_and_one_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: Mapping[str, Any]
) -> None:
    def key(
        qemu: str = "version 7.2.0",
        host_key: str = "ssh-ed25519 AAAA",
        machine: Machine = PI4,
        store: str | None = None,
    ) -> str:
        monkeypatch.setattr(host_programs, "qemu_version", lambda: qemu)
        (tmp_path / HOST_KEY).write_text(host_key)
        return snapshot_key(replace(device(), store=store), Image(tmp_path, {}), machine, [])

    assert key(**changed) != key()


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """An image of a few bytes in a cache of its own; returns the folders that images are then built in."""
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path))
    folders: list[Path] = []

    def build(folder: Path) -> Mapping[str, object]:
        folders.append(folder)
        (folder / "disk.qcow2").write_bytes(b"x" * 1000)
        return {"kernel": "6.1", "python": "3.11.2"}

    monkeypatch.setattr(images, "build", build)
    provide_image()
    folders.clear()
    return folders


def test_an_image_that_is_whole_is_not_built_again(built: list[Path]) -> None:
    lines: list[str] = []
    with showing_progress(lines.append):
        assert provide_image() == find_image()
    assert (built, lines) == ([], [])


def test_an_image_that_was_cut_short_is_built_anew_and_why_is_said(built: list[Path], tmp_path: Path) -> None:
    disk = tmp_path / "images" / recipe_key() / "disk.qcow2"
    os.truncate(disk, 999)
    assert find_image() is None
    lines: list[str] = []
    with showing_progress(lines.append):
        assert provide_image().disk.stat().st_size == 1000
    assert len(built) == 1
    assert lines[0].startswith("the image is not what was built (disk.qcow2: wanted 1000 bytes, last changed ")


@pytest.mark.parametrize(
    ("script", "noted"),
    [
        pytest.param("echo ready", "waits", id="waits"),
        pytest.param("kill -ILL $$", "killed by SIGILL (illegal instruction", id="an-instruction-that-its-cpu-lacks"),
        pytest.param("echo why >&2; exit 3", "exit status 3, ChannelClosed; its stderr ends:\nwhy", id="ended"),
        pytest.param("echo Ready", "said b'Ready\\n'", id="something-else"),
    ],
)
def test_a_forkserver_that_does_not_start_is_noted(monkeypatch: pytest.MonkeyPatch, script: str, noted: str) -> None:
    monkeypatch.setattr(snapshot_build, "IMPORT_S", 0.5)
    found = snapshot_build._wait_started(local.Link(device(name="local")).start(script), own_facts(), {})
    assert found.startswith(noted)


def test_a_forkserver_that_takes_too_long_makes_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would last, although another day it may be quicker."""
    monkeypatch.setattr(snapshot_build, "IMPORT_S", 0.2)
    with pytest.raises(EmulatorError, match="takes too long to import a runtime"):
        snapshot_build._wait_started(local.Link(device(name="local")).start("sleep 600"), own_facts(), {})
