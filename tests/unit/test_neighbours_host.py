"""Other users of the host: what one of them has planted is not followed, not used, and said to be there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import StorageError
from harness.evidence.writer import Evidence
from harness.host import bounded
from harness.host.cache import cache_folder, link_or_copy, make_readable, new_entry, write_atomically
from tests.support.second_user import as_user, second_uid, shared_folder


@pytest.fixture
def shared() -> Iterator[Path]:
    with shared_folder() as folder:
        yield folder


@pytest.fixture
def wide() -> Iterator[None]:
    """The widest umask."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def widest(folder: Path) -> int:
    """What is allowed to somebody, of all that is in a folder, and of itself."""
    paths = [folder, *folder.rglob("*")]
    return max(stat.S_IMODE(path.stat().st_mode) & 0o077 for path in paths)


# Temporary names


def test_what_lies_under_a_temporary_name_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "victim").write_text("mine")
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * 2 * size)  # as if it could be foreseen
    (tmp_path / f".x.{'0' * 16}").symlink_to("victim")
    with pytest.raises(StorageError, match="File exists"):
        write_atomically(tmp_path / "x", "theirs")
    assert (tmp_path / "victim").read_text() == "mine"


def test_no_two_temporary_names_are_alike_and_none_tells_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    replace = Path.replace

    def seen(self: Path, target: Path) -> Path:
        names.append(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", seen)
    for _ in range(3):
        write_atomically(tmp_path / ("x" * 255), "1")
    assert len(set(names)) == 3
    assert not any(str(os.getpid()) == name.rpartition(".")[2] for name in names)


def test_a_link_in_a_files_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "source").write_text("new")
    for name in ("written", "copied"):
        (tmp_path / name).symlink_to("victim")
    write_atomically(tmp_path / "written", "new")
    link_or_copy(tmp_path / "source", tmp_path / "copied")
    assert (tmp_path / "written").read_text() == (tmp_path / "copied").read_text() == "new"
    assert (tmp_path / "victim").read_text() == "mine"


# The umask


@pytest.mark.usefixtures("wide")
def test_the_cache_is_its_users_alone_whatever_the_umask(cache: Path) -> None:
    with bounded.build_lock(cache_folder() / "exports/aa"), new_entry(cache_folder() / "exports/aa") as work:
        (work / "folder").mkdir()
        (work / "folder/model.pt").write_text("weights")
        (work / "program").touch(mode=0o777)
    write_atomically(cache_folder() / "wheels/sets/aa.json", "{}", mode=0o600)
    with bounded.locked(cache / "exports"):
        assert widest(cache) == 0
    assert os.access(cache / "exports/aa/program", os.X_OK)


@pytest.mark.usefixtures("wide")
def test_evidence_may_be_read_and_not_be_written(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path / "a/hil", [])
    evidence.begin()
    assert widest(tmp_path / "a") == 0o055
    evidence.release()


def test_a_cache_that_others_could_read_is_theirs_no_longer(cache: Path) -> None:
    cache.mkdir(mode=0o755)
    assert widest(cache_folder()) == 0


# Folders that are not ours alone


def everybodys(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def as_tmp_is(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o1777)


@pytest.mark.parametrize(
    ("plant", "below"),
    [
        pytest.param(everybodys, "", id="itself"),
        pytest.param(everybodys, "mine/cache", id="one-above"),
        pytest.param(as_tmp_is, "", id="as-tmp-is"),
    ],
)
def test_a_cache_that_others_may_write_to_is_refused_with_what_repairs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path], None], below: str
) -> None:
    plant(tmp_path / "team")
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "team" / below))
    with pytest.raises(StorageError) as caught:
        cache_folder()
    assert caught.value.where == str(tmp_path / "team")
    assert f"chmod go-w {tmp_path}/team" in caught.value.hint
    (tmp_path / "team").chmod(0o755)
    assert cache_folder() == tmp_path / "team" / below


def test_a_cache_may_be_a_link_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to("disk")
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))
    with new_entry(cache_folder() / "exports/aa") as work:
        (work / "x").touch()
    assert widest(tmp_path / "disk") == 0


def test_a_cache_that_another_user_made_is_refused(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(second_uid(), lambda: (shared / "cache").mkdir(mode=0o755))
    monkeypatch.setenv("HILGATE_CACHE", str(shared / "cache"))
    with pytest.raises(StorageError, match="belongs to another user"):
        cache_folder()


def test_an_entry_that_another_user_put_there_while_he_could_is_not_used(cache: Path) -> None:
    for name in ("exports/aa", "exports/bb"):
        with new_entry(cache_folder() / name) as work:
            (work / "model.pt").write_text("weights")
    os.chown(cache / "exports/bb", second_uid(), -1)
    assert bounded.pin(cache / "exports/aa")
    with pytest.raises(StorageError, match="belongs to another user") as caught:
        bounded.pin(cache / "exports/bb")
    assert f"sudo rm -r {cache}/exports/bb" in caught.value.hint


def another_users(folder: Path) -> None:
    as_user(second_uid(), folder.mkdir)


@pytest.mark.parametrize("plant", [everybodys, another_users], ids=lambda plant: plant.__name__)
def test_evidence_does_not_go_where_others_may_write(shared: Path, plant: Callable[[Path], None]) -> None:
    plant(shared / "ev")
    with pytest.raises(StorageError, match=r"may write to it|belongs to another user") as caught:
        Evidence(shared / "ev", []).begin()
    assert "--evidence DIR" in caught.value.hint
    assert sorted(path.name for path in (shared / "ev").iterdir()) == []


def test_evidence_in_a_folder_such_as_tmp_is_ours(shared: Path) -> None:
    evidence = Evidence(shared / "ev", [])
    evidence.begin()
    evidence.release()

    def write() -> None:
        (shared / "ev" / "evidence.json").write_text("{}")

    with pytest.raises(PermissionError):
        as_user(second_uid(), write)


@pytest.mark.usefixtures("wide")
def test_a_folder_of_the_users_own_is_made_for_others_to_read(tmp_path: Path) -> None:
    make_readable(tmp_path / "a/b")
    make_readable(tmp_path / "a/b")
    assert widest(tmp_path / "a") == 0o055
