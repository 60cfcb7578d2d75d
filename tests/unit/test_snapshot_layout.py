"""An emulated board's disk as it is laid out, and how a board that counts shows that it lives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.agent.daemon.folders import is_sealed
from harness.agent.daemon.store import Store
from harness.agent.daemon.verify import is_due
from harness.board.daemon_client import packed_sources
from harness.board.snapshot_build import _make_entry
from harness.bundle import BundleFile, Entry
from harness.device import load_device
from harness.host.cache import file_sha256
from harness.host.manifest import today
from harness.host.shipped import DEVICES


def test_the_board_does_not_hash_what_was_hashed_as_it_was_laid_out(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"m" * 5000)
    file = BundleFile(source, file_sha256(source), 5000)
    store = Store.open(str(tmp_path / "store"))
    entry = Entry(name="artifacts/aa", files={"model.onnx": file})
    _make_entry(store, entry)
    folder = store.folder(entry.name)
    assert is_sealed(folder)
    assert not is_due(folder, today())
    assert is_due(folder, "2026-01-01")


@pytest.mark.parametrize(("counting", "most_s"), [(True, 0.1), (False, None)])
def test_a_board_that_counts_shows_more_often_that_it_lives(counting: bool, most_s: float | None) -> None:
    """Its clock is slower than the host's by as much as instructions are emulated slowly."""
    packed = packed_sources(replace(load_device("qemu-pi4", (DEVICES,), []), counting=counting))
    size = int(packed[:8])
    arguments = json.loads(packed[16 + size :])
    assert arguments.get("sign_of_life_s") == most_s
