"""What a run needs of a store, tried: nothing of it stays, and what is wrong is named."""

from __future__ import annotations

import errno
import mmap
from pathlib import Path

import pytest

from harness.agent.daemon import trial
from harness.agent.daemon.serve import _refusal
from harness.agent.daemon.store import Store


def content(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_store_that_is_not_there_yet_is_tried_and_is_not_there_after(tmp_path: Path) -> None:
    assert trial.try_store(f"{tmp_path}/a/b/store")
    assert content(tmp_path) == []


def test_a_store_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    Store.open(str(tmp_path / "store"))
    before = content(tmp_path)
    assert trial.try_store(str(tmp_path / "store"))
    assert content(tmp_path) == before


def test_a_file_that_must_not_be_executed_is_a_no_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> mmap.mmap:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(mmap, "mmap", forbidden)
    assert not trial.try_store(str(tmp_path / "store"))
    assert content(tmp_path) == []


def test_a_folder_that_cannot_be_made_leaves_nothing_of_those_above(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        trial.try_store(f"{tmp_path}/file/store")
    assert content(tmp_path) == [tmp_path / "file"]


def test_a_missing_home_is_said_to_be_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nobody")
    with pytest.raises(trial.NoHome) as caught:
        trial.try_store("~/.cache/hilgate")
    assert _refusal(caught.value, "")["no_home"]


def test_another_folder_that_cannot_be_made_is_no_missing_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nobody")
    with pytest.raises(OSError, match="/proc/other") as caught:
        trial.try_store("/proc/other/store")
    assert not _refusal(caught.value, "")["no_home"]
