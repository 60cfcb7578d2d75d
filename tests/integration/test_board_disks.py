"""Disks of a real board: too small, full, filling up, not ours. One clear error, and nothing half there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.agent.daemon import folders
from harness.board import open_board
from harness.device.device import Device
from harness.errors import DeploymentError, StorageError
from harness.protocol.daemon import Cleared
from tests.support.proxy import FlakyProxy
from tests.support.sshd import Board, BoardServer

from .boards import MIB, make_bundle, nothing_left, read_device, write_device

# What a connection takes beside the files: keys, the daemon's sources, requests.
OVERHEAD = MIB


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    """One board, with a small disk."""
    with BoardServer(Board(disks={"small": 64 * 1024})) as made:
        yield made


@pytest.fixture(autouse=True)
def clean(server: BoardServer) -> Iterator[None]:
    with nothing_left(server):
        yield
    server.run("rm -rf small/*")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def small(project: Path, server: BoardServer) -> Device:
    """Its store is on a disk of 64 MiB, of which 32 stay free."""
    write_device(project, server, device='store = "~/small/store"')
    return read_device(project)


def test_a_disk_that_is_too_small_is_found_before_a_byte_is_sent(
    small: Device, project: Path, server: BoardServer, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "large", [40 * MIB])
    with FlakyProxy(server.port) as proxy:
        write_device(project, server, [proxy.port], device='store = "~/small/store"')
        with open_board(read_device(project)) as board, pytest.raises(StorageError, match="too small") as caught:
            board.put(bundle)
        assert proxy.bytes_up < OVERHEAD
    assert caught.value.wanted == "72 MiB free"
    assert caught.value.found.startswith("64 MiB free")
    assert "small/store on board" in caught.value.where
    assert "store =" in caught.value.hint


def files_in(server: BoardServer, folder: str) -> list[str]:
    """As seen from inside: the small disk is not there for others."""
    return sorted(server.run(f"cd {folder} && find . -type f").stdout.split())


def check_full(error: StorageError, server: BoardServer) -> None:
    assert error.what == "the device's disk is full"
    assert "No space left on device" in error.found
    assert "MiB free" in error.found
    assert "small/store" in error.where
    assert "on board" in error.where
    assert "hilgate clean board" in error.hint
    assert files_in(server, "small/store") == ["./lock"]


def test_a_disk_that_fills_up_while_it_is_sent_to(small: Device, server: BoardServer, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "large", [24 * MIB])

    def fill(done: int, total: int) -> None:
        if done == 4 * MIB:
            server.run("head -c 50M /dev/zero > small/filler")

    with open_board(small) as board:
        with pytest.raises(StorageError) as caught:
            board.put(bundle, fill)
        check_full(caught.value, server)
        server.run("rm small/filler")
        board.put(bundle)
    assert "./artifacts" in " ".join(files_in(server, "small/store"))


def test_a_disk_that_is_too_small_for_what_is_unpacked(small: Device, server: BoardServer, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "large", [], [{"zeros": bytes(80 * MIB)}])
    (archive,) = bundle.runtime.archives
    understated = replace(bundle, runtime=replace(bundle.runtime, archives=(replace(archive, unpacked_bytes=0),)))
    with open_board(small) as board:
        with pytest.raises(StorageError) as caught:
            board.put(understated)
        error, left = caught.value, files_in(server, "small/store")
        assert [name for name in left if "artifacts" not in name] == ["./lock"]
        assert error.what == "the device's disk is full"
    with open_board(small) as board:
        assert board.notes == []
        board.put(make_bundle(tmp_path / "little", [1000]))


def test_a_full_disk_can_be_cleaned(small: Device, server: BoardServer, tmp_path: Path) -> None:
    with open_board(small) as board:
        board.put(make_bundle(tmp_path / "large", [20 * MIB]))
    server.run("cat /dev/zero > small/filler")
    with open_board(small) as board:
        assert board.request(Cleared).freed_bytes > 20 * MIB
    assert files_in(server, "small/store") == ["./lock"]


def test_what_is_not_used_makes_room(small: Device, server: BoardServer, tmp_path: Path) -> None:
    bundles = [make_bundle(tmp_path / f"{index}", [12 * MIB + index]) for index in range(3)]
    for bundle in bundles:
        with open_board(small) as board:
            board.put(bundle)
            assert bundle.name in board.entries
    assert bundles[0].name not in board.entries
    with open_board(small) as board:
        board.put(bundles[2])
        with pytest.raises(StorageError, match="too small"):
            board.put(make_bundle(tmp_path / "other", [25 * MIB]))
        assert bundles[2].name in board.entries
        assert not board.entries & {bundles[0].name, bundles[1].name}


def remove(path: Path) -> None:
    """Whatever its mode is."""
    for folder in (path, *path.glob("*")) if path.is_dir() else ():
        folder.chmod(0o755)
    folders.remove(str(path))


def no_folder(home: Path) -> None:
    (home / "store").write_text("a file")


def no_way(home: Path) -> None:
    (home / "store").mkdir()
    (home / "store").chmod(0o555)


def roots(home: Path) -> None:
    (home / "store/artifacts").mkdir(parents=True)
    (home / "store/artifacts").chmod(0o555)
    (home / "store").chmod(0o555)


@pytest.mark.parametrize(
    ("prepare", "store", "what"),
    [
        pytest.param(no_folder, "~/store", "a file is where a folder should be", id="a-file"),
        pytest.param(no_folder, "~/store/below", "a file is where a folder should be", id="below-a-file"),
        pytest.param(no_way, "~/store", "no permission", id="not-writable"),
        pytest.param(no_way, "~/store/below", "no permission", id="below-what-is-not-writable"),
        pytest.param(roots, "~/store", "no permission", id="somebody-elses"),
        pytest.param(lambda home: None, "/proc/store", "", id="no-file-system"),
    ],
)
def test_a_store_that_cannot_be_written(
    project: Path, server: BoardServer, prepare: Callable[[Path], None], store: str, what: str
) -> None:
    prepare(server.home)
    write_device(project, server, device=f'store = "{store}"')
    try:
        with pytest.raises((StorageError, DeploymentError)) as caught:
            open_board(read_device(project))
    finally:
        remove(server.home / "store")
    if what:
        assert isinstance(caught.value, StorageError)
        assert caught.value.what.startswith(what)
        assert "on board (" in caught.value.where
        assert str(server.home / "store") in caught.value.where
        assert "store =" in caught.value.hint
