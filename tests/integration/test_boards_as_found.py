"""Boards as people have them: whatever stands in a run's way there, `hilgate add` and `doctor` say before it.

Each is a real server with what makes it odd; a run is what a run does there but for the model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.board import open_board
from harness.cli import cli
from harness.errors import HilgateError
from tests.integration.boards import make_bundle, read_device, wait_for, write_device
from tests.integration.desk import read_all
from tests.support.board_files import ADMIN_PATH
from tests.support.sshd import Board, BoardError, BoardServer

RUNTIME = 'python = "3.11"\npackages = ["onnxruntime==1.32.0", "numpy==2.4.6"]'
AGENT = "import os, sys\nprint('hello', sys.flags.optimize, 'PYTHONHOME' in os.environ, flush=True)\n"
ROBOT = """
    mkdir -p ~/ros/numpy; echo 'raise ImportError("ROS")' > ~/ros/numpy/__init__.py
    echo 'print("ROS")' > ~/ros/sitecustomize.py; echo 'raise ImportError("ROS")' > ~/ros/json.py
    export PYTHONPATH=~/ros PYTHONHOME=/opt/ros PYTHONOPTIMIZE=2 PYTHONWARNINGS=error PYTHONINSPECT=1
    export LD_PRELOAD=/usr/lib/none.so LC_ALL=C
    umask 0777
    echo welcome; read -t 0.2 line
"""


def remounted(option: str) -> list[str]:
    return ["mount --bind {home} {home}", f"mount -o remount,bind,{option} {{home}}"]


def shell(name: str) -> str:
    return shutil.which(name) or f"/usr/bin/{name}"


@contextmanager
def served(board: Board) -> Iterator[BoardServer]:
    if board.login_shell and not Path(board.login_shell).exists():
        pytest.skip(f"no {board.login_shell} on this machine")
    if board.dropbear and shutil.which("dropbear", path=ADMIN_PATH) is None:
        pytest.skip("no dropbear on this machine: install Debian's package dropbear-bin")
    with BoardServer(board) as server:
        yield server


@contextmanager
def met(board: Board, folder: Path, patch: pytest.MonkeyPatch, device: str = "") -> Iterator[BoardServer]:
    """A board that is the device ``board`` of the project in a folder, which is also $HOME."""
    if board.mounts and not _may_remount():
        pytest.skip("this machine's user namespaces do not let a file system be mounted anew")
    with served(board) as server:
        elsewhere = server.folder / "elsewhere"
        elsewhere.mkdir()
        os.chown(elsewhere, server.uid, -1)
        write_device(folder, server, device=device.format(elsewhere=elsewhere), runtime=RUNTIME)
        (folder / "pytest.ini").touch()
        patch.setenv("HOME", str(folder))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        patch.chdir(folder)
        yield server


def _may_remount() -> bool:
    try:
        with BoardServer(Board(mounts=remounted("noexec"))):
            return True
    except BoardError:
        return False


def run(folder: Path) -> HilgateError | None:
    """What stands in the way of a run: it is opened, a bundle sent and started."""
    bundle = make_bundle(folder / "bundle", [100, 400_000], [{"numpy/__init__.py": b""}], AGENT)
    try:
        with open_board(read_device(folder)) as board:
            board.put(bundle)
            channel = board.start(bundle)
            assert read_all(channel).split() == [b"hello", b"0", b"False"]
            assert channel.finish(10) == 0
    except HilgateError as error:
        return error
    return None


def typed(*arguments: str) -> tuple[int, str]:
    """A command of hilgate's, in words that no terminal's width has broken."""
    done = CliRunner().invoke(cli, list(arguments))
    return done.exit_code, " ".join((done.stdout + done.stderr).split())


# A board, lines of its device file, why a run does not work there (None: it does). Also for benchmarks/boards.py.
BOARDS = [
    pytest.param(Board(), "", None, id="as-it-should-be"),
    pytest.param(Board(dropbear=True, login_shell="/bin/sh"), "", None, id="Dropbear"),
    pytest.param(Board(login_shell=shell("tcsh")), "", None, id="tcsh"),
    pytest.param(Board(login_shell=shell("fish")), "", None, id="fish", marks=pytest.mark.slow),
    pytest.param(Board(login_shell=shell("zsh")), "", None, id="zsh", marks=pytest.mark.slow),
    pytest.param(Board(bashrc=ROBOT), "", None, id="49_robot_environment"),
    pytest.param(Board(), 'store = "~/Meine Ablage ü/hil gate\'s"', None, id="52_odd_folders"),
    pytest.param(Board(config=["MaxSessions 1"]), "", "MaxSessions", id="one-session"),
    pytest.param(Board(config=["ForceCommand echo only rsync here"]), "", "only rsync here", id="forced"),
    pytest.param(Board(login_shell="/usr/sbin/nologin"), "", "not available", id="nologin"),
    pytest.param(Board(mounts=remounted("noexec")), "", "mounted noexec", id="noexec"),
    pytest.param(Board(mounts=remounted("ro")), "", "disk is read-only", id="43_read_only_home"),
    pytest.param(Board(home="/nonexistent"), "", "home folder of the user who logs in is not", id="no-home"),
]


@pytest.mark.parametrize(("board", "device", "why"), BOARDS)
def test_add_and_doctor_say_no_where_a_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Board, device: str, why: str | None
) -> None:
    with met(board, tmp_path, monkeypatch, device) as server:
        added, said = typed("add", "new", "board", "--fingerprint", server.fingerprint)
        looked, found = typed("doctor", "board", "--offline")
        error = run(tmp_path)
        wait_for(lambda: True if not server.processes() else None)
    assert (added, looked) == ((0, 0) if why is None else (1, 1)), (said, found)
    assert (error is None) == (why is None), error
    if why is not None:
        for text in (said, found, " ".join(str(error).split())):
            assert why in text
    started = why not in ("only rsync here", "not available")
    assert (tmp_path / "devices/new.toml").exists() == started


@pytest.mark.parametrize(
    "board",
    [
        pytest.param(Board(mounts=remounted("noexec")), id="noexec"),
        pytest.param(Board(mounts=remounted("ro")), id="read-only-home", marks=pytest.mark.slow),
        pytest.param(Board(home="/nonexistent"), id="no-home", marks=pytest.mark.slow),
    ],
)
def test_with_a_store_elsewhere_doctor_says_yes_and_the_run_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Board
) -> None:
    with met(board, tmp_path, monkeypatch, 'store = "{elsewhere}/store"') as server:
        looked, found = typed("doctor", "board", "--offline")
        assert (looked, "would work" in found or "is right" in found) == (0, True), found
        assert not (server.folder / "elsewhere/store").exists()  # what was tried is gone
        assert run(tmp_path) is None


def test_what_is_said_to_be_noexec_is_so_for_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with met(Board(mounts=remounted("noexec")), tmp_path, monkeypatch) as server:
        done = server.run("cp /bin/true . && ./true")
    assert done.returncode == 126
    assert "Permission denied" in done.stderr


def test_noexec_is_no_hindrance_where_nothing_is_started_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with met(Board(mounts=remounted("noexec")), tmp_path, monkeypatch):
        device = tmp_path / "devices/board.toml"
        device.write_text(device.read_text().partition("[runtime]")[0])
        assert run(tmp_path) is None
        _, found = typed("doctor", "board", "--offline")
        assert "✓ disk" in found
        assert "noexec" not in found


def test_a_shell_that_waits_for_input_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.links.ssh.process.SHELL_S", 1.0)
    with met(Board(bashrc="echo which robot; read line\n"), tmp_path, monkeypatch):
        error = run(tmp_path)
    assert error is not None
    assert "did not come to it in 1 s; it printed:\nwhich robot" in error.found
    assert "wait for input" in error.hint
