"""Pages of real files are dropped from this machine's page cache, as mincore tells; those that are mapped stay."""

from __future__ import annotations

import io
import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agent.cold import page_cache
from harness.agent.cold.mappings import holders, mapped_kib, read_bytes
from harness.agent.cold.residency import PAGE, drop_file, resident_pages
from harness.agent.wire import pack_head, read_head
from harness.deploy.handed import LOADER, source
from harness.deploy.page_cache import MODULES, _read
from harness.errors import DaemonFailure, HilgateError, ProtocolError
from harness.links.local import Process
from harness.protocol.page_cache import Dropped, Seen
from tests.support.pythons import PYTHONS

PAGES = 64
CONTENT = bytes(range(256)) * (PAGES * PAGE // 256)


def frame(header: dict[str, object]) -> str:
    """Return a shell command that writes a frame, behind what a chatty shell writes."""
    octal = "".join(f"\\{byte:03o}" for byte in pack_head(header))
    return f"echo Welcome; printf '{octal}'"


def pages_in_cache(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return resident_pages(descriptor, path.stat().st_size)
    finally:
        os.close(descriptor)


def write(path: Path) -> Path:
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder on a file system whose pages can be dropped, found out by the plain system call."""
    path = write(tmp_path / "tried")
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if pages_in_cache(path):
        pytest.skip("the temporary folder's file system keeps its files in memory alone, such as tmpfs")
    path.unlink()
    return tmp_path


@pytest.fixture
def mapping(folder: Path) -> Iterator[Path]:
    """A file that this process has mapped, every page of it touched."""
    path = write(folder / "mapped")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as held:
        assert sum(held[::PAGE]) >= 0
        yield path


def test_written_pages_are_dropped(folder: Path) -> None:
    path = write(folder / "file")
    assert path.read_bytes() == CONTENT
    assert drop_file(str(path)) == (PAGES, PAGES, 0)
    assert pages_in_cache(path) == 0
    assert drop_file(str(path)) == (PAGES, 0, 0)
    assert path.read_bytes() == CONTENT  # from the disk


def test_what_was_dropped_is_read_from_the_disk_again(folder: Path) -> None:
    """As the kernel accounts for it; what was not dropped is not read."""

    def read() -> int:
        before = read_bytes(os.getpid())
        assert path.read_bytes() == CONTENT
        after = read_bytes(os.getpid())
        if before is None or after is None:
            pytest.skip("this kernel does not account for what a process reads")
        return after - before

    path = write(folder / "file")
    drop_file(str(path))
    first, second = read(), read()
    assert first >= len(CONTENT) > second


def test_pages_that_are_not_written_yet_are_written_and_dropped(folder: Path) -> None:
    path = folder / "dirty"
    path.write_bytes(CONTENT)
    assert drop_file(str(path)) == (PAGES, PAGES, 0)
    assert path.read_bytes() == CONTENT


def test_pages_that_a_process_has_mapped_stay_and_it_is_named(mapping: Path) -> None:
    assert drop_file(str(mapping)) == (PAGES, PAGES, PAGES)
    found, _ = holders({str(mapping): PAGES})
    assert [each["pid"] for each in found] == [os.getpid()]
    assert mapped_kib(os.getpid())[str(mapping)] == PAGES * PAGE // 1024


def test_an_empty_file_has_no_pages(folder: Path) -> None:
    path = folder / "empty"
    path.touch()
    assert drop_file(str(path)) == (0, 0, 0)


def test_a_report_counts_each_file_once_and_names_what_stayed(folder: Path, mapping: Path) -> None:
    plain = write(folder / "plain")
    (folder / "link").symlink_to(plain)
    (folder / "twin").hardlink_to(plain)
    os.mkfifo(folder / "fifo")  # opening it would wait
    asked = {"folders": [str(folder)], "packages": [], "standard_library": False}
    used = {str(mapping): PAGES * PAGE // 1024}
    report = page_cache.drop(page_cache._paths(asked, used), used)
    counted = {key: report[key] for key in ("page_bytes", "files", "pages", "before", "after", "untold")}
    assert counted == {
        "page_bytes": PAGE,
        "files": 2,
        "pages": 2 * PAGES,
        "before": 2 * PAGES,
        "after": PAGES,
        "untold": 0,
    }
    assert report["kept"] == [{"path": str(mapping), "pages": PAGES}]
    assert [each["pid"] for each in report["holders"]] == [os.getpid()]


def test_of_a_file_that_cannot_be_opened_what_the_process_used_counts_as_not_told(folder: Path) -> None:
    report = page_cache.drop([str(folder / "gone")], {str(folder / "gone"): 8 * PAGE // 1024})
    assert (report["files"], report["unreadable"], report["before"], report["untold"]) == (0, 1, 0, 8)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_not_told_of_a_file_that_is_not_theirs() -> None:
    """mincore would say that every page stayed, whether it did or not."""
    program = (
        "import os; from harness.agent.cold.residency import drop_file\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(drop_file('/etc/passwd'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.stdout == "Dropped(pages=1, before=None, after=None)\n", done.stderr


def test_modules_are_those_that_an_import_reads(tmp_path: Path) -> None:
    for name in ("a.py", "__pycache__/a.cpython-39.pyc", "data.bin", "source/b.py", "test/c.py", "lib.so"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    listed = {str(Path(path).relative_to(tmp_path)) for path in page_cache._modules(str(tmp_path), ["test"])}
    assert listed == {"__pycache__/a.cpython-39.pyc", "source/b.py"}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("goes_on", [True, False])
def test_the_program_runs_from_its_sources_alone(folder: Path, python: str, goes_on: bool) -> None:
    """With nothing of harness to be imported, as on a board; it drops nothing where its host goes before it says so."""
    path = write(folder / "file")
    texts = json.dumps([(f"agent.{name}", source(name)) for name in MODULES])
    asked = json.dumps({"folders": [str(folder)], "packages": [], "standard_library": False, "pid": os.getpid()})
    command = [PYTHONS[python], "-I", "-S", "-B", "-c", LOADER, texts, asked]
    said = b"\n" if goes_on else b""
    before = read_bytes(os.getpid()) or 0
    done = subprocess.run(command, input=said, capture_output=True, check=False, cwd=folder)
    assert (done.returncode, done.stderr) == (0, b"")
    stream = io.BytesIO(done.stdout)
    seen = Seen.model_validate(read_head(stream.read).header)
    assert seen.seen
    assert before <= (seen.read_bytes or 0) <= (read_bytes(os.getpid()) or 0)
    assert (pages_in_cache(path) == 0) is goes_on
    if goes_on:
        report = Dropped.model_validate(read_head(stream.read).header)
        assert report.pages >= report.before
        assert report.after + report.untold > 0  # this process has its libraries mapped
    assert stream.read() == b""


@pytest.mark.parametrize(
    ("program", "kind", "said"),
    [
        pytest.param("printf ''", DaemonFailure, "the program that drops the page cache ended", id="ends"),
        pytest.param("echo no Python >&2; exit 127", DaemonFailure, "no Python", id="is-not-there"),
        pytest.param("sleep 9", DaemonFailure, "did not answer in 1 s", id="is-silent"),
        pytest.param("head -c 100000 /dev/zero", ProtocolError, "sent no frame", id="is-no-frame"),
        pytest.param(frame({"error": "OSError: no"}), DaemonFailure, "OSError: no", id="refuses"),
        pytest.param(frame({"error": 1}), ProtocolError, "'error'", id="refuses-oddly"),
        pytest.param(frame({}), ProtocolError, "'seen' is missing", id="leaves-out"),
        pytest.param(frame({"seen": 1, "read_bytes": 1}), ProtocolError, "'seen'", id="is-of-another-type"),
        pytest.param(frame({"seen": True, "read_bytes": -1}), ProtocolError, "'read_bytes'", id="is-negative"),
    ],
)
def test_an_answer_that_is_none_is_named(program: str, kind: type[HilgateError], said: str) -> None:
    channel = Process.start(["/bin/sh", "-c", program])
    try:
        with pytest.raises(kind) as raised:
            _read(channel, Seen, 1.0, "here", skip=1000)
    finally:
        channel.finish(0)
    assert said in str(raised.value)
