"""Boards that are reached, and are not what is wanted: odd login shells, no Python, another machine, no wheels."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.backends import load_backend
from harness.board import open_board
from harness.bundle import pip_errors
from harness.bundle.planning import plan_runtime
from harness.device.device import Runtime
from harness.errors import BackendError, DeviceError, HilgateError
from tests.integration.conftest import Project
from tests.integration.desk import SECONDS, Desk, new_key
from tests.support.sshd import Board, BoardServer
from tests.support.wheels import write_wheel

OLD_PYTHON = """#!/bin/sh
says='import sys; sys.version_info = (3, 6, 9); sys.version = "3.6.9 (old)"; exec(sys.argv[-1])'
exec /usr/bin/python3 -c "$says" "$@"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer(Board()) as made:
        yield made


@pytest.fixture
def desk(server: BoardServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


@pytest.fixture
def board(server: BoardServer, desk: Desk) -> Iterator[BoardServer]:
    """The board, well connected; what a test changes of its shell and commands is undone."""
    desk.pin(server)
    desk.configure(server)
    yield server
    (server.home / ".bashrc").write_text("")
    for name in ("python3", "python3.11"):
        (server.folder / "bin" / name).unlink(missing_ok=True)


def put_command(server: BoardServer, text: str) -> None:
    for name in ("python3", "python3.11"):
        path = server.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)


@pytest.mark.parametrize(
    "bashrc",
    [
        pytest.param("echo welcome to the board\n", id="chatty"),
        pytest.param("head -c 3000 /dev/urandom\n", id="binary-junk"),
        pytest.param("echo 'lots to say' >&2\n", id="chatty-on-stderr"),
        pytest.param("sleep 1\n", id="slow"),
        pytest.param('exec dash -c "$BASH_EXECUTION_STRING"\n', id="another-shell"),
        pytest.param("cd /\nexport PYTHONPATH=/nonexistent PYTHONSTARTUP=/x PYTHONSAFEPATH=1 LANG=C\n", id="odd"),
    ],
)
def test_login_shells_that_are_borne_with(board: BoardServer, desk: Desk, bashrc: str) -> None:
    (board.home / ".bashrc").write_text(bashrc)
    opened = open_board(desk.device())
    assert opened.facts.python.startswith("3.11")
    opened.close()


def not_opened(desk: Desk, kind: type[HilgateError], **changes: Any) -> Any:
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        open_board(desk.device(**changes))
    assert time.monotonic() - began < SECONDS
    return caught.value


def test_a_login_shell_that_ends_by_itself(board: BoardServer, desk: Desk) -> None:
    (board.home / ".bashrc").write_text("echo broken >&2\nexit 3\n")
    error = not_opened(desk, DeviceError)
    assert "exit status 3" in error.found
    assert "broken" in error.found
    assert "127.0.0.1" in error.where


def test_a_python_that_is_too_old(board: BoardServer, desk: Desk) -> None:
    put_command(board, OLD_PYTHON)
    error = not_opened(desk, DeviceError)
    assert "too old" in error.what
    assert "3.6.9" in error.found


def test_a_python_that_breaks(board: BoardServer, desk: Desk) -> None:
    put_command(board, "#!/bin/sh\necho no libpython >&2\nexit 1\n")
    error = not_opened(desk, DeviceError)
    assert "no libpython" in error.found


def test_no_python_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path, monkeypatch)
    with BoardServer(Board(without=("python*",))) as server:
        desk.pin(server)
        desk.configure(server)
        error = not_opened(desk, DeviceError)
    assert "no such Python" in error.what
    assert "python3.11" in error.found


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        pytest.param({"arch": "aarch64"}, "arch aarch64", id="arch"),
        pytest.param({"memory_mib": 17}, "memory_mib 17", id="memory"),
        pytest.param({"cpu": "cortex-a72"}, "cpu cortex-a72", id="cpu"),
        pytest.param({"runtime": Runtime(python="3.10", packages=("a==1",))}, "python 3.10", id="python"),
    ],
)
def test_a_board_that_is_another_than_its_file_says(
    board: BoardServer, desk: Desk, changes: dict[str, Any], key: str
) -> None:
    error = not_opened(desk, DeviceError, **changes)
    assert key in error.wanted
    assert error.where == str(desk.device().path)


@pytest.mark.parametrize(
    ("tag", "what"),
    [
        pytest.param("cp311-cp311-manylinux_2_17_ppc64le", "no wheel of onnxruntime==1.0", id="another-platform"),
        pytest.param("cp311-cp311-manylinux_2_60_x86_64", "needs a newer glibc", id="newer-glibc"),
    ],
)
def test_no_wheel_for_the_board(
    board: BoardServer, desk: Desk, monkeypatch: pytest.MonkeyPatch, tag: str, what: str
) -> None:
    device = desk.device(runtime=Runtime(packages=("onnxruntime==1.0", "numpy==1.0")))
    opened = open_board(device)
    index(desk.folder, monkeypatch, tag.replace("x86_64", opened.facts.arch))
    with pytest.raises(BackendError, match=what) as caught:
        plan_runtime(device, load_backend("onnxruntime"), opened.facts)
    assert "loop.toml" in caught.value.where
    opened.close()


def index(folder: Path, patch: pytest.MonkeyPatch, tag: str) -> None:
    """The only wheels that pip finds."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        patch.delenv(name)
    shutil.rmtree(folder / "index", ignore_errors=True)
    (folder / "index").mkdir()
    for name, its in (("onnxruntime", tag), ("numpy", "py3-none-any")):
        write_wheel(folder / "index" / f"{name}-1.0-{its}.whl", {})
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "index")}
    for key, value in {**settings, "HILGATE_CACHE": str(folder / "cache")}.items():
        patch.setenv(key, value)
    patch.setattr(pip_errors, "PYTHON_MINORS", (10,))


# Whole runs


@pytest.mark.parametrize(
    ("key", "extra", "said"),
    [
        pytest.param("unknown", "", "is unknown", id="unknown-key"),
        pytest.param("pinned", "memory_mib = 17", "the board is not what the file of loop says", id="another-board"),
        pytest.param("another", "", "has CHANGED", id="changed-key", marks=pytest.mark.slow),
        pytest.param("refused", "", "loop refuses our keys", id="refused-key", marks=pytest.mark.slow),
        pytest.param("pinned", 'arch = "aarch64"', "arch aarch64", id="another-arch", marks=pytest.mark.slow),
        pytest.param("pinned", 'store = "/proc/hilgate"', "/proc", id="no-store", marks=pytest.mark.slow),
        pytest.param(
            "pinned",
            '[runtime]\npython = "/nowhere/python"\n[options]',
            "there is no such Python on the device",
            id="no-python",
            marks=pytest.mark.slow,
        ),
        pytest.param("pinned", "", "no wheel of", id="no-wheel", marks=pytest.mark.slow),
    ],
)
def test_a_run_is_refused_with_the_reason(
    server: BoardServer, project: Project, monkeypatch: pytest.MonkeyPatch, key: str, extra: str, said: str
) -> None:
    desk = Desk(project.folder, monkeypatch)
    foreign = new_key(project.folder / "foreign")
    desk.configure(server, IdentityFile=foreign if key == "refused" else server.key, IdentitiesOnly="yes")
    if key in ("pinned", "refused"):
        desk.pin(server)
    elif key == "another":
        kind, text = foreign.with_suffix(".pub").read_text().split()[:2]
        desk.pinned.write_text(f"[{server.host}]:{server.port} {kind} {text}\n")
    device = '[device]\ndescription = "a board"\nlink = "ssh"\nhost = "loop"\nbackends = ["onnxruntime"]\n'
    packages = "" if "[runtime]" in extra else '[runtime]\npackages = ["onnxruntime==1.0", "numpy==1.0"]\n'
    project.write("devices/loop.toml", f"{device}{extra}\n{packages}")
    index(project.folder, monkeypatch, "py3-none-aix_7")
    done = project.run("--device", "loop")
    assert done.status == 1, done.output
    assert said in " ".join(done.evidence["cells"][0]["error"].split())
    # That there is no wheel is the backend's failure; all the others are the board's, and none of the model.
    assert done.evidence["verdict"] == ("FAIL" if said == "no wheel of" else "INCONCLUSIVE")
    assert server.processes() == []
