"""The cache: an entry is there whole or not at all, and a disk that is full is said to be."""

import errno
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import StorageError
from harness.host.cache import cache_folder, file_sha256, new_entry, storage_errors, write_atomically


def test_an_entry_appears_when_it_is_complete(tmp_path: Path) -> None:
    final = tmp_path / "a" / "entry"
    with new_entry(final) as work:
        (work / "x").write_text("1")
        assert not final.exists()
    assert (final / "x").read_text() == "1"
    assert os.listdir(final.parent) == ["entry"]  # noqa: PTH208  # hidden ones too


@pytest.mark.parametrize("error", [pytest.param(KeyError, id="error"), pytest.param(KeyboardInterrupt, id="interrupt")])
def test_an_entry_that_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fill() -> None:
        with new_entry(tmp_path / "entry") as work:
            (work / "x").write_text("1")
            raise error

    with pytest.raises(error):
        fill()
    assert list(tmp_path.iterdir()) == []


def _fill_and_die(final: Path) -> None:
    with new_entry(final) as work:
        (work / "x").write_text("half")
        os._exit(9)


def test_a_writer_that_is_killed_leaves_no_entry(tmp_path: Path) -> None:
    writer = multiprocessing.get_context("spawn").Process(target=_fill_and_die, args=(tmp_path / "entry",))
    writer.start()
    writer.join(60)
    assert writer.exitcode == 9
    assert not (tmp_path / "entry").exists()


def test_the_second_of_two_writers_finds_the_entry_of_the_first(tmp_path: Path) -> None:
    final = tmp_path / "entry"
    with new_entry(final) as mine:
        with new_entry(final) as yours:
            assert mine != yours
            (yours / "x").write_text("same")
        (mine / "x").write_text("same")
        inode = (final / "x").stat().st_ino
    assert (final / "x").read_text() == "same"
    assert (final / "x").stat().st_ino == inode
    assert list(tmp_path.iterdir()) == [final]


@pytest.mark.parametrize(
    ("content", "written"),
    [pytest.param("ü\r\n", b"\xc3\xbc\r\n", id="text"), pytest.param(b"\0\xff", b"\0\xff", id="bytes")],
)
def test_a_file_has_exactly_its_content(tmp_path: Path, content: str | bytes, written: bytes) -> None:
    write_atomically(tmp_path / "x", content)
    assert (tmp_path / "x").read_bytes() == written


def test_a_file_is_replaced_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    write_atomically(path, "old")
    with path.open(encoding="utf-8") as reader:
        write_atomically(path, "neü")
        assert reader.read() == "old"
    assert path.read_text(encoding="utf-8") == "neü"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_of_a_file_is_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "x", "1")
    assert (tmp_path / "a" / "b" / "x").read_text() == "1"


# Disks that refuse

# What is run in a folder on a full disk; each prints what came of it, then what lies in the folder.
WRITERS = {
    "file": "write_atomically(here / 'file', 'x' * 100_000)",
    "entry": 'exec(\'with new_entry(here / "entry") as work: (work / "x").write_bytes(bytes(100_000))\')',
    "samples": "evidence().save_samples(cell, np.zeros(20_000, np.int64))",
    "manifest": "ResultsFolder(here).save_manifest('a' * 64, 'x' * 100_000)",
}
PROGRAM = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from harness.host.cache import new_entry, write_atomically
from harness.errors import StorageError
from harness.evidence.folder import ResultsFolder
from harness.evidence.writer import Evidence

here = Path(sys.argv[1])
cell = SimpleNamespace(id="a-b-c", key=("a", "b", "c"))

def evidence():
    evidence = Evidence(here, [])
    evidence.begin()
    evidence.release()
    return evidence

(here / "file").write_text("old")
try:
    WRITER
except StorageError as error:
    print(error.found, Path(error.where).is_relative_to(here))
print(*sorted(str(path.relative_to(here)) for path in here.rglob("*")))
print((here / "file").read_text())
"""


@pytest.fixture(scope="module")
def small_disk() -> tuple[list[str], str]:
    """(the beginning of a command that runs in a small file system at $DISK, what the kernel says when it is full).

    Where no user may mount anything, a limit on a file's size stands in: the same refusal in the middle of a write.
    """
    mount = 'mount -t tmpfs -o size=64k,mode=700 none "$DISK" && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    try:
        subprocess.run([*command, "true"], env={**os.environ, "DISK": "/tmp"}, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return ["sh", "-c", 'ulimit -f 128 && exec "$@"', "sh"], os.strerror(errno.EFBIG)
    return command, os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    ("writer", "left"),
    [
        pytest.param("file", "file", id="write_atomically"),
        pytest.param("entry", "file", id="new_entry"),
        pytest.param("samples", "evidence.json file samples", id="raw-samples"),
        pytest.param("manifest", "bundles file", id="manifest"),
    ],
)
def test_a_full_disk_is_said_and_leaves_nothing_half_done(
    tmp_path: Path, small_disk: tuple[list[str], str], writer: str, left: str
) -> None:
    command, full = small_disk
    program = PROGRAM.replace("WRITER", WRITERS[writer])
    environment = {**os.environ, "DISK": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, sys.executable, "-c", program, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == [f"{full} True", left, "old"], done.stderr


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(errno.ENOSPC, id="full"),
        pytest.param(errno.EDQUOT, id="quota"),
        pytest.param(errno.EACCES, id="permission"),
        pytest.param(errno.EROFS, id="read-only"),
        pytest.param(errno.EFBIG, id="file-too-large"),
    ],
)
def test_what_the_system_refuses_becomes_a_storage_error(tmp_path: Path, number: int) -> None:
    with pytest.raises(StorageError) as caught, storage_errors(tmp_path):
        raise OSError(number, "refused", "/some/file")
    assert (caught.value.found, caught.value.where) == (os.strerror(number), "/some/file")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(OSError(errno.ENOENT, "missing"), id="missing-file"),
        pytest.param(OSError("no number"), id="no-number"),
        pytest.param(ValueError("x"), id="no-system-error"),
    ],
)
def test_other_errors_stay_what_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, storage_errors(tmp_path):
        raise error
    assert caught.value is error


# Where, and what


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        pytest.param({"HILGATE_CACHE": "/a/b", "XDG_CACHE_HOME": "/c"}, "/a/b", id="our-own-variable"),
        pytest.param({"HILGATE_CACHE": "~/b"}, "/home/me/b", id="home-in-it"),
        pytest.param({"XDG_CACHE_HOME": "/c"}, "/c/hilgate", id="the-desktops"),
        pytest.param({"HILGATE_CACHE": "", "XDG_CACHE_HOME": ""}, "/home/me/.cache/hilgate", id="empty-is-unset"),
        pytest.param({}, "/home/me/.cache/hilgate", id="default"),
    ],
)
def test_the_cache_is_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name in ("HILGATE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/home/me"} | variables).items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)


def test_a_relative_cache_folder_does_not_move_with_the_current_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HILGATE_CACHE", "mine")
    monkeypatch.chdir(tmp_path)
    assert cache_folder() == tmp_path / "mine"


def test_a_files_hash_is_that_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
