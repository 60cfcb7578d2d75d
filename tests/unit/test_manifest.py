"""Folders of the cache, hashed again: a byte that changed with size and time as they were is found (issue 17)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.board.snapshot_check import SnapshotCheck
from harness.emulator import record
from harness.host import manifest
from harness.host.cache import file_sha256
from harness.host.manifest import BackgroundCheck, find_damage, is_due, note_hashes, was_verified_recently

MEMORY = "0123456789" * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved state, with its hashes."""
    made = tmp_path / "states" / "aa"
    (made / "below").mkdir(parents=True)
    (made / "memory").write_text(MEMORY)
    (made / "below" / "header.h").write_text("int x;")
    (made / "link").symlink_to("nowhere")
    note_hashes(made)
    return made


def flip(path: Path) -> None:
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def yesterday(folder: Path) -> None:
    (folder / manifest.VERIFIED).write_text("2000-01-01")
    os.utime(folder / manifest.VERIFIED, (0, 0))


def test_what_is_whole_is_looked_at_once_a_day(folder: Path) -> None:
    assert not is_due(folder)
    yesterday(folder)
    assert is_due(folder)
    assert not was_verified_recently(folder)
    assert find_damage(folder) == ""
    assert not is_due(folder)
    assert was_verified_recently(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda folder: flip(folder / "memory"), "memory: wanted SHA-256", id="memory"),
        pytest.param(lambda folder: flip(folder / "below/header.h"), "below/header.h: wanted SHA-256", id="below"),
        pytest.param(lambda folder: (folder / "memory").unlink(), "memory: ", id="gone"),
        pytest.param(lambda folder: (folder / manifest.HASHES).write_text("{"), "cannot be read", id="hashes"),
    ],
)
def test_what_is_damaged_is_named_and_stays_due(folder: Path, damage: Callable[[Path], object], said: str) -> None:
    yesterday(folder)
    damage(folder)
    assert said in find_damage(folder)
    assert is_due(folder)
    assert [said in wrong for wrong in BackgroundCheck.start([folder]).result().values()] == [True]


def test_a_folder_without_hashes_gets_them_in_the_background(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text(MEMORY)
    check = BackgroundCheck.start([tmp_path])
    assert check.result() == {}
    while not (tmp_path / manifest.VERIFIED).exists():
        pass
    flip(tmp_path / "memory")
    assert "memory: wanted" in find_damage(tmp_path)


def test_what_is_not_there_is_not_due(tmp_path: Path) -> None:
    assert not is_due(tmp_path / "none")
    assert BackgroundCheck.start([tmp_path / "none"]).result() == {}


@pytest.mark.parametrize("from_disk", [False, True])
@pytest.mark.parametrize("end", [b"", b"end"])
def test_holes_count_as_the_zeros_that_they_read_as(tmp_path: Path, from_disk: bool, end: bytes) -> None:
    with (tmp_path / "memory").open("wb") as file:
        file.write(b"begin")
        file.seek(5 << 20)
        file.write(b"middle" + end)
        file.truncate(9 << 20)
    expected = hashlib.sha256((tmp_path / "memory").read_bytes()).hexdigest()
    assert file_sha256(tmp_path / "memory", from_disk=from_disk) == expected


def test_the_hashes_are_no_part_of_what_was_sealed(tmp_path: Path) -> None:
    (tmp_path / "disk").write_text("x")
    record.write_record(tmp_path, {})
    note_hashes(tmp_path)
    assert list(record.read_record(tmp_path)["files"]) == ["disk"]


# What an emulated board runs from


def test_a_damaged_state_is_found_in_the_background_and_removed(folder: Path) -> None:
    yesterday(folder)
    flip(folder / "memory")
    snapshot = SnapshotCheck.of([folder])
    found = snapshot.damage(again=False)
    assert list(found) == ["states/aa"]
    assert not folder.exists()
    assert snapshot.damage(again=True) == found  # as long as the board runs from it


def test_after_a_wrong_answer_it_is_hashed_again_but_for_what_was_whole_within_the_hour(folder: Path) -> None:
    snapshot = SnapshotCheck.of([folder])
    flip(folder / "memory")
    assert snapshot.damage(again=True) == {}
    os.utime(folder / manifest.VERIFIED, (0, 0))
    assert list(snapshot.damage(again=True)) == ["states/aa"]


def test_a_real_board_has_none() -> None:
    assert SnapshotCheck().damage(again=True) == {}
