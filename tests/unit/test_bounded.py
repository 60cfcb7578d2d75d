"""The bounded caches: who leaves first, who stays, and that nobody ever meets half an entry."""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import harness.export
import harness.export.artifact_cache
import harness.host.cache
from harness.errors import InputError
from harness.export import export_artifact, write_record
from harness.host import bounded
from harness.host.bounded import GIB, cache_limit_bytes, locked, pin, prune, prune_caches
from harness.model.build import BuiltModel

ROOT = str(Path(__file__).parents[2])
Usage = namedtuple("Usage", "total used free")


def let_go() -> None:
    """As if the run had ended."""
    for descriptor in bounded._HELD.values():
        os.close(descriptor)
    bounded._HELD.clear()


@pytest.fixture(autouse=True)
def _nothing_stays_held(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test holds, it holds until its end."""
    monkeypatch.setattr(bounded, "_HELD", {})
    yield
    let_go()


def entry(store: Path, name: str, size: int = 100, age_s: float = 0) -> Path:
    """An entry with one file, last used so long ago."""
    folder = store / name
    folder.mkdir(parents=True)
    (folder / "x").write_bytes(bytes(size))
    used = time.time() - age_s
    os.utime(folder, (used, used))
    return folder


def names(store: Path) -> list[str]:
    """All that is there, hidden folders included, but the lock."""
    return sorted(path.name for path in store.iterdir() if path.name != ".lock")


START = """
import os, sys, time
from pathlib import Path
from harness.host import bounded
from harness.host.bounded import pin, prune
from harness.host.cache import new_entry
from tests.unit.test_bounded import let_go
folders = [Path(word) for word in sys.argv[1:]]
"""


def elsewhere(statement: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process that has run a statement on ``folders``, and goes on until its stdin is closed."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{START}{statement}\nprint('done', flush=True)\nsys.stdin.read()",
            *map(str, arguments),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, *sys.path])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    return process


# Who leaves


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        pytest.param(300, ["a", "b", "c"], id="as much as there is"),
        pytest.param(299, ["b", "c"], id="a byte less"),
        pytest.param(100, ["c"], id="one"),
        pytest.param(0, [], id="none"),
    ],
)
def test_the_least_recently_used_leave_until_the_rest_fits(tmp_path: Path, keep: int, left: list[str]) -> None:
    for name, age in {"c": 1, "a": 30, "b": 20}.items():
        entry(tmp_path, name, age_s=age)
    removed = prune(tmp_path, keep)
    assert names(tmp_path) == left
    assert [path.name for path in removed] == [name for name in "abc" if name not in left]


def test_an_entry_that_is_used_again_is_the_last_to_leave(tmp_path: Path) -> None:
    for name, age in {"a": 30, "b": 20, "c": 10}.items():
        entry(tmp_path, name, age_s=age)
    process = elsewhere("pin(folders[0])", tmp_path / "a")
    process.communicate()  # it has ended: "a" is held no more
    prune(tmp_path, 100)
    assert names(tmp_path) == ["a"]


def test_several_stores_share_one_limit(tmp_path: Path) -> None:
    for store, name, age in (("s", "a", 40), ("t", "b", 30), ("s", "c", 20), ("t", "d", 10)):
        entry(tmp_path / store, name, age_s=age)
    prune([tmp_path / "s", tmp_path / "t", tmp_path / "none"], 200)
    assert (names(tmp_path / "s"), names(tmp_path / "t")) == (["c"], ["d"])


def test_a_file_of_two_names_counts_once(tmp_path: Path) -> None:
    first, second = entry(tmp_path, "a", age_s=20), entry(tmp_path, "b", age_s=10)
    (second / "x").unlink()
    (second / "x").hardlink_to(first / "x")
    (second / "y").hardlink_to(first / "x")
    os.utime(second, (time.time() - 10, time.time() - 10))
    assert prune(tmp_path, 100) == []
    assert prune(tmp_path, 99) == [first, second]  # without the first, nothing is gained yet


@pytest.mark.parametrize(
    ("name", "age_s", "stays"),
    [
        pytest.param(".filling-1", 3600, True, id="one-that-is-being-filled"),
        pytest.param(".filling-2", 25 * 3600, False, id="one-that-was-never-finished"),
        pytest.param(".evicted-1", 0, False, id="one-whose-removal-was-never-finished"),
    ],
)
def test_hidden_folders_are_no_entries(tmp_path: Path, name: str, age_s: float, stays: bool) -> None:
    folder = entry(tmp_path, name, age_s=age_s)
    assert prune(tmp_path, 0) == []
    assert folder.exists() is stays


def test_what_is_no_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "set.json").write_text("{}")
    (tmp_path / "store" / "link").symlink_to(entry(tmp_path, "other"))
    assert prune(tmp_path / "store", 0) == []
    assert names(tmp_path / "store") == ["link", "set.json"]


def test_runs_prune_one_after_the_other(tmp_path: Path) -> None:
    """At once, each would make the room that the other makes."""
    entry(tmp_path, "a")
    second = threading.Thread(target=prune, args=(tmp_path, 0))
    with locked(tmp_path):
        second.start()
        second.join(0.3)
        assert second.is_alive()
        assert names(tmp_path) == ["a"]
    second.join(60)
    assert names(tmp_path) == []


def test_a_store_that_is_not_there_or_cannot_be_changed_fails_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prune(tmp_path / "none", 0) == []
    assert not (tmp_path / "none").exists()
    folder = entry(tmp_path, "a")

    def refuse(*_: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        assert prune(tmp_path, 0) == []
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").mkdir()  # for root, too, this is no file to write to
    assert prune(tmp_path, 0) == []
    assert folder.exists()


# Who stays


def test_what_another_process_holds_stays_until_that_ends(tmp_path: Path) -> None:
    folder = entry(tmp_path, "a", age_s=30)
    entry(tmp_path, "b", age_s=20)
    process = elsewhere("pin(folders[0])", folder)
    assert [path.name for path in prune(tmp_path, 0)] == ["b"]
    process.kill()
    process.communicate()
    assert prune(tmp_path, 0) == [folder]


def test_what_this_process_holds_stays_however_often_it_is_held(tmp_path: Path) -> None:
    folder = entry(tmp_path, "a", age_s=30)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert [pin(folder) for _ in range(3)] == [True] * 3
    assert len(os.listdir("/proc/self/fd")) == before + 1  # noqa: PTH208
    assert prune(tmp_path, 0) == []
    assert time.time() - folder.stat().st_mtime < 10


def test_a_folder_held_before_it_has_its_name_is_held_under_it(tmp_path: Path) -> None:
    work = entry(tmp_path, ".work")
    assert pin(work)
    work.rename(tmp_path / "a")
    assert prune(tmp_path, 0) == []


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: None, id="nothing"),
        pytest.param(lambda path: path.write_text("x"), id="a-file"),
    ],
)
def test_what_is_not_there_cannot_be_held(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a")
    assert not pin(tmp_path / "a")


@pytest.mark.parametrize(
    "anew", [pytest.param(False, id="and-is-gone"), pytest.param(True, id="and-another-is-in-its-place")]
)
def test_an_entry_that_is_evicted_while_it_is_being_taken_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    folder, real = entry(tmp_path, "a"), fcntl.flock

    def evicted_first(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        assert prune(tmp_path, 0) == [folder]
        if anew:
            entry(tmp_path, "a")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", evicted_first)
    assert not pin(folder)
    assert pin(folder) is anew


USER = """
while not folders[1].exists(): time.sleep(0.01)
for turn in range(60):
    folder = folders[0] / str((turn + os.getpid()) % 7)
    while not pin(folder):
        with new_entry(folder) as work:
            for name in "xyz":
                (work / name).write_bytes(bytes(100))
    for _ in range(2):
        assert sorted(os.listdir(folder)) == ["x", "y", "z"], os.listdir(folder)
        prune(folders[0], 600)
    let_go()
"""


def test_runs_that_make_use_and_evict_at_once_never_meet_half_an_entry(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, *sys.path])}
    command = [sys.executable, "-c", START + USER, str(tmp_path / "store"), str(tmp_path / "go")]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(4)]
    (tmp_path / "go").touch()
    assert [run.communicate(timeout=60)[1] for run in runs] == [""] * 4
    prune(tmp_path / "store", 600)
    assert len(names(tmp_path / "store")) == 2


# How much


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no limit in the environment."""
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HILGATE_CACHE_GIB", raising=False)
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        pytest.param("3", 3 * GIB, id="whole"),
        pytest.param("0.5", GIB // 2, id="part"),
        pytest.param("1e3", 1000 * GIB, id="more-than-there-is"),
    ],
)
def test_the_user_may_say_how_much(cache: Path, monkeypatch: pytest.MonkeyPatch, text: str, limit: int) -> None:
    monkeypatch.setenv("HILGATE_CACHE_GIB", text)
    assert cache_limit_bytes() == limit


@pytest.mark.parametrize("text", ["0", "-1", "20 GiB", "nan", "inf", " "])
def test_a_limit_that_is_none_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HILGATE_CACHE_GIB", text)
    with pytest.raises(InputError) as caught:
        cache_limit_bytes()
    assert caught.value.found == repr(text)
    assert all([caught.value.wanted, "HILGATE_CACHE_GIB" in caught.value.where, caught.value.hint])


@pytest.mark.parametrize(
    ("free", "used", "limit"),
    [
        pytest.param(1000 * GIB, 0, 20 * GIB, id="a-large-disk"),
        pytest.param(40 * GIB - 2, 0, 20 * GIB - 1, id="a-small-disk"),
        pytest.param(600, 200, 400, id="what-is-used-could-be-free"),
        pytest.param(0, 200, 100, id="a-full-disk"),
    ],
)
def test_by_default_it_is_20_gib_or_half_of_what_there_is(
    cache: Path, monkeypatch: pytest.MonkeyPatch, free: int, used: int, limit: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free))
    if used:
        entry(cache / "exports", "a", used // 2)
        entry(cache / "wheels/files", "b", used // 2)
        entry(cache / "store", "c", 10_000)
        bounded.register(cache / "exports")
        bounded.register(cache / "wheels/files")
    assert cache_limit_bytes() == limit


def test_a_store_is_bounded_from_the_first_hold_on_and_nothing_else(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = ("exports", "wheels/files", "store", "bytecode")
    for store in stores:
        entry(cache / store, "a")
    for store in stores[:2]:
        assert pin(cache / store / "a")
    let_go()
    monkeypatch.setattr(bounded, "cache_limit_bytes", lambda: 0)
    prune_caches()
    assert [names(cache / store) for store in stores] == [[], [], ["a"], ["a"]]


def test_neither_the_cache_itself_nor_a_folder_elsewhere_becomes_a_store(cache: Path, tmp_path: Path) -> None:
    for folder in (entry(cache, "a"), entry(tmp_path / "elsewhere", "b"), entry(cache / "wheels/files", "c")):
        assert pin(folder)
    (cache / bounded.REGISTRY / "..%2Felsewhere").touch()
    assert bounded.registered_stores() == [cache / "wheels/files"]


# Exports


@pytest.fixture
def export(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], harness.export.Artifact]:
    """Exports under a key: the file of an artifact is its key, a hundred times."""
    monkeypatch.setattr(bounded, "cache_limit_bytes", lambda: 150)
    monkeypatch.setattr(harness.export.artifact_cache, "export_key", lambda built, *_: built.key)

    def work(built: Any, artifact_format: str, folder: Path, given: None) -> None:
        (folder / "model.pt").write_text(built.key * 100)
        write_record(folder, artifact_format, ["model.pt"], "a test", [])

    monkeypatch.setattr(harness.export.artifact_cache, "run_worker", work)
    said = {"model": SimpleNamespace(files={}), "file": SimpleNamespace(path=Path("model.py"))}
    return lambda key: export_artifact(cast("BuiltModel", SimpleNamespace(key=key, **said)), "torchscript")


def test_a_new_export_makes_others_leave_but_for_those_of_this_run(
    cache: Path, export: Callable[[str], harness.export.Artifact]
) -> None:
    entry(cache / "exports", "old", age_s=30)
    for key in "ab":
        assert not export(key).cached
    assert names(cache / "exports") == ["a", "b"]
    let_go()
    export("c")
    assert names(cache / "exports") == ["c"]


def test_a_new_export_is_held_from_the_moment_it_is_there(
    cache: Path, export: Callable[[str], harness.export.Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = harness.host.cache._publish

    def published_while_another_prunes(work: Path, final: Path) -> None:
        publish(work, final)
        assert prune(cache / "exports", 0) == []

    monkeypatch.setattr(harness.host.cache, "_publish", published_while_another_prunes)
    assert export("a").folder.is_dir()


def test_an_export_from_the_cache_is_held(cache: Path, export: Callable[[str], harness.export.Artifact]) -> None:
    export("a")
    let_go()
    assert export("a").cached
    assert prune(cache / "exports", 0) == []


def test_an_export_that_leaves_just_as_it_is_found_is_made_anew(
    cache: Path, export: Callable[[str], harness.export.Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export("a").folder
    let_go()
    real = fcntl.flock

    def evicted_first(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        assert prune(cache / "exports", 0) == [folder]
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", evicted_first)
    again = export("a")
    assert (again.cached, again.folder) == (False, folder)
    assert prune(cache / "exports", 0) == []


def test_an_export_of_a_quicker_run_that_has_left_again_is_made_anew(
    cache: Path, export: Callable[[str], harness.export.Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run publishes first, ends, and its export is evicted before this run can hold it."""
    publish = harness.host.cache._publish

    def too_late(_work: Path, _final: Path) -> None:
        monkeypatch.setattr(harness.host.cache, "_publish", publish)

    monkeypatch.setattr(harness.host.cache, "_publish", too_late)
    assert export("a").folder == cache / "exports/a"
    assert names(cache / "exports") == ["a"]
