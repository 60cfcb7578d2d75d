"""The runtime's archives between the moment at which they are collected and that at which they are unpacked."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.agent.unpack import unpack
from harness.errors import InputError
from harness.release import layout
from harness.release.layout import Laid, lay_out
from harness.release.parts import collect
from tests.support.small_bundle import SmallBundle

DAMAGED = "a part of the bundle that was tested is damaged in the cache: runtime"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))


def _lay_out(tmp_path: Path, *, before: Callable[[Path], object] = lambda archive: None) -> Laid:
    """Lay a bundle out whose first archive is changed after it was collected."""
    bundle = SmallBundle(tmp_path, "shipped")
    cell = bundle.cell()
    parts = collect(bundle.evidence, cell)
    before(parts.archives[0].path)
    (tmp_path / "net").mkdir()
    return lay_out(tmp_path / "net", parts, cell, b"{}", bundle.answers, bundle.facts())


def _swap(archive: Path) -> None:
    """Put another file in an archive's place; its own stays as it is, under another name."""
    archive.parent.rename(archive.parent.with_suffix(".away"))
    archive.parent.mkdir()
    archive.write_bytes(b"another")


@pytest.mark.parametrize(
    ("change", "found"), [(_swap, "SHA-256 "), (Path.unlink, "nothing")], ids=["swapped", "removed"]
)
def test_changed_before_it_is_unpacked(tmp_path: Path, change: Callable[[Path], object], found: str) -> None:
    with pytest.raises(InputError, match=DAMAGED) as told:
        _lay_out(tmp_path, before=change)
    assert (told.value.found or "").startswith(found)


def test_swapped_while_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was hashed is unpacked, whatever lies at its path by then."""
    places = list[Path]()

    def swapped(archives: list[str], folder: str) -> dict[str, str]:
        if places:
            _swap(places.pop())
        return unpack(archives, folder)

    monkeypatch.setattr(layout, "unpack", swapped)
    laid = _lay_out(tmp_path, before=places.append)
    assert places == []
    assert "runtime/tiny/__init__.py" in laid.hashes


def test_written_to_while_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = list[Path]()

    def written(archives: list[str], folder: str) -> dict[str, str]:
        hashes = unpack(archives, folder)
        os.utime(places[0])  # as a write does, to the time at which the file was changed
        return hashes

    monkeypatch.setattr(layout, "unpack", written)
    with pytest.raises(InputError, match="it was written to while it was unpacked"):
        _lay_out(tmp_path, before=places.append)


def test_damaged_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What zlib raises is no ValueError; the message names the archive, not our descriptor."""

    def raising(archives: list[str], folder: str) -> dict[str, str]:
        raise zlib.error(f"Error -3 in {archives[0]}")

    monkeypatch.setattr(layout, "unpack", raising)
    with pytest.raises(InputError, match=DAMAGED) as told:
        _lay_out(tmp_path)
    assert (told.value.found or "").startswith("Error -3 in tiny-1.0")
