"""Images and saved states that are not what they should be: a clear error in bounded time, or made anew."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.board import prepared
from harness.board.prepared import foundations, state_key
from harness.cache import link_or_copy
from harness.emulator import emulator, host, sealed
from harness.emulator import image as images
from harness.emulator.building import HOST_KEY, INITRD
from harness.emulator.image import Image, find_image, provide_image
from harness.emulator.machine import Machine, machine_of
from harness.emulator.recipe import recipe_key
from harness.emulator.saved import Saved, find_saved
from harness.errors import EmulatorError, HostKeyError
from harness.links import local
from harness.links.qemu import Link

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
def saved(image: Image) -> Saved:
    """The state that a run starts from."""
    bundles = foundations(device(), image, lambda line: None)
    found = find_saved(state_key(device(), image, machine_of(device()), bundles))
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
    link: Link, other_image: Image, saved: Saved, tmp_path: Path
) -> None:
    key = new_key(tmp_path / "key").with_suffix(".pub").read_bytes()
    put(other_image.folder / HOST_KEY, b" ".join(key.split()[:2]))
    link.power_on(other_image, saved)
    with pytest.raises(HostKeyError):
        said(link, "true")


@pytest.fixture
def damaged(saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Saved]:
    """Puts that state into a cache of the test's own, where its ``devices`` are others and it is sealed with these."""
    for path in saved.folder.parents[1].iterdir():
        if path.name not in ("states", "emulators"):
            (tmp_path / path.name).symlink_to(path)

    def damage(devices: bytes) -> Saved:
        folder = tmp_path / "states" / saved.folder.name
        folder.mkdir(parents=True)
        for name in ("memory", "disk.qcow2", "home.qcow2"):
            link_or_copy(saved.folder / name, folder / name)
        (folder / "devices").write_bytes(devices)
        sealed.seal(folder, {"entries": saved.record["entries"], "device": "damaged"})
        monkeypatch.setenv("HILGATE_CACHE", str(tmp_path))
        return Saved(folder, sealed.read(folder))

    return damage


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
    saved: Saved,
    damaged: Callable[[bytes], Saved],
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
) -> None:
    bad = damaged(damage((saved.folder / "devices").read_bytes()))
    lines: list[str] = []
    monkeypatch.setattr(prepared, "keep", lambda key, save: saved)
    monkeypatch.setattr(emulator, "RESTORE_S", 3.0)
    start = time.monotonic()
    entries = prepared.switch_on(device(), link, lines.append)
    assert time.monotonic() - start < REFUSED_S
    assert lines[0].startswith("the saved state of qemu-pi4 is of no use and is made anew: ")
    assert entries == frozenset(saved.record["entries"])
    assert not bad.folder.exists()
    assert said(link, "echo alive") == "alive"


@pytest.mark.slow
def test_why_a_state_cannot_be_restored_is_said_in_qemus_words(
    link: Link, image: Image, damaged: Callable[[bytes], Saved]
) -> None:
    with pytest.raises(EmulatorError) as caught:
        link.power_on(image, damaged(garbage(b"")))
    assert "QEMU ended with exit status 1\nQEMU said:" in caught.value.found
    assert "Not a migration stream" in caught.value.found


PI4 = Machine("cortex-a72", 2048)
IMAGE = Image(Path("images/0123"), {"made": "2026-01-01T00:00:00Z"})


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"qemu": "version 8.2.0"}, id="qemu"),
        pytest.param({"image": replace(IMAGE, record={"made": "2026-01-02T00:00:00Z"})}, id="image"),
        pytest.param({"machine": replace(PI4, cpu="cortex-a76")}, id="cpu"),
        pytest.param({"machine": replace(PI4, memory_mib=4096)}, id="memory"),
        pytest.param({"store": "~/elsewhere"}, id="store"),
    ],
)
def test_a_state_is_of_one_qemu_one_image_one_machine_and_one_store(
    monkeypatch: pytest.MonkeyPatch, changed: Mapping[str, Any]
) -> None:
    def key(qemu: str = "version 7.2.0", image: Image = IMAGE, machine: Machine = PI4, store: str | None = None) -> str:
        monkeypatch.setattr(host, "qemu_version", lambda: qemu)
        return state_key(replace(device(), store=store), image, machine, [])

    assert key(**changed) != key()


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """An image of a few bytes in a cache of its own; returns the folders that images are then built in."""
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path))
    folders: list[Path] = []

    def build(folder: Path, say: object) -> Mapping[str, object]:
        folders.append(folder)
        (folder / "disk.qcow2").write_bytes(b"x" * 1000)
        return {"kernel": "6.1", "python": "3.11.2"}

    monkeypatch.setattr(images, "build", build)
    provide_image(lambda line: None)
    folders.clear()
    return folders


def test_an_image_that_is_whole_is_not_built_again(built: list[Path]) -> None:
    lines: list[str] = []
    assert provide_image(lines.append) == find_image()
    assert (built, lines) == ([], [])


def test_an_image_that_was_cut_short_is_built_anew_and_why_is_said(built: list[Path], tmp_path: Path) -> None:
    disk = tmp_path / "images" / recipe_key() / "disk.qcow2"
    os.truncate(disk, 999)
    assert find_image() is None
    lines: list[str] = []
    assert provide_image(lines.append).disk.stat().st_size == 1000
    assert len(built) == 1
    assert lines[0].startswith("the image is not what was built (disk.qcow2: wanted {'bytes': 1000")


@pytest.mark.parametrize(
    ("script", "noted"),
    [
        pytest.param("echo ready", "waits", id="waits"),
        pytest.param("kill -ILL $$", "exit status -4, ChannelClosed", id="an-instruction-that-its-cpu-lacks"),
        pytest.param("echo why >&2; exit 3", "exit status 3, ChannelClosed; its stderr ends:\nwhy", id="ended"),
        pytest.param("echo Ready", "said b'Ready\\n'", id="something-else"),
        pytest.param("sleep 600", "exit status -9, TimeoutError", id="hangs", marks=pytest.mark.slow),
    ],
)
def test_a_resident_that_does_not_start_is_noted(monkeypatch: pytest.MonkeyPatch, script: str, noted: str) -> None:
    monkeypatch.setattr(prepared, "IMPORT_S", 0.5)
    found = prepared._started(local.Link(device(name="local")).start(script))
    assert found.startswith(noted)
