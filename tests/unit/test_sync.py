"""Waiting until what was written is on the disk: of one file system, not of the whole machine."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.host.sync import sync_file_system


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Name what was called in place of the whole machine's."""
    made: list[str] = []
    monkeypatch.setattr(os, "sync", lambda: made.append("sync"))
    return made


def _libc(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(**functions))


def test_syncfs_of_the_folder(tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def syncfs(descriptor: int) -> int:
        calls.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        return 0

    _libc(monkeypatch, syncfs=syncfs)
    sync_file_system(tmp_path)
    assert calls == [str(tmp_path)]


def test_libc_without_it(tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _libc(monkeypatch)
    sync_file_system(tmp_path)
    assert calls == ["sync"]


def test_disk_that_does_not_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told as an error, where sync would say nothing: the release is then not published."""
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EIO)
    _libc(monkeypatch, syncfs=lambda descriptor: -1)
    with pytest.raises(OSError, match=r"Input/output error") as raised:
        sync_file_system(tmp_path)
    assert raised.value.errno == errno.EIO


def test_this_machine_has_it(calls: list[str]) -> None:
    """The real call, on a file system that has nothing to write."""
    sync_file_system(Path("/proc"))
    assert calls == []
