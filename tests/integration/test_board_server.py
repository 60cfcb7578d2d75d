"""The server that stands for a board: it is another place than this machine, and it is gone when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.namespaces import require_namespaces
from tests.support.proxy import FlakyProxy
from tests.support.sshd import Board, BoardError, BoardServer

ORPHAN = "setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!"
# What a test process does that is killed before it can clean up.
STARTER = """
import time
from tests.support.sshd import BoardServer
with BoardServer() as board:
    board.run("setsid sleep 600 </dev/null >/dev/null 2>&1 &")
    print(board.folder, board.port, *board.processes(), flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    """One with a bit of everything."""
    board = Board(
        bashrc="echo welcome >&2\n",
        commands={"vcgencmd": "#!/bin/sh\necho throttled=0x0\n"},
        disks={"small": 64},
        key_types=("ed25519", "ecdsa"),
    )
    with BoardServer(board) as made:
        yield made


def said(server: BoardServer, command: str, *options: str) -> str:
    done = server.run(command, *options)
    assert done.returncode == 0, done.stderr + server.log()
    return done.stdout.strip()


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_one_logs_in_as_the_boards_user_in_a_home_of_its_own(server: BoardServer) -> None:
    whoami, uid, home = said(server, "whoami; id -u; pwd").split()

    assert (whoami, int(uid), Path(home)) == ("board", server.uid, server.home)
    assert (server.uid == os.geteuid()) == (os.geteuid() != 0)
    assert server.home != Path.home()


def test_the_home_is_the_same_folder_from_outside(server: BoardServer) -> None:
    said(server, "echo hello > file")

    assert (server.home / "file").read_text() == "hello\n"
    assert (server.home / "file").stat().st_uid == server.uid


def test_nothing_of_the_starters_environment_is_there(server: BoardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_CACHE", "/elsewhere")
    lines = said(server, "command -v python3; env").splitlines()
    found = dict(line.split("=", 1) for line in lines[1:])

    assert not {name for name in found if name.startswith(("HILGATE", "PYTEST", "PYTHON", "PYENV"))}
    assert found["PATH"] == f"{server.folder}/bin:/usr/local/bin:/usr/bin:/bin"
    assert lines[0].startswith("/usr/")


def test_the_bashrc_is_read_for_commands(server: BoardServer) -> None:
    assert "welcome" in server.run("true").stderr


def test_a_command_of_the_boards_own_is_found_first(server: BoardServer) -> None:
    assert said(server, "vcgencmd") == "throttled=0x0"


def test_a_command_can_be_missing_and_another_one_broken() -> None:
    with BoardServer(Board(commands={"python3": "#!/bin/sh\nexit 7\n"}, without=("python*",))) as server:
        assert server.run("python3").returncode == 7
        assert server.run("command -v python3.11 python").returncode == 1
        assert said(server, "uname") == "Linux"


def test_a_small_disk_gets_full(server: BoardServer) -> None:
    done = server.run("head -c 100000 /dev/zero > small/file")

    assert "No space left on device" in done.stderr
    assert said(server, "stat -c %s small/file") == str(64 * 1024)


def test_the_machine_is_as_it_was(server: BoardServer) -> None:
    assert not [name for name in ("passwd", "group") if "board:" in Path("/etc", name).read_text()]
    assert str(server.folder) not in Path("/proc/self/mounts").read_text()
    assert "board:" in said(server, "cat /etc/passwd")


def test_no_password_of_the_machine_is_on_the_board(server: BoardServer) -> None:
    lines = said(server, "cat /etc/shadow").splitlines()

    assert {line.split(":")[1] for line in lines} == {"*"}


def test_a_terminal_can_be_had(server: BoardServer) -> None:
    assert said(server, "test -t 0 && tty", "-tt").endswith("/dev/pts/0")


def test_what_the_device_is_asked_for_is_there(server: BoardServer) -> None:
    boot, stat = said(server, "cat /proc/sys/kernel/random/boot_id; cut -d' ' -f1,22 /proc/self/stat").splitlines()

    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert len(stat.split()) == 2


def test_orphans_are_found_and_known_by_their_inside_pid(server: BoardServer) -> None:
    inside = int(said(server, ORPHAN))
    outside = server.outside_pid(inside)

    assert outside is not None
    assert wait_until(lambda: server.processes() == [outside])
    assert Path(f"/proc/{outside}").stat().st_uid == server.uid
    os.kill(outside, signal.SIGKILL)
    assert wait_until(lambda: server.processes() == [])
    assert server.outside_pid(inside) is None


def test_killed_sessions_drop_their_connections_and_not_the_server(server: BoardServer) -> None:
    results: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(target=lambda: results.append(server.run("sleep 600")))
    thread.start()
    assert wait_until(lambda: bool(server.processes()))
    orphan = server.processes()
    server.kill_sessions()
    thread.join()

    assert results[0].returncode == 255
    assert server.processes() == orphan
    assert said(server, "echo here") == "here"
    for pid in orphan:
        os.kill(pid, signal.SIGKILL)


def test_one_jumps_through_it_and_a_proxy_can_cut_it(server: BoardServer) -> None:
    with FlakyProxy(server.port) as proxy:
        command = f"ProxyCommand=ssh -F {server.folder}/ssh_config -W 127.0.0.1:{proxy.port} board"
        assert said(server, "echo far", "-o", command) == "far"
        assert proxy.bytes_up > 1000
        proxy.drop_after(1500)
        assert server.run("sleep 600", "-o", command).returncode == 255


def test_files_are_copied_by_sftp(server: BoardServer, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("content")
    command = ["sftp", "-q", "-b", "-", "-F", f"{server.folder}/ssh_config", "board"]
    subprocess.run(command, input=f"put {tmp_path}/here there\n", text=True, check=True, capture_output=True)

    assert (server.home / "there").read_text() == "content"


def test_other_host_keys_are_noticed() -> None:
    with BoardServer() as server:
        old, port, print_ = server.host_key_line, server.port, server.fingerprint
        pinned = server.folder / "pinned"
        pinned.write_text(f"{old}\n")
        shown = subprocess.run(["ssh-keygen", "-lf", pinned], check=True, capture_output=True, text=True).stdout
        assert print_ in shown
        assert said(server, "echo trusted", "-o", f"UserKnownHostsFile={pinned}") == "trusted"
        server.replace_host_keys()

        assert (server.port, server.host_key_line == old, server.fingerprint == print_) == (port, False, False)
        assert "IDENTIFICATION HAS CHANGED" in server.run("true", "-o", f"UserKnownHostsFile={pinned}").stderr
        assert said(server, "echo trusted") == "trusted"


def test_everything_is_gone_after_the_end() -> None:
    with BoardServer() as server:
        said(server, f"mkdir locked && touch locked/file && chmod 000 locked; {ORPHAN}")
        pids = server.processes()
        assert pids

    assert [pid for pid in pids if alive(pid)] == []
    assert not server.folder.exists()
    assert server.processes() == []


def test_everything_is_gone_when_the_starter_is_killed() -> None:
    require_namespaces()
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", STARTER], cwd=root, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        folder, port, *pids = starter.stdout.readline().split()
        starter.kill()

    assert pids
    assert wait_until(lambda: not [pid for pid in pids if alive(int(pid))])
    subprocess.run(["rm", "-r", folder], check=True)
    probe = subprocess.run(["ssh-keyscan", "-p", port, "127.0.0.1"], check=False, capture_output=True, text=True)
    assert not probe.stdout


def test_a_missing_server_is_reported_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.board_files.ADMIN_PATH", "/nowhere")
    with pytest.raises(BoardError, match=r"no sshd in /nowhere: install .* openssh-server"), BoardServer():
        pass


def test_a_stopped_server_comes_back_with_its_home() -> None:
    with BoardServer() as server:
        said(server, f"touch file; {ORPHAN}")
        server.stop()
        server.stop()
        assert server.run("true").returncode == 255
        server.start()
        assert said(server, "ls") == "file"
        assert server.processes() == []


def test_a_wrong_setting_is_reported_with_what_sshd_said() -> None:
    with (
        pytest.raises(BoardError, match="Bad configuration option: Nonsense"),
        BoardServer(Board(config=["Nonsense yes"])),
    ):
        pass
