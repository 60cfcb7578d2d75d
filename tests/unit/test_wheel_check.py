"""Wheels that may be taken, and those that may not: links, paths, duplicates, bombs, lists that lie (issue 17)."""

from __future__ import annotations

import hashlib
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.agent import unpack as unpacking
from harness.agent.unpack import unpack
from harness.bundle.wheel_check import check_wheel
from harness.errors import BackendError
from tests.support.wheels import hash_of, write_wheel

NAME = "pkg-1.0-py3-none-any.whl"
INFO = "pkg-1.0.dist-info"


def refused(path: Path) -> str:
    """Why the host refuses it."""
    with pytest.raises(BackendError, match="no wheel that may be taken") as caught:
        check_wheel(path, "devices/pi4.toml")
    assert NAME in caught.value.where
    return caught.value.found


def member(name: str, mode: int = 0, **changes: object) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def with_member(folder: Path, *infos: zipfile.ZipInfo) -> Path:
    """A wheel to which members were added that its list has, too."""
    path = write_wheel(folder / NAME, {"pkg.py": "x"}, record={info.filename: hash_of(b"evil") for info in infos})
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for info in infos:
            archive.writestr(info, b"evil")
    return path


BAD_MEMBERS = [
    pytest.param([member("../evil.py")], "leaves the folder", id="up"),
    pytest.param([member("pkg/../../evil.py")], "leaves the folder", id="up-from-below"),
    pytest.param([member("/etc/evil")], "leaves the folder", id="absolute"),
    pytest.param([member("pkg\\..\\evil.py")], "leaves the folder", id="backslashes"),
    pytest.param([member("pkg-1.0.data/purelib/../../evil")], "leaves the folder", id="up-in-data"),
    pytest.param([member("link", stat.S_IFLNK | 0o777)], "no regular file", id="link"),
    pytest.param([member("fifo", stat.S_IFIFO | 0o644)], "no regular file", id="fifo"),
    pytest.param([member("device", stat.S_IFCHR | 0o644)], "no regular file", id="character-device"),
    pytest.param([member("disk", stat.S_IFBLK | 0o644)], "no regular file", id="block-device"),
    pytest.param([member("pkg.py")], "have one place", id="twice"),
    pytest.param([member("pkg-1.0.data/purelib/pkg.py")], "have one place", id="twice-by-data"),
    pytest.param([member("pkg.py/evil.py")], "have one place", id="in-a-file"),
    pytest.param([member("evil", compress_type=zipfile.ZIP_LZMA)], "compressed as wheels are not", id="lzma"),
    pytest.param([member("evil", compress_type=zipfile.ZIP_BZIP2)], "compressed as wheels are not", id="bzip2"),
]


@pytest.mark.parametrize(("infos", "said"), BAD_MEMBERS)
def test_a_wheel_that_must_not_be_unpacked_is_refused_here_and_there(
    tmp_path: Path, infos: list[zipfile.ZipInfo], said: str
) -> None:
    path = with_member(tmp_path, *infos)
    assert said in refused(path)
    with pytest.raises(ValueError, match=said):
        unpack([str(path)], str(tmp_path / "board" / "folder"))
    assert not (tmp_path / "board").exists()


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = write_wheel(tmp_path / NAME, {"pkg.py": "x"})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    assert "is encrypted" in refused(path)


@pytest.mark.parametrize(("limit", "most"), [("MOST_BYTES", 1000), ("MOST_MEMBERS", 3)])
def test_a_bomb_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    path = write_wheel(tmp_path / NAME, {"zeros": bytes(100_000), "more": ""})
    assert check_wheel(path, "") > 100_000
    monkeypatch.setattr(unpacking, limit, most)
    assert "would unpack to too much" in refused(path)
    with pytest.raises(ValueError, match="too much"):
        unpack([str(path)], str(tmp_path / "folder"))
    assert not (tmp_path / "folder").exists()


def add_unlisted(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("evil.py", "")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"pkg.py") + 8] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [add_unlisted, empty, cut, flip])
def test_a_damaged_wheel_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = write_wheel(tmp_path / NAME, {"pkg.py": "x = 1\n" * 10})
    damage(path)
    assert refused(path)


@pytest.mark.parametrize(
    ("files", "record", "said"),
    [
        pytest.param({}, {"pkg.py": hash_of(b"other")}, "another file than the one listed", id="another-file"),
        pytest.param({}, {"pkg.py": ""}, "listed with no hash", id="no-hash"),
        pytest.param({}, {"pkg.py": "md5=AAAA"}, "listed with md5", id="md5"),
        pytest.param({f"{INFO}/RECORD": ""}, {}, "not in its list", id="empty-list"),
        pytest.param({f"{INFO}/RECORD": b"\xff"}, {}, "utf-8", id="no-text"),
        pytest.param({"other-1.dist-info/RECORD": ""}, {}, "2 lists", id="two-lists"),
    ],
)
def test_a_wheel_whose_list_is_not_true_is_refused(
    tmp_path: Path, files: dict[str, str], record: dict[str, str], said: str
) -> None:
    assert said in refused(write_wheel(tmp_path / NAME, {"pkg.py": "x", **files}, record=record))


def test_byte_code_in_a_wheel_is_left_out_and_our_own_is_not(tmp_path: Path) -> None:
    code = "pkg/__pycache__/a.cpython-311.pyc"
    wheel = write_wheel(tmp_path / NAME, {"pkg/a.py": "x", code: "theirs", "pkg/b.pyo": "theirs"}, record={code: ""})
    check_wheel(wheel, "")
    assert not [path for path in unpack([str(wheel)], str(tmp_path / "one")) if path.endswith((".pyc", ".pyo"))]
    assert not list((tmp_path / "one").rglob("*.pyc"))
    ours = tmp_path / "ours.zip"
    with zipfile.ZipFile(ours, "w") as archive:
        archive.writestr(code, "ours")
    unpack([str(wheel), str(ours)], str(tmp_path / "two"))
    assert (tmp_path / "two" / code).read_text() == "ours"


def test_what_is_unpacked_is_hashed_as_it_is_written(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / NAME, {"pkg/a.py": "x", "torch/include/a.h": "left out"})
    hashes = unpack([str(wheel)], str(tmp_path / "folder"))
    assert hashes["pkg/a.py"] == hashlib.sha256(b"x").hexdigest()
    assert sorted(hashes) == sorted(
        str(path.relative_to(tmp_path / "folder")) for path in (tmp_path / "folder").rglob("*") if path.is_file()
    )
