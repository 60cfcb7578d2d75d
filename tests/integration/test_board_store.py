"""The store on a real board: what is sent arrives whole or not at all, and every fault is one clear error."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.board import Board as OpenBoard
from harness.board import open_board
from harness.bundle import Bundle
from harness.device.device import Device, Runtime
from harness.errors import BackendError, DeploymentError, StorageError
from harness.links import Channel
from tests.support.proxy import FlakyProxy
from tests.support.pythons import PYTHONS
from tests.support.sshd import BoardServer

from .boards import MIB, make_bundle, nothing_left, read_device, stored, wait_for, write_device

# What a connection takes beside the files: keys, the daemon's sources, requests.
OVERHEAD = MIB
# So many zeros are packed to next to nothing, and take a daemon a second to unpack and hash.
LONG = 128 * MIB


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer() as made:
        yield made


@pytest.fixture(autouse=True)
def clean(server: BoardServer) -> Iterator[None]:
    with nothing_left(server):
        yield
    server.run("rm -rf store")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def device(project: Path, server: BoardServer) -> Device:
    write_device(project, server, device='store = "~/store"')
    return read_device(project)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle", [MIB, 1000], [{"module.py": b"x = 1\n"}, {"package/data": bytes(5000)}])


def whole(bundle: Bundle) -> list[str]:
    """What a store holds that holds this bundle and nothing else."""
    return sorted(entry.name for entry in bundle.entries)


def own(server: BoardServer, path: Path) -> None:
    """Give to the board's user what was made from outside."""
    for each in (path, *path.parents):
        if each == server.home:
            break
        os.chown(each, server.uid, -1)


def test_a_bundle_is_sent_once(device: Device, project: Path, server: BoardServer, bundle: Bundle) -> None:
    with FlakyProxy(server.port) as proxy:
        write_device(project, server, [proxy.port], device='store = "~/store"')
        sent = []
        for _ in range(2):
            before = proxy.bytes_up
            with open_board(device) as board:
                board.put(bundle)
                assert board.notes == []
            sent.append(proxy.bytes_up - before)
    assert sent[1] < OVERHEAD // 2 < MIB < sent[0] < MIB + OVERHEAD
    assert stored(server.home, "store") == whole(bundle)
    path = server.home / "store" / bundle.name
    assert (path / "artifact/file0").read_bytes() == bundle.artifact["file0"].source.read_bytes()
    assert (path / "runtime/module.py").read_text() == "x = 1\n"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda store: os.truncate(next(store.glob("artifacts/*/file0")), 100), id="cut-short"),
        pytest.param(lambda store: next(store.glob("runtimes/*/module.py")).write_text("x = 2\n"), id="changed"),
        pytest.param(lambda store: next(store.glob("artifacts/*/file1")).unlink(), id="a-file-removed"),
        pytest.param(lambda store: next(store.glob("bundles/*/agent")).joinpath("new").write_text(""), id="added"),
        pytest.param(lambda store: shutil.rmtree(next(store.glob("runtimes/*"))), id="a-runtime-removed"),
    ],
)
def test_what_was_damaged_is_sent_anew(
    device: Device, server: BoardServer, bundle: Bundle, damage: Callable[[Path], None]
) -> None:
    with open_board(device) as board:
        board.put(bundle)
    damage(server.home / "store")
    with open_board(device) as board:
        assert "had been changed and was removed" in board.notes[0]
        board.put(bundle)
    with open_board(device) as board:
        assert board.notes == []
    assert stored(server.home, "store") == whole(bundle)


def test_a_daemon_that_is_killed_while_it_makes_an_entry(device: Device, server: BoardServer, tmp_path: Path) -> None:
    large = make_bundle(tmp_path / "large", [1000], [{"zeros": bytes(LONG)}])  # little to send, long to unpack
    runtimes = server.home / "store/runtimes"
    with open_board(device) as board:

        def interfere() -> None:
            wait_for(lambda: next(runtimes.glob(".*"), None))
            pid = daemon_pid(server)
            os.kill(pid, signal.SIGSTOP)
            half_made = [path.name for path in runtimes.glob("*")]
            os.kill(pid, signal.SIGKILL)
            assert [name[0] for name in half_made] == ["."]

        with ThreadPoolExecutor() as pool:
            interference = pool.submit(interfere)
            board.put(large)
            interference.result()
        assert [note for note in board.notes if "dropped and was made again" in note]
    assert stored(server.home, "store") == whole(large)


def daemon_pid(server: BoardServer) -> int:
    """The pid of the daemon that has the lock."""
    pid = server.outside_pid(json.loads((server.home / "store/lock").read_text())["pid"])
    assert pid is not None
    return pid


# Uploads


def test_an_upload_that_was_cut_is_gone_on_with(project: Path, server: BoardServer, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "large", [24 * MIB])
    with FlakyProxy(server.port) as proxy:
        write_device(project, server, [proxy.port], device='store = "~/store"')
        with open_board(read_device(project)) as board:
            proxy.drop_after(16 * MIB)
            seen: list[tuple[int, int]] = []
            board.put(bundle, lambda done, total: seen.append((done, total)))
            assert len(board.notes) == 1
        assert 24 * MIB < proxy.bytes_up < 30 * MIB
    assert seen[-1] == (24 * MIB, 24 * MIB)
    assert stored(server.home, "store") == whole(bundle)


def test_the_next_run_goes_on_with_what_a_killed_one_sent(project: Path, server: BoardServer, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "large", [8 * MIB])
    sha256 = bundle.artifact["file0"].sha256
    incoming = server.home / "store/incoming"
    incoming.mkdir(parents=True)
    (incoming / f"{sha256}.part").write_bytes(bundle.artifact["file0"].source.read_bytes()[: 6 * MIB])
    (incoming / "anothers.part").write_bytes(b"nobody asks for it any more")
    for path in incoming.iterdir():
        own(server, path)
    with FlakyProxy(server.port) as proxy:
        write_device(project, server, [proxy.port], device='store = "~/store"')
        with open_board(read_device(project)) as board:
            board.put(bundle)
        assert proxy.bytes_up < 2 * MIB + OVERHEAD
    assert stored(server.home, "store") == whole(bundle)


def test_a_part_with_a_wrong_byte_is_sent_anew(device: Device, server: BoardServer, bundle: Bundle) -> None:
    incoming = server.home / "store/incoming"
    incoming.mkdir(parents=True)
    part = incoming / f"{bundle.artifact['file0'].sha256}.part"
    part.write_bytes(bytes(1000))
    own(server, part)
    with open_board(device) as board:
        board.put(bundle)
        assert "sent anew" in board.notes[0]
    assert stored(server.home, "store") == whole(bundle)


def test_a_file_that_is_not_what_it_was_is_an_error(device: Device, server: BoardServer, bundle: Bundle) -> None:
    bundle.artifact["file0"].source.write_bytes(bytes(MIB))
    with open_board(device) as board:
        with pytest.raises(DeploymentError, match="not what was sent"):
            board.put(bundle)
        assert [name for name in stored(server.home, "store") if name.startswith(("artifacts", "bundles"))] == []


def test_a_file_that_is_gone_is_an_error(device: Device, bundle: Bundle) -> None:
    bundle.artifact["file0"].source.unlink()
    with open_board(device) as board, pytest.raises(StorageError, match="cannot be read"):
        board.put(bundle)


def test_a_model_that_is_larger_than_the_memory_is_refused(device: Device, bundle: Bundle) -> None:
    with open_board(device) as board:
        board.lease.known = board.facts.model_copy(update={"memory_mib": 1})
        with pytest.raises(BackendError, match="does not fit into the memory"):
            board.put(bundle)


# This machine as a device


AGENT = """
import sys
sys.stdout.write("hello")
sys.stdout.flush()
sys.stdin.read()
"""


def local(path: Path, store: Path, python: str) -> Device:
    runtime = Runtime(python=python, packages=("numpy==2.4.6",))
    return Device(
        name="here",
        path=path,
        description="",
        link="local",
        backends=("onnxruntime",),
        store=str(store),
        runtime=runtime,
    )


@pytest.mark.parametrize("python", [pytest.param(program, id=name) for name, program in PYTHONS.items()])
def test_a_local_board_takes_files_by_their_names(tmp_path: Path, python: str) -> None:
    bundle = make_bundle(tmp_path / "bundle", [MIB], [{"module.py": b"x = 1\n"}], agent=AGENT)
    device = local(tmp_path / "here.toml", tmp_path / "store", python)
    with open_board(device) as board:
        board.put(bundle)
        path = tmp_path / "store" / bundle.name
        assert (path / "artifact/file0").stat().st_ino == bundle.artifact["file0"].source.stat().st_ino
        assert hello(board, bundle).finish(5) == 0
        (tmp_path / "store/results" / board.result_name()).write_bytes(b"a frame")
        assert board.collect(f"{board.lease.run}-1", 0) == b"a frame"
        assert board.collect(f"{board.lease.run}-2", 0) is None
    assert stored(tmp_path, "store") == whole(bundle)
    with open_board(device) as board:
        assert board.notes == []
        assert board.entries == set(whole(bundle))


def hello(board: OpenBoard, bundle: Bundle) -> Channel:
    channel = board.start(bundle)
    assert channel.receive(5, time.monotonic() + 20) == b"hello"
    return channel


def test_a_local_board_on_another_file_system_copies(tmp_path: Path) -> None:
    far = Path("/dev/shm")
    if not far.is_dir() or far.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system is all there is here")
    bundle = make_bundle(tmp_path / "bundle", [MIB])
    store = far / f"hilgate-{os.getpid()}"
    try:
        with open_board(local(tmp_path / "here.toml", store, PYTHONS["this"])) as board:
            board.put(bundle)
        copy = store / bundle.name / "artifact/file0"
        assert copy.read_bytes() == bundle.artifact["file0"].source.read_bytes()
        assert copy.stat().st_nlink == 1
    finally:
        shutil.rmtree(store)
