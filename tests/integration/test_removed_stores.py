"""A store that somebody removes while it is used: that is no fault of the model's (issue 17)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.board import open_board
from harness.errors import DeviceError
from tests.support.sshd import BoardServer

from .boards import make_bundle, read_device, write_device


def test_what_was_removed_from_a_store_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    bundle = make_bundle(tmp_path / "bundle", [1000])
    with BoardServer() as server:
        write_device(tmp_path, server, device='store = "~/store"')
        with open_board(read_device(tmp_path)) as board:
            board.put(bundle)
            board.check_stored(bundle)
            shutil.rmtree(server.home / "store/bundles")
            with pytest.raises(DeviceError, match="was removed while it was used") as caught:
                board.check_stored(bundle)
            assert caught.value.found == f"no {bundle.name[:22]}"
            with pytest.raises(DeviceError, match="was removed while it was used"):
                board.put(bundle)
