"""Archives that are made here: once, the same each time, and anew where one is damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.bundle.archive import Archive, Packer, provide_archive
from harness.errors import BackendError
from harness.host.cache import file_sha256


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def filled(cache: Path, calls: list[int]) -> Archive:
    def fill(packer: Packer, work: Path) -> Mapping[str, Any]:
        calls.append(len(list(work.iterdir())))
        packer.add("a/text", b"content")
        return {"noted": 1}

    return provide_archive("things", "key", "name", fill)


def test_an_archive_is_made_once_in_an_empty_folder(cache: Path) -> None:
    calls: list[int] = []
    assert filled(cache, calls) == filled(cache, calls)
    assert calls == [0]


@pytest.mark.parametrize("damage", ["archive", "record", "another-schema", "no-archive"])
def test_an_archive_that_is_damaged_is_made_anew(cache: Path, damage: str) -> None:
    calls: list[int] = []
    made = filled(cache, calls)
    record = cache / "things" / "sets" / "key.json"
    entry = json.loads(record.read_text())
    if damage == "archive":
        made.source.write_bytes(b"PK")
    elif damage == "no-archive":
        shutil.rmtree(made.source.parent)
    else:
        record.write_text("{" if damage == "record" else json.dumps({**entry, "schema": 0}))
    again = filled(cache, calls)
    assert (again, len(calls)) == (made, 2)
    assert file_sha256(again.source) == again.sha256
    assert json.loads(record.read_text()) == entry
    assert sorted(path.name for path in (cache / "things").iterdir()) == ["files", "sets"]


def test_what_cannot_be_made_leaves_nothing(cache: Path) -> None:
    def fill(packer: Packer, work: Path) -> Mapping[str, Any]:
        packer.add("a/text", b"content")
        raise BackendError("no")

    with pytest.raises(BackendError, match="no"):
        provide_archive("things", "key", "name", fill)
    assert list((cache / "things" / "files").iterdir()) == []
