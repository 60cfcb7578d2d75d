"""Folders that are ours alone: made so whatever the umask is, and refused where another user could get at them."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.agent import private
from harness.agent.private import NotOurs, make_folder, open_new, read_file_of
from tests.support.namespaces import require_namespaces
from tests.support.second_user import as_user, second_uid, shared_folder

CLONE_NEWUSER = 0x10000000  # sched.h
PR_SET_DUMPABLE = 4  # sys/prctl.h

OUTSIDE = "name a folder outside of it, or run as its owner (with sudo: sudo -H)"


@pytest.fixture
def wide() -> Iterator[None]:
    """The widest umask."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def shared() -> Iterator[Path]:
    with shared_folder() as folder:
        yield folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("wide")
def test_a_folder_is_made_with_those_above_it_and_for_our_eyes_only(tmp_path: Path) -> None:
    assert make_folder(f"{tmp_path}/a/b") == [f"{tmp_path}/a/b", f"{tmp_path}/a"]
    assert mode(tmp_path / "a") == mode(tmp_path / "a/b") == 0o700
    assert make_folder(f"{tmp_path}/a/b") == []


def test_what_others_may_read_of_one_that_is_ours_is_taken_from_them(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    make_folder(f"{tmp_path}/a")
    assert mode(tmp_path / "a") == 0o700


def test_in_a_folder_such_as_tmp_one_of_ours_is_safe(shared: Path) -> None:
    make_folder(f"{shared}/a/b")
    make_folder(f"{shared}/a/b")


def test_the_way_may_lead_through_a_link_of_ours(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    make_folder(f"{tmp_path}/link/store")
    assert (tmp_path / "disk/store").is_dir()


def test_a_relative_path_begins_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert private.check_way("a/b") == [f"{tmp_path}/a/b", f"{tmp_path}/a"]
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(NotOurs):
        private.check_way("open/store")


def everybodys(folder: Path) -> None:
    (folder / "store").mkdir()
    (folder / "store").chmod(0o777)


def above_everybodys(folder: Path) -> None:
    everybodys(folder)
    (folder / "store").rename(folder / "home")
    (folder / "home/store").mkdir()
    (folder / "store").symlink_to("home/store")


def with_a_sticky_bit(folder: Path) -> None:
    (folder / "store").mkdir()
    (folder / "store").chmod(0o1777)


def a_link(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "store").symlink_to("elsewhere")


def a_link_to_nothing(folder: Path) -> None:
    (folder / "store").symlink_to("nothing")


@pytest.mark.parametrize(
    ("plant", "found", "repair"),
    [
        pytest.param(everybodys, "every user may write", "chmod go-w ", id="writable-by-all"),
        pytest.param(above_everybodys, "every user may write", "chmod go-w ", id="below-one-that-is"),
        pytest.param(with_a_sticky_bit, "every user may write", "chmod go-w ", id="as-tmp-is"),
        pytest.param(a_link, "it is a link", "rm ", id="a-link"),
        pytest.param(a_link_to_nothing, "it is a link", "rm ", id="a-link-to-nothing"),
    ],
)
def test_what_is_not_ours_alone_is_refused_with_what_repairs_it(
    tmp_path: Path, plant: Callable[[Path], None], found: str, repair: str
) -> None:
    plant(tmp_path)
    with pytest.raises(NotOurs, match=found) as caught:
        make_folder(f"{tmp_path}/store")
    assert repair in caught.value.repair


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        make_folder(f"{tmp_path}/a/store")


US = "us:x:{uid}:500::/home/us:/bin/sh"
THEM = "them:x:4711:600::/home/them:/bin/sh"


@pytest.mark.parametrize(
    ("accounts", "groups", "refused"),
    [
        pytest.param([US, THEM], ["us:x:500:", "them:x:600:"], False, id="our-own"),
        pytest.param([US, THEM], ["us:x:500:us,root"], False, id="with-us-and-root-in-it"),
        pytest.param([US, THEM], ["staff:x:500:them"], True, id="with-another-member"),
        pytest.param([US, THEM.replace("600", "500")], ["users:x:500:"], True, id="the-first-group-of-another"),
        pytest.param([US], [], True, id="of-a-directory-service"),
    ],
)
def test_a_group_counts_by_who_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accounts: list[str], groups: list[str], refused: bool
) -> None:
    texts = {"/etc/passwd": [line.format(uid=os.geteuid()) for line in accounts], "/etc/group": groups}
    monkeypatch.setattr(private, "_fields", lambda path: [line.split(":") for line in texts[path]])
    status = os.stat_result((0o40775, 0, 0, 1, os.geteuid(), 500, 0, 0, 0, 0))
    assert private.others_may_write(str(tmp_path), status) is refused


# Another user


def test_a_folder_that_another_user_made_first_is_refused(shared: Path) -> None:
    store = shared / "store"
    as_user(second_uid(), lambda: store.mkdir(mode=0o755))
    with pytest.raises(NotOurs, match="belongs to another user") as caught:
        make_folder(str(store))
    assert caught.value.repair.startswith(f"sudo rm -r {store}")
    with pytest.raises(NotOurs, match="belongs to another user"):
        make_folder(f"{store}/below")


def test_a_link_that_another_user_made_is_refused(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    as_user(second_uid(), lambda: (shared / "way").symlink_to(tmp_path))
    with pytest.raises(NotOurs, match="belongs to another user"):
        make_folder(f"{shared}/way/ours")


def test_an_ordinary_user_trusts_root_and_himself_alone(shared: Path) -> None:
    us = second_uid()
    (shared / "roots").mkdir(mode=0o755)
    as_user(us + 1, lambda: (shared / "theirs").mkdir(mode=0o777))
    as_user(us, lambda: make_folder(f"{shared}/ours/store"), umask=0)
    assert mode(shared / "ours") == 0o700
    with pytest.raises(PermissionError) as caught:
        as_user(us, lambda: make_folder(f"{shared}/roots/store"))
    assert not isinstance(caught.value, NotOurs)
    assert as_user(us, lambda: _refusal(f"{shared}/theirs/store")) == OUTSIDE


def test_in_a_user_namespace_what_belongs_to_nobody_there_is_the_machines(shared: Path) -> None:
    """As for a board in a rootless container: "/" belongs to a user that it does not know."""
    require_namespaces(user=True)
    us = second_uid()

    def make() -> tuple[int, list[str]]:
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_DUMPABLE, 1)  # /proc/self is root's else, since we became another user
        assert libc.unshare(CLONE_NEWUSER) == 0
        Path("/proc/self/uid_map").write_text(f"0 {us} 1\n", encoding="ascii")
        private._unmapped.cache_clear()
        return os.lstat("/").st_uid, make_folder(f"{shared}/ours/store")

    overflow = int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
    assert as_user(us, make) == (overflow, [f"{shared}/ours/store", f"{shared}/ours"])


def _refusal(path: str) -> str:
    try:
        make_folder(path)
    except NotOurs as error:
        return error.repair
    return ""


# Files


@pytest.mark.usefixtures("wide")
def test_a_new_file_is_never_one_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "new").symlink_to("victim")
    os.write(descriptor := open_new(f"{tmp_path}/new"), b"content")
    os.close(descriptor)
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "new").is_symlink()
    assert mode(tmp_path / "new") == 0o600


def link(path: Path) -> None:
    (path.parent / "other").write_text("content")
    path.symlink_to("other")


def second_name(path: Path) -> None:
    (path.parent / "other").write_text("content")
    path.hardlink_to(path.parent / "other")


def for_all_to_write(path: Path) -> None:
    path.write_text("content")
    path.chmod(0o666)


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(link, id="a-link"),
        pytest.param(second_name, id="a-second-name"),
        pytest.param(for_all_to_write, id="writable-by-all"),
        pytest.param(os.mkfifo, id="a-fifo"),
        pytest.param(Path.mkdir, id="a-folder"),
        pytest.param(lambda path: None, id="nothing"),
    ],
)
def test_only_a_file_that_a_user_wrote_is_read_as_his(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    plant(tmp_path / "record")
    assert read_file_of(f"{tmp_path}/record") == ""


def test_a_record_is_read_up_to_a_size(tmp_path: Path) -> None:
    (tmp_path / "record").write_bytes(b"1" * (1 << 20))
    assert len(read_file_of(f"{tmp_path}/record")) == private.RECORD_BYTES
    assert read_file_of(f"{tmp_path}/record", os.geteuid() + 1) == ""
