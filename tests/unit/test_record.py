"""A folder with a record: what was cut short or changed since is not used, and the message says what was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.emulator.record import RECORD, read_record, write_record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files and their record."""
    (tmp_path / "disk").write_bytes(b"x" * 1000)
    (tmp_path / "memory").write_bytes(b"y" * 10)
    write_record(tmp_path, {"device": "pi4"})
    return tmp_path


def test_a_record_has_what_its_maker_added(folder: Path) -> None:
    record = read_record(folder)
    assert (record["device"], sorted(record["files"])) == ("pi4", ["disk", "memory"])


def truncate(folder: Path) -> None:
    """As a copy that broke off does: the time of modification stays."""
    times = (folder / "disk").stat()
    os.truncate(folder / "disk", 999)
    os.utime(folder / "disk", ns=(times.st_atime_ns, times.st_mtime_ns))


def touch(folder: Path) -> None:
    later = int((folder / "memory").stat().st_mtime) + 1
    os.utime(folder / "memory", (later, later))


def write_content(text: str | bytes) -> Callable[[Path], object]:
    content = text if isinstance(text, bytes) else text.encode()
    return lambda folder: (folder / RECORD).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(truncate, "disk: wanted 1000 bytes, .*; found 999 bytes", id="a-file-cut-short"),
        pytest.param(touch, "memory: wanted .* last changed", id="a-file-written-to"),
        pytest.param(lambda folder: (folder / "disk").unlink(), "disk: .*no such file", id="a-file-removed"),
        pytest.param(lambda folder: (folder / RECORD).unlink(), "no record.json", id="no-record"),
        pytest.param(write_content(""), "record.json cannot be read", id="an-empty-record"),
        pytest.param(write_content('{"schema": 1, "fil'), "record.json cannot be read", id="half-a-record"),
        pytest.param(write_content(b"\xff\xfe"), "record.json cannot be read", id="no-text"),
        pytest.param(write_content("[]"), "record.json cannot be read", id="a-list"),
        pytest.param(write_content('{"schema": 1}'), "record.json cannot be read", id="a-record-without-files"),
        pytest.param(write_content('{"schema": 1, "files": {}}'), "names no files", id="a-record-of-nothing"),
        pytest.param(write_content('{"schema": 2, "files": {"disk": {}}}'), "another schema", id="another-schema"),
    ],
)
def test_what_is_not_what_was_sealed_is_an_error_that_says_why(
    folder: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(folder)
    with pytest.raises(ValueError, match=said):
        read_record(folder)


def test_a_folder_that_is_not_there_has_no_record(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no record"):
        read_record(tmp_path / "none")


def test_less_than_a_second_does_not_count(folder: Path) -> None:
    """Archives keep whole seconds."""
    for path in folder.iterdir():
        seconds = int(path.stat().st_mtime)
        os.utime(path, (seconds, seconds))
    read_record(folder)
