"""`hilgate lock`, and a run that keeps to what it wrote: with a real pip, and a folder of tiny wheels."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.bundle import lock_file, pip_errors
from harness.bundle.lock_file import FILE, read_lock
from harness.cli import cli
from harness.host.cache import file_sha256
from tests.support.sshd import BoardServer
from tests.support.wheels import write_wheel

from .boards import stored, write_device
from .conftest import Project

DEAD_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}  # nobody listens there


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Neither the environment nor what a command has taken for its process's project is the next test's."""
    with pytest.MonkeyPatch.context() as patch:
        for name in DEAD_INDEX:
            patch.setenv(name, "")  # put back in the end, whatever was made of it meanwhile
            patch.delenv(name)
        yield
    lock_file._PROJECT.root = None


PACKAGES = 'packages = ["onnxruntime==1.0", "numpy==1.0"]'


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer() as made:
        yield made


def hilgate(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.fixture
def index(project: Project, server: BoardServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only wheels that pip finds; the cache is empty, the project is the current folder."""
    folder = project.folder / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
    for key, value in {**settings, "HILGATE_CACHE": str(project.folder / "cache"), "HOME": str(project.folder)}.items():
        monkeypatch.setenv(key, value)
    for name in ("onnxruntime", "numpy"):
        write_wheel(folder / f"{name}-1.0-py3-none-any.whl", {f"{name}.py": "x = 1\n"})
    write_device(project.folder, server, device='store = "~/store"', runtime=PACKAGES)
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(pip_errors, "PYTHON_MINORS", (10,))  # each is a run of pip
    return folder


def test_what_is_locked_is_taken_and_nothing_else(
    project: Project, server: BoardServer, cache: Path, index: Path
) -> None:
    exports = cache / "exports"
    exports.mkdir(exist_ok=True)
    written = hilgate("lock")
    assert written.exit_code == 0, written.output
    assert f"2 files are locked in {project.folder / FILE}" in written.output
    lock = read_lock(project.folder / FILE)
    assert lock is not None
    assert [(one.name, one.sha256) for one in lock.packages] == [
        (name, file_sha256(index / f"{name}-1.0-py3-none-any.whl")) for name in ("numpy", "onnxruntime")
    ]
    assert "nothing has changed" in hilgate("lock").output
    assert "runtime of onnxruntime" in hilgate("doctor", "board").output

    # Another machine, and another file under the same name.
    shutil.rmtree(project.folder / "cache")
    (project.folder / "cache").mkdir()
    (project.folder / "cache/exports").symlink_to(exports)  # the tiny model need not be exported once more
    changed = write_wheel(index / "numpy-1.0-py3-none-any.whl", {"numpy.py": "x = 2\n"})
    done = project.run("--device", "board", "--backend", "onnxruntime")
    assert done.status != 0
    assert "numpy is another one than hilgate.lock names" in done.output
    for text in (lock.packages[0].sha256, file_sha256(changed), "hilgate lock"):
        assert text in done.output
    assert stored(server.home, "store") == []

    again = hilgate("lock", "--device", "board")
    assert again.exit_code == 0, again.output
    assert [line[0] for line in again.output.splitlines() if line[:2] in ("- ", "+ ")] == ["-", "+"]


def no_wheel(project: Project) -> None:
    (project.folder / "index/numpy-1.0-py3-none-any.whl").unlink()


def no_network(project: Project) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        del os.environ[name]
    os.environ |= DEAD_INDEX


def folder_in_its_place(project: Project) -> None:
    (project.folder / FILE).mkdir()


def damaged(project: Project) -> None:
    (project.folder / FILE).write_text("schema = ")


@pytest.mark.parametrize(
    ("arguments", "trouble", "said"),
    [
        pytest.param(["--device", "nowhere"], lambda project: None, ["nowhere", "devices"], id="no-such-device"),
        pytest.param(["--backend", "torch"], lambda project: None, ["torch", "onnxruntime"], id="no-such-backend"),
        pytest.param(["--backend", "libtorch"], lambda project: None, ["board has onnxruntime"], id="another-backend"),
        pytest.param([], no_wheel, ["no wheel of numpy==1.0"], id="no-wheel"),
        pytest.param([], no_network, ["cannot be reached"], id="no-network"),
        pytest.param([], folder_in_its_place, ["hilgate.lock cannot be written", "--devices"], id="not-to-be-written"),
        pytest.param(["--device", "board"], damaged, ["hilgate.lock cannot be read", "hilgate lock"], id="damaged"),
        pytest.param(["--device", "qemu-pi4"], lambda project: None, ["hilgate image build qemu-pi4"], id="no-image"),
    ],
)
def test_what_cannot_be_locked_is_said_and_nothing_written(
    project: Project, index: Path, arguments: list[str], trouble: Callable[[Project], None], said: list[str]
) -> None:
    trouble(project)
    before = stat.S_IFMT((project.folder / FILE).stat().st_mode) if (project.folder / FILE).exists() else None
    result = hilgate("lock", *arguments)
    assert result.exit_code == 1
    assert not isinstance(result.exception, (KeyError, OSError))
    for text in said:
        assert text in result.stderr
    assert "Traceback" not in result.output
    after = stat.S_IFMT((project.folder / FILE).stat().st_mode) if (project.folder / FILE).exists() else None
    assert after == before


def test_a_project_without_devices_is_said(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    result = hilgate("lock")
    assert result.exit_code == 1
    assert "the project has no device" in result.stderr
    assert "--device NAME" in result.stderr


def test_a_damaged_file_ends_a_run_before_it_begins(project: Project) -> None:
    (project.folder / FILE).write_text("schema = 7\n")
    done = project.run()
    assert done.status == 4
    assert "hilgate.lock was written by a newer hilgate" in done.output
    assert not (project.folder / "build").exists()


def test_help_says_what_it_is_for() -> None:
    text = hilgate("lock", "--help").output
    for part in ("Commit it", "--device", "--backend", "SHA-256"):
        assert part in text
