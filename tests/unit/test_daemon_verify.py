"""What is stored, hashed again: a byte that changed with size and time as they were is found, and said (issue 17)."""

from __future__ import annotations

import hashlib
import itertools
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.agent.daemon.folders import HASHES, SEAL, VERIFIED, hash_file, is_sealed, remove
from harness.agent.daemon.store import Store
from harness.agent.daemon.verify import Verification, note_day, verify

ARTIFACT, RUNTIME, BUNDLE = "artifacts/aa", "runtimes/bb", "bundles/cc"
EVERYTHING = [ARTIFACT, RUNTIME, BUNDLE]
TODAY, TOMORROW = "2026-01-01", "2026-01-02"


def arrived(store: Store, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    Path(store.path("incoming", sha256)).write_bytes(content)
    return sha256


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A bundle with its artifact and runtime, all made today."""
    made = Store.open(str(tmp_path / "store"))
    with zipfile.ZipFile(tmp_path / "wheel", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("pkg/library.so", bytes(100_000))
        file.writestr("pkg/__init__.py", b"x = 1\n")
    wheel = arrived(made, (tmp_path / "wheel").read_bytes())
    made.make(ARTIFACT, {"model": arrived(made, b"m" * 5000)}, [], {}, {})
    made.make(RUNTIME, {}, [wheel], {}, {})
    made.make(BUNDLE, {}, [], {"agent/a.py": "y = 1\n"}, {"artifact": ARTIFACT, "runtime": RUNTIME})
    for entry in EVERYTHING:
        note_day(made.folder(entry), TODAY)
    return made


def flip(path: Path, offset: int = 0) -> None:
    """Change one bit as a bad card does: size and time stay."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def found(store: Store, day: str = TOMORROW, *, again: bool = False) -> dict[str, str]:
    return Verification(store, EVERYTHING, day, again=again).slice()


@pytest.mark.parametrize("again", [False, True])
def test_what_is_whole_stays_and_is_not_read_again_that_day(store: Store, again: bool) -> None:
    assert found(store, again=again) == {}
    assert store.entries() == EVERYTHING
    assert store.tidy() == []
    assert Verification(store, EVERYTHING, TOMORROW, again=False).entries == []


def test_what_was_made_today_is_not_read_again_today(store: Store) -> None:
    assert Verification(store, EVERYTHING, TODAY, again=False).entries == []
    assert Verification(store, EVERYTHING, TODAY, again=True).entries == EVERYTHING


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        pytest.param(f"{ARTIFACT}/model", {ARTIFACT, BUNDLE}, id="weights"),
        pytest.param(f"{RUNTIME}/pkg/library.so", {RUNTIME, BUNDLE}, id="library"),
        pytest.param(f"{RUNTIME}/pkg/__init__.py", {RUNTIME, BUNDLE}, id="source"),
        pytest.param(f"{BUNDLE}/agent/a.py", {BUNDLE}, id="agent"),
    ],
)
@pytest.mark.parametrize("again", [pytest.param(False, id="the-next-day"), pytest.param(True, id="after-an-answer")])
def test_one_bit_is_found_and_what_it_is_in_removed(store: Store, path: str, gone: set[str], again: bool) -> None:
    flip(Path(store.root, path), 3)
    assert store.tidy() == []  # sizes and times say nothing
    damaged = found(store, TODAY if again else TOMORROW, again=again)
    assert set(damaged) == gone
    entry = "/".join(path.split("/")[:2])
    assert damaged[entry].startswith(f"{path.removeprefix(entry + '/')}: wanted SHA-256 ")
    assert set(store.entries()) == set(EVERYTHING) - gone
    assert store.tidy() == []


def cut_hashes(folder: Path) -> None:
    flip(folder / HASHES, 5)


def unread(folder: Path) -> None:
    (folder / HASHES).write_bytes(b"\xff")


def without_hashes(folder: Path) -> None:
    (folder / HASHES).unlink()


def resized(folder: Path) -> None:
    (folder / "model").write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_hashes, unread, without_hashes, resized, lambda folder: remove(str(folder))])
def test_an_entry_that_cannot_be_vouched_for_is_removed(store: Store, damage: Callable[[Path], None]) -> None:
    damage(Path(store.folder(ARTIFACT)))
    assert set(found(store)) == {ARTIFACT, BUNDLE}
    assert store.entries() == [RUNTIME]


def test_the_day_is_no_part_of_what_was_sealed(store: Store) -> None:
    (Path(store.folder(ARTIFACT)) / VERIFIED).unlink()
    assert store.is_intact(ARTIFACT)
    assert Verification(store, [ARTIFACT], TODAY, again=False).entries == [ARTIFACT]


def test_it_goes_on_where_its_time_was_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("harness.agent.daemon.verify.time.monotonic", lambda: float(next(clock)))
    flip(Path(store.folder(BUNDLE), "agent/a.py"))
    verification, read = Verification(store, EVERYTHING, TOMORROW, again=False), list[int]()
    damaged = dict[str, str]()
    while verification.entries:
        damaged |= verification.slice(limit_s=2)
        read.append(verification.hashed)
    assert list(damaged) == [BUNDLE]
    assert read[-1] == 100_000 + 5000 + 6 + 6  # each file once
    assert len(read) > 2


def test_a_host_asks_until_nothing_is_left(store: Store) -> None:
    flip(Path(store.folder(RUNTIME), "pkg/library.so"))
    verification, reply = verify(None, store, entries=EVERYTHING, day=TOMORROW, again=False)
    assert (set(reply["damaged"]), reply["left"]) == ({RUNTIME, BUNDLE}, 0)
    assert verify(verification, store)[1]["damaged"] == {}


@pytest.mark.parametrize("name", [SEAL, HASHES, VERIFIED])
def test_no_file_takes_the_place_of_ours(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="no name for a stored file"):
        store.make("artifacts/dd", {name: arrived(store, b"x")}, [], {}, {})
    assert store.entries() == EVERYTHING


@pytest.mark.parametrize("from_disk", [False, True])
def test_a_hash_is_of_the_whole_file(tmp_path: Path, from_disk: bool) -> None:
    content = os.urandom((2 << 20) + 7)
    (tmp_path / "file").write_bytes(content)
    digest, size = hash_file(str(tmp_path / "file"), from_disk=from_disk)
    assert (digest.hexdigest(), size) == (hashlib.sha256(content).hexdigest(), len(content))


@pytest.mark.parametrize(
    "stretches",
    [
        pytest.param([], id="nothing"),
        pytest.param([(3 << 20, b"x")], id="a-hole-first"),
        pytest.param([(0, b"x"), (5 << 20, b"y")], id="a-hole-between"),
        pytest.param([(0, b"x"), ((4 << 20) + 1, b"")], id="a-hole-last"),
    ],
)
def test_a_files_holes_are_hashed_as_zeros(tmp_path: Path, stretches: list[tuple[int, bytes]]) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        for offset, content in stretches:
            file.seek(offset)
            file.write(content)
            file.truncate(offset + len(content))
    digest, size = hash_file(str(path))
    assert (digest.hexdigest(), size) == (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)


def test_what_leads_to_a_damaged_entry_is_said_to(store: Store) -> None:
    flip(Path(store.folder(ARTIFACT), "model"))
    assert found(store)[BUNDLE] == "it leads to what was damaged"


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each look at the clock take a second: a slice of two hashes one file."""
    moments = itertools.count()
    monkeypatch.setattr("harness.agent.daemon.verify.time", SimpleNamespace(monotonic=lambda: float(next(moments))))


@pytest.mark.usefixtures("ticking")
def test_a_folder_is_walked_twice_in_however_many_slices(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk of a large runtime takes an emulated board longer than a slice, which then hashed a single file."""
    walked: list[str] = []

    def walk(folder: str) -> bool:
        walked.append(folder)
        return is_sealed(folder)

    monkeypatch.setattr("harness.agent.daemon.verify.is_sealed", walk)
    verification = Verification(store, [RUNTIME], TOMORROW, again=True)
    results = [verification.slice(1.5) for _ in range(4)]
    assert (results, verification.entries) == ([{}] * 4, [])
    assert walked == [store.folder(RUNTIME)] * 2


@pytest.mark.usefixtures("ticking")
def test_what_changes_between_two_slices_is_found(store: Store) -> None:
    verification = Verification(store, [RUNTIME], TOMORROW, again=False)
    assert verification.slice(1.5) == {}
    assert verification.path == "pkg/__init__.py"
    Path(store.folder(RUNTIME), verification.path).write_bytes(b"x = 2  # longer\n")
    results = [verification.slice(1.5) for _ in range(3)]
    assert [each[RUNTIME] for each in results if each] == ["sizes or times of its files have changed"]
