"""A byte that a bad card changed: found before it is used, or before it becomes a verdict; never the model's fault."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.board import open_board
from harness.bundle import Bundle
from harness.device.device import Device
from tests.support.sshd import BoardServer

from .boards import MIB, make_bundle, nothing_left, read_device, stored, write_device
from .conftest import Outcome, Project

PATHS = [
    pytest.param("artifacts/*/file0", id="artifact"),
    pytest.param("runtimes/*/module.py", id="library"),
    pytest.param("bundles/*/agent/__main__.py", id="agent"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer() as made:
        yield made


@pytest.fixture
def device(tmp_path: Path, server: BoardServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_device(tmp_path, server, device='store = "~/store"')
    with nothing_left(server):
        yield read_device(tmp_path)
    server.run("rm -rf store")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle", [MIB, 1000], [{"module.py": b"x = 1\n"}], agent="x = 1\n")


def flip(path: Path, offset: int = 0, bit: int = 1) -> None:
    """Change a bit; size and time stay."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bit]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("path", PATHS)
def test_a_day_later_it_is_found_said_and_sent_again(
    device: Device, server: BoardServer, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    store = server.home / "store"
    with open_board(device) as board:
        board.put(bundle)
    monkeypatch.setattr("harness.board.store_check.today", lambda: "2126-01-01")
    (damaged,) = store.glob(path)
    flip(damaged)
    with open_board(device) as board:
        board.put(bundle)
        (note,) = board.notes
        assert f"{damaged.name}: wanted SHA-256" in note
        assert "sent again before it was used" in note
    with open_board(device) as board:
        board.put(bundle)
        assert board.notes == []
        assert board.verify(bundle) == {}
    assert stored(server.home, "store") == sorted(entry.name for entry in bundle.entries)


@pytest.mark.parametrize("path", PATHS[:1])
def test_where_something_went_wrong_it_is_found_on_the_same_day(
    device: Device, server: BoardServer, bundle: Bundle, path: str
) -> None:
    with open_board(device) as board:
        board.put(bundle)
        (damaged,) = (server.home / "store").glob(path)
        flip(damaged)
        board.put(bundle)
        assert board.notes == []  # nobody looks twice a day where nothing is wrong
        found = board.verify(bundle)
        assert any(damaged.name in wrong for wrong in found.values())
        assert not damaged.exists()
        board.put(bundle)
        assert board.verify(bundle) == {}


# Whole runs, on this machine: its store's files are the very files of the host's cache


def weights_of(folder: Path) -> tuple[Path, int]:
    """The stored artifact of the tiny model, and where its weights begin in it."""
    weights = np.linspace(-1, 1, 12, dtype=np.float32)[:3].tobytes()
    (path,) = (one for one in folder.rglob("*") if one.is_file() and weights in one.read_bytes())
    return path, path.read_bytes().index(weights)


def run(project: Project) -> Outcome:
    return project.finish(project.start("--backend", "onnxruntime", "-k", "parity or memory"), 300)


@pytest.mark.slow
def test_no_model_fails_or_passes_by_a_damaged_file(project: Project, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    project.environment["HILGATE_CACHE"] = str(cache)
    good = run(project)
    assert good.evidence["verdict"] == "PASS", good.output
    (store,) = (path.parent for path in cache.rglob("artifacts") if path.is_dir())

    # Weights: the answers are wrong.
    flip(*_weights(store))
    wrong = run(project)
    assert wrong.evidence["verdict"] == "INCONCLUSIVE", wrong.output
    assert "it ran on a file that was damaged" in wrong.output
    assert "run it again" in wrong.output
    assert any("removed: artifacts/" in note for note in wrong.evidence["cells"][0]["notes"])
    assert [check for check in wrong.evidence["cells"][0]["checks"] if check["verdict"] in ("PASS", "FAIL")] == []

    # The agent: it does not even start. It is sent again at once.
    (program,) = store.glob("bundles/*/agent/backend.py")
    flip(program, program.read_bytes().index(b"from __future__"), 0x08)  # nrom __future__
    died = run(project)
    assert died.evidence["verdict"] == "PASS", died.output
    assert any("backend.py: wanted SHA-256" in note for note in died.evidence["cells"][0]["notes"])


def _weights(store: Path) -> tuple[Path, int, int]:
    path, offset = weights_of(store / "artifacts")
    return path, offset + 3, 0x40  # of a float32 the exponent's highest bit
