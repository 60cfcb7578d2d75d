"""The store on a device, in a folder of this machine: entries are whole or not there, and it is bounded."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.agent.daemon import folders
from harness.agent.daemon import store as store_module
from harness.agent.daemon.receive import Receiver, adopt, can_be_linked
from harness.agent.daemon.store import Store

HARNESS = Path(folders.__file__).parents[2]
YEAR_S = 365 * 24 * 3600
ARTIFACT, RUNTIME, BUNDLE = "artifacts/aa", "runtimes/bb", "bundles/cc"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def arrived(store: Store, content: bytes) -> str:
    """A file that has come in; its hash."""
    sha256 = hashlib.sha256(content).hexdigest()
    Path(store.path("incoming", sha256)).write_bytes(content)
    return sha256


def archive(store: Store, **members: bytes) -> str:
    path = Path(store.root, "wheel")
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    content = path.read_bytes()
    path.unlink()
    return arrived(store, content)


def make(store: Store, entry: str, content: bytes = b"x" * 1000, **links: str) -> None:
    store.make(entry, {"model": arrived(store, content)}, [], {"folder/manifest": "{}"}, links)


@pytest.fixture
def filled(store: Store) -> Store:
    """An artifact, a runtime, and a bundle that leads to both."""
    make(store, ARTIFACT)
    store.make(RUNTIME, {}, [archive(store, module=b"1" * 500)], {}, {})
    make(store, BUNDLE, artifact=ARTIFACT, runtime=RUNTIME)
    return store


def entry_path(store: Store, name: str) -> Path:
    return Path(store.root, name)


def leftovers(store: Store) -> list[str]:
    """Whatever is neither an entry nor a file in one."""
    root = Path(store.root)
    hidden = [path for kind in ("artifacts", "runtimes", "bundles") for path in (root / kind).glob(".*")]
    return sorted(str(path.relative_to(root)) for path in [*hidden, *(root / "incoming").iterdir()])


def test_entries_are_made_of_what_came_in(filled: Store) -> None:
    assert filled.entries() == [ARTIFACT, RUNTIME, BUNDLE]
    assert (entry_path(filled, BUNDLE) / "artifact/model").read_bytes() == b"x" * 1000
    assert (entry_path(filled, BUNDLE) / "runtime/module").read_bytes() == b"1" * 500
    assert (entry_path(filled, BUNDLE) / "folder/manifest").read_text() == "{}"
    assert leftovers(filled) == []
    assert filled.tidy() == []


def test_two_files_of_one_content_come_as_one(store: Store) -> None:
    sha256 = arrived(store, b"same")
    store.make(ARTIFACT, {"a": sha256, "b/c": sha256}, [], {}, {})
    assert (entry_path(store, ARTIFACT) / "a").read_bytes() == b"same"
    assert (entry_path(store, ARTIFACT) / "b/c").read_bytes() == b"same"


def test_an_entry_that_is_there_is_replaced(filled: Store) -> None:
    make(filled, ARTIFACT, b"new")
    assert (entry_path(filled, ARTIFACT) / "model").read_bytes() == b"new"
    assert filled.tidy() == []


# Damage


def cut(folder: Path) -> None:
    os.truncate(folder / "model", 10)


def change(folder: Path) -> None:
    (folder / "model").write_bytes(b"y" * 1000)


def take_away(folder: Path) -> None:
    (folder / "folder/manifest").unlink()


def add(folder: Path) -> None:
    (folder / "folder/new").write_text("")


def unseal(folder: Path) -> None:
    (folder / folders.SEAL).unlink()


def break_seal(folder: Path) -> None:
    (folder / folders.SEAL).write_bytes(b"\xff\xfe")


def replace_by_file(folder: Path) -> None:
    folders.remove(str(folder))
    folder.write_text("")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(cut, id="cut-short"),
        pytest.param(change, id="changed"),
        pytest.param(take_away, id="a-file-removed"),
        pytest.param(add, id="a-file-added"),
        pytest.param(unseal, id="no-seal"),
        pytest.param(break_seal, id="another-seal"),
        pytest.param(replace_by_file, id="a-file-in-its-place"),
    ],
)
def test_what_was_damaged_is_removed_with_what_leads_to_it(filled: Store, damage: Callable[[Path], None]) -> None:
    damage(entry_path(filled, ARTIFACT))
    assert filled.tidy() == [ARTIFACT, BUNDLE]
    assert filled.entries() == [RUNTIME]
    assert leftovers(filled) == []


def test_a_bundle_whose_runtime_was_removed_is_damaged(filled: Store) -> None:
    folders.remove(str(entry_path(filled, RUNTIME)))
    assert filled.tidy() == [BUNDLE]


def test_what_is_trusted_is_not_looked_at_and_all_else_is(filled: Store) -> None:
    cut(entry_path(filled, ARTIFACT))
    (entry_path(filled, RUNTIME) / "module").unlink()
    assert filled.tidy([ARTIFACT]) == [RUNTIME, BUNDLE]
    assert filled.entries() == [ARTIFACT]


def test_whether_it_is_whole_is_not_a_question_of_when_it_was_used(filled: Store) -> None:
    filled.use(ARTIFACT)
    assert filled.tidy() == []


KILLED = f"""
import sys, time
sys.path.insert(0, {str(HARNESS)!r})
from agent.daemon import store
def stop(*_):
    print("here", flush=True)
    time.sleep(600)
setattr(sys.modules[sys.argv[3]] if sys.argv[3] in sys.modules else store, sys.argv[4], stop)
store.Store.open(sys.argv[1]).make({ARTIFACT!r}, {{"model": sys.argv[2]}}, [], {{"text": "x"}}, {{}})
"""


@pytest.mark.parametrize(
    ("module", "function"),
    [
        pytest.param("agent.daemon.store", "unpack", id="while-it-is-filled"),
        pytest.param("agent.daemon.store", "seal", id="before-it-is-sealed"),
        pytest.param("os", "sync", id="before-it-is-on-the-disk"),
    ],
)
def test_a_daemon_that_is_killed_leaves_no_entry(store: Store, module: str, function: str) -> None:
    command = [sys.executable, "-c", KILLED, store.root, arrived(store, b"model"), module, function]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
    assert store.entries() == []
    assert leftovers(store) != []
    assert store.tidy() == []
    assert leftovers(store) == []


def test_what_cannot_be_made_leaves_nothing(store: Store) -> None:
    (archive_, text) = arrived(store, b"no zip file"), {"text": "x"}
    with pytest.raises(zipfile.BadZipFile):
        store.make(RUNTIME, {}, [archive_], text, {})
    assert store.entries() == []
    assert leftovers(store) == [f"incoming/{archive_}"]


def test_a_full_disk_is_not_left_full(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.agent.daemon.store.unpack", full)
    with pytest.raises(OSError, match="No space"):
        store.make(RUNTIME, {}, [archive(store, module=b"")], {}, {})
    assert store.entries() == leftovers(store) == []


# Names


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("artifacts/../../x", id="up"),
        pytest.param("artifacts/..", id="the-store-itself"),
        pytest.param("agents/x", id="no-entry"),
        pytest.param("artifacts", id="a-kind"),
        pytest.param("artifacts/", id="no-name"),
        pytest.param("artifacts/a/b", id="in-an-entry"),
        pytest.param("artifacts/.x", id="hidden"),
        pytest.param("/etc/x", id="absolute"),
    ],
)
def test_a_name_that_is_no_entrys_is_refused(filled: Store, name: str) -> None:
    with pytest.raises(ValueError, match="no name of ours"):
        filled.make(name, {}, [], {}, {})
    with pytest.raises(ValueError, match="no name of ours"):
        filled.make("bundles/dd", {}, [], {}, {"x": name})
    assert filled.entries() == [ARTIFACT, RUNTIME, BUNDLE]
    assert leftovers(filled) == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "", "."])
def test_a_path_that_leads_out_of_an_entry_is_refused(store: Store, path: str) -> None:
    with pytest.raises(ValueError, match="no path of ours"):
        store.make(ARTIFACT, {}, [], {path: ""}, {})
    assert store.entries() == leftovers(store) == []


@pytest.mark.parametrize("name", ["../lock", "..", "", "a/b", "a\0"])
def test_a_hash_that_is_a_path_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="no name of ours"):
        store.make(ARTIFACT, {"model": name}, [], {}, {})


# Room


@pytest.mark.parametrize("clock_s", [pytest.param(0, id="right"), pytest.param(-YEAR_S, id="a-year-behind-meanwhile")])
def test_what_was_used_longest_ago_leaves_first(store: Store, clock_s: int) -> None:
    store.limit_bytes = 3500
    for name in "abc":
        make(store, f"artifacts/{name}")
        status = entry_path(store, f"artifacts/{name}").stat()
        os.utime(entry_path(store, f"artifacts/{name}"), (status.st_atime, status.st_mtime + clock_s))
        store.use(f"artifacts/{name}")
    for name in ("b", "a"):
        store.use(f"artifacts/{name}")
    store.used.clear()
    assert store.make_room(1000)["removed"] == ["artifacts/c"]
    make(store, "artifacts/d")
    store.use("artifacts/d")
    assert store.make_room(1000)["removed"] == ["artifacts/b"]


def test_what_was_used_when_the_clock_was_ahead_does_not_stay_for_ever(store: Store) -> None:
    for name in "ab":
        make(store, f"artifacts/{name}")
        store.use(f"artifacts/{name}")
    ahead = entry_path(store, "artifacts/a").stat().st_mtime + YEAR_S
    os.utime(entry_path(store, "artifacts/a"), (ahead, ahead))
    store.use("artifacts/b")
    store.used.clear()
    store.limit_bytes = 2500
    assert store.make_room(1000)["removed"] == ["artifacts/a"]


def test_what_this_run_uses_stays(filled: Store) -> None:
    filled.limit_bytes = 10
    filled.use(ARTIFACT)
    room = filled.make_room(10**6)
    assert room["removed"] == [RUNTIME, BUNDLE]
    assert filled.entries() == [ARTIFACT]
    assert room["needed_bytes"] == 10**6


def test_nothing_leaves_while_there_is_room(filled: Store) -> None:
    filled.limit_bytes = filled.used_bytes() + 1000  # far less than is on the disk: all entries are looked at
    assert filled.make_room(1000)["removed"] == []
    assert filled.make_room(1001)["removed"] != []


@pytest.mark.parametrize(
    ("free", "used", "examine_board"),
    [
        pytest.param(12_000, 5_000, False, id="within-half-of-what-is-free"),
        pytest.param(12_000, 5_001, True, id="beyond-half-of-what-is-free"),
        pytest.param(100_000, 9_000, False, id="within-the-limit"),
        pytest.param(100_000, 9_001, True, id="beyond-the-limit"),
        pytest.param(999, 0, True, id="no-room-on-the-disk"),
    ],
)
def test_where_all_that_is_on_the_disk_is_little_no_entry_is_looked_at(
    filled: Store, monkeypatch: pytest.MonkeyPatch, free: int, used: int, examine_board: bool
) -> None:
    looked = set[str]()

    def size_of(folder: str) -> int:
        looked.add(folder)
        return folders.size_of(folder)

    monkeypatch.setattr(store_module, "disk_use", lambda folder: (free, used))
    monkeypatch.setattr(store_module, "size_of", size_of)
    filled.limit_bytes = 10_000
    assert filled.make_room(1000)["removed"] == []
    assert looked == {filled.path("incoming"), *(map(filled.folder, filled.entries()) if examine_board else ())}


def test_what_has_come_already_need_not_come_again(store: Store) -> None:
    wanted, part = arrived(store, b"1" * 100), "ab"
    Path(store.path("incoming", f"{part}.part")).write_bytes(b"2" * 50)
    arrived(store, b"of a run that is over")
    assert store.make_room(1000, [wanted, part])["needed_bytes"] == 850
    assert leftovers(store) == [f"incoming/{name}" for name in sorted([f"{part}.part", wanted])]
    assert store.make_room(1000, [], near=300)["needed_bytes"] == 700


def test_results_of_earlier_runs_go(store: Store) -> None:
    for name in ("mine-1", "other-1"):
        Path(store.path("results", name)).write_text("")
    store.drop_results("mine")
    assert [path.name for path in Path(store.path("results")).iterdir()] == ["mine-1"]
    store.drop_results()
    assert [path.name for path in Path(store.path("results")).iterdir()] == []


# What comes in


def send(receiver: Receiver, content: bytes, sha256: str, offset: int = 0) -> None:
    rest = memoryview(content)[offset:]

    def read_into(view: memoryview) -> None:
        nonlocal rest
        view[:] = rest[: len(view)]
        rest = rest[len(view) :]

    receiver.file({"sha256": sha256, "offset": offset, "bytes": len(content)}, len(rest), read_into)


CONTENT = bytes(range(256)) * 10_000
SHA = hashlib.sha256(CONTENT).hexdigest()


def test_a_part_is_gone_on_with(store: Store) -> None:
    Path(store.path("incoming", f"{SHA}.part")).write_bytes(CONTENT[:1_500_000])
    receiver = Receiver(store.root)
    assert receiver.offer({SHA: len(CONTENT)}) == {SHA: 1_500_000}
    send(receiver, CONTENT, SHA, 1_500_000)
    assert receiver.wrong == {}
    assert Path(store.path("incoming", SHA)).read_bytes() == CONTENT
    assert receiver.offer({SHA: len(CONTENT)}) == {SHA: None}


def test_a_part_with_a_wrong_byte_is_found_and_removed(store: Store) -> None:
    Path(store.path("incoming", f"{SHA}.part")).write_bytes(b"!" + CONTENT[1:1000])
    receiver = Receiver(store.root)
    receiver.offer({SHA: len(CONTENT)})
    send(receiver, CONTENT, SHA, 1000)
    assert list(receiver.wrong) == [SHA]
    assert leftovers(store) == []
    assert receiver.offer({SHA: len(CONTENT)}) == {SHA: 0}


@pytest.mark.parametrize("content", [pytest.param(b"", id="empty"), pytest.param(bytes(len(CONTENT)), id="zeros")])
def test_a_file_that_a_power_cut_has_emptied_is_sent_anew(store: Store, content: bytes) -> None:
    Path(store.path("incoming", SHA)).write_bytes(content)
    assert Receiver(store.root).offer({SHA: len(CONTENT)}) == {SHA: 0}
    assert leftovers(store) == []


def test_a_part_that_is_longer_than_the_file_is_sent_anew(store: Store) -> None:
    Path(store.path("incoming", f"{SHA}.part")).write_bytes(CONTENT + b"more")
    receiver = Receiver(store.root)
    assert receiver.offer({SHA: len(CONTENT)}) == {SHA: 0}
    send(receiver, CONTENT, SHA)
    assert receiver.offer({SHA: len(CONTENT)}) == {SHA: None}


def test_a_part_that_fills_the_disk_is_removed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    receiver = Receiver(store.root)
    receiver.offer({SHA: len(CONTENT)})
    monkeypatch.setattr("harness.agent.daemon.receive.os.pwrite", full)
    with pytest.raises(OSError, match="No space"):
        send(receiver, CONTENT, SHA)
    assert leftovers(store) == []


# Files of this very machine


def test_a_near_file_gets_a_second_name(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.write_bytes(CONTENT)
    assert can_be_linked(store, str(source))
    for _ in range(2):  # the second time as after a run that was killed in between
        adopt(store, str(source), SHA)
        assert Path(store.path("incoming", SHA)).stat().st_ino == source.stat().st_ino


def other_file_system(tmp_path: Path) -> Path:
    """A folder that no hard link leads to."""
    folder = Path("/dev/shm")
    if not folder.is_dir() or folder.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system is all there is here")
    return folder / f"hilgate-{os.getpid()}"


def test_a_file_of_another_file_system_is_copied_and_verified(store: Store, tmp_path: Path) -> None:
    source = other_file_system(tmp_path)
    try:
        source.write_bytes(CONTENT)
        assert not can_be_linked(store, str(source))
        adopt(store, str(source), SHA)
        assert Path(store.path("incoming", SHA)).read_bytes() == CONTENT
        source.write_bytes(b"!" + CONTENT[1:])
        with pytest.raises(ValueError, match="not what was announced"):
            adopt(store, str(source), SHA)
        assert leftovers(store) == []
    finally:
        source.unlink(missing_ok=True)


def test_a_file_that_is_not_there_cannot_be_adopted(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        adopt(store, str(tmp_path / "absent"), SHA)
