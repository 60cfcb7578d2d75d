"""`hilgate` against a real SSH server that stands for a board, with a home and an ssh_config of the test's own."""

import codecs
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.agent.daemon.store import Store
from harness.board import open_board
from harness.cli import cli
from harness.cli.project import Project
from harness.device.device import Device
from harness.protocol.daemon import Pong
from tests.support.sshd import Board, BoardServer


@dataclass
class Desk:
    """A project's folder and a home, in which `hilgate` is typed."""

    folder: Path
    home: Path

    @property
    def known_hosts(self) -> Path:
        return self.folder / "devices" / "known_hosts"

    def __call__(self, *arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(cli, list(arguments), input=typed)

    def knows(self, server: BoardServer, name: str = "bench", *lines: str) -> None:
        """Let ssh_config name a server. Its own file of known hosts is not told."""
        block = server.ssh_config(name).replace(str(server.folder / "known_hosts"), "none")
        with (self.home / ".ssh" / "config").open("a") as config:
            config.write(block + "".join(f"    {line}\n" for line in lines))

    def device(self, name: str) -> Device:
        return Project(self.folder / "devices").device(name)

    def state(self, name: str) -> str:
        """The last columns of a device's row in `hilgate devices`."""
        rows = self("devices").stdout.splitlines()
        return next(row for row in rows if row.split()[:1] == [name])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    home, folder = tmp_path / "home", tmp_path / "project"
    (home / ".ssh").mkdir(parents=True)
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.chdir(folder)
    return Desk(folder, home)


@pytest.fixture
def start() -> Iterator[Callable[[Board], BoardServer]]:
    with ExitStack() as stack:
        yield lambda board: stack.enter_context(BoardServer(board))


@pytest.fixture
def server(desk: Desk, start: Callable[[Board], BoardServer]) -> BoardServer:
    found = start(Board())
    desk.knows(found)
    return found


@pytest.fixture
def rig(desk: Desk, server: BoardServer) -> BoardServer:
    """A board that was added."""
    result = desk("add", "rig", "bench", "--fingerprint", server.fingerprint)
    assert result.exit_code == 0, result.output
    return server


def test_a_wrong_fingerprint_is_refused_and_nothing_is_written(desk: Desk, server: BoardServer) -> None:
    result = desk("add", "rig", "bench", "--fingerprint", "SHA256:" + 43 * "A", typed="y\n")
    assert result.exit_code == 1
    assert "is not one that is expected" in result.stderr
    assert server.fingerprint in result.stderr
    assert not (desk.folder / "devices").exists()


@pytest.mark.parametrize("typed", [pytest.param("n\n", id="no"), pytest.param("\n", id="nothing"), ""])
def test_a_key_that_nobody_confirms_is_not_pinned(desk: Desk, server: BoardServer, typed: str) -> None:
    result = desk("add", "rig", "bench", typed=typed)
    assert result.exit_code == 1
    assert not (desk.folder / "devices").exists()


def test_a_person_is_shown_the_key_and_how_to_compare_it(desk: Desk, server: BoardServer) -> None:
    result = desk("add", "rig", f"{server.user}@{server.host}:{server.port}", typed="y\n")
    assert f"ssh-ed25519 {server.fingerprint}" in result.stdout
    assert "ssh-keygen -lf" in result.stdout
    # Without ssh_config there is no key to log in with; the host's own is pinned all the same.
    assert result.exit_code == 1
    assert "refuses our keys" in result.stderr
    assert desk.known_hosts.read_text() == server.host_key_line + "\n" * (not server.host_key_line.endswith("\n"))


def test_add_writes_a_file_that_fits_the_board_and_says_what_is_next(desk: Desk, server: BoardServer) -> None:
    result = desk("add", "rig", "bench", typed="y\n")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "next: pytest -m hil --device rig"
    device = desk.device("rig")
    assert (device.link, device.host, device.threads) == ("ssh", "bench", 1)
    assert f"architecture  {device.arch}" in result.stdout
    assert server.host_key_line.strip() in desk.known_hosts.read_text()
    assert "✓ memory" in desk("doctor", "rig", "--offline").stdout


def test_a_known_key_is_not_asked_for_again(desk: Desk, rig: BoardServer) -> None:
    again = desk("add", "rig", "bench", "--force")
    assert again.exit_code == 0, again.output
    assert "unknown" not in again.stdout


def test_an_expected_key_that_no_host_shows_is_an_error_although_the_hosts_are_known(
    desk: Desk, rig: BoardServer
) -> None:
    result = desk("add", "other", "bench", "--fingerprint", "SHA256:" + 43 * "A")
    assert result.exit_code == 1
    assert "no host on the way showed" in result.stderr
    assert not (desk.folder / "devices" / "other.toml").exists()


def test_every_host_on_the_way_is_confirmed(desk: Desk, start: Callable[[Board], BoardServer]) -> None:
    gate, board = start(Board()), start(Board())
    desk.knows(gate, "gate")
    desk.knows(board, "bench", "ProxyJump gate")
    half = desk("add", "rig", "bench", typed="y\nn\n")
    assert half.exit_code == 1
    assert not (desk.folder / "devices" / "rig.toml").exists()
    result = desk("add", "rig", "bench", "--fingerprint", gate.fingerprint, "--fingerprint", board.fingerprint)
    assert result.exit_code == 0, result.output
    pinned = desk.known_hosts.read_text()
    assert gate.host_key_line.strip() in pinned
    assert board.host_key_line.strip() in pinned
    doctor = desk("doctor", "rig", "--offline").stdout
    assert gate.fingerprint in doctor
    assert board.fingerprint in doctor


def test_a_key_of_the_users_own_is_pinned_for_the_project_by_trust(desk: Desk, server: BoardServer) -> None:
    (desk.home / ".ssh" / "config").write_text(server.ssh_config("bench"))  # with its file of known hosts
    added = desk("add", "rig", "bench")
    assert "known to you only" in added.stdout
    assert not desk.known_hosts.exists()
    assert desk("trust", "rig", typed="n\n").exit_code == 1
    assert not desk.known_hosts.exists()
    assert desk("trust", "rig", typed="y\n").exit_code == 0
    assert server.host_key_line.strip() in desk.known_hosts.read_text()


def test_a_changed_key_is_pinned_only_when_the_hosts_name_is_typed(desk: Desk, rig: BoardServer) -> None:
    old = rig.fingerprint
    rig.replace_host_keys()
    assert "host key has CHANGED: hilgate trust rig" in desk.state("rig")
    doctor = desk("doctor", "rig", "--offline")
    assert doctor.exit_code == 1
    assert "✗ host key" in doctor.stdout
    assert "skipped: host key failed" in doctor.stdout
    before = desk.known_hosts.read_text()
    for typed in ("y\n", "yes\n", "\n", ""):
        refused = desk("trust", "rig", typed=typed)
        assert refused.exit_code == 1
        assert refused.stdout.index(old) < refused.stdout.index(rig.fingerprint)
    assert desk.known_hosts.read_text() == before
    name = rig.host_key_line.split()[0]
    assert desk("trust", "rig", typed=f"{name}\n").exit_code == 0
    assert rig.host_key_line.strip() in desk.known_hosts.read_text()
    assert "reachable" in desk.state("rig")


def test_a_changed_key_is_pinned_by_its_fingerprint(desk: Desk, rig: BoardServer) -> None:
    old = rig.fingerprint
    rig.replace_host_keys()
    assert desk("trust", "rig", "--fingerprint", old).exit_code == 1
    assert desk("trust", "rig", "--fingerprint", rig.fingerprint).exit_code == 0


def test_a_revoked_key_is_not_offered_to_be_pinned(desk: Desk, rig: BoardServer) -> None:
    revoked = f"@revoked * {rig.host_key_line.strip().partition(' ')[2]}\n"
    desk.known_hosts.write_text(revoked)
    result = desk("trust", "rig", "--fingerprint", rig.fingerprint)
    assert result.exit_code == 1
    assert "REVOKED" in result.stderr
    assert desk.known_hosts.read_text() == revoked


def test_devices_says_how_each_one_is(desk: Desk, rig: BoardServer) -> None:
    (desk.folder / "devices" / "far.toml").write_text('extends = "rig"\n[device]\nhost = "nowhere.invalid"\n')
    (desk.folder / "devices" / "wrong.toml").write_text('extends = "rig"\n[device]\nmemory_mib = 1\n')
    (desk.folder / "devices" / "closed.toml").write_text('extends = "rig"\n[device]\nhost = "127.0.0.1:1"\n')
    rows = {line.split()[0]: line for line in desk("devices").stdout.splitlines()}
    assert rows["rig"].endswith("reachable")
    assert rows["far"].endswith("not reachable: name does not resolve")
    assert "another board than its file says: memory_mib" in rows["wrong"]
    assert "not reachable: " in rows["closed"]


def test_who_holds_a_device_is_seen_without_disturbing_the_run(desk: Desk, rig: BoardServer) -> None:
    with closing(open_board(desk.device("rig"))) as board:
        assert "busy: held by" in desk.state("rig")
        doctor = desk("doctor", "rig", "--offline")
        assert doctor.exit_code == 1
        assert "✗ lock" in doctor.stdout
        assert desk("clean", "rig", "--yes").exit_code == 1
        board.request(Pong)
    assert "busy" not in desk.state("rig")


def test_doctor_passes_and_writes_nothing_on_the_device(desk: Desk, rig: BoardServer) -> None:
    before = sorted(rig.home.rglob("*"))
    result = desk("doctor", "rig", "--offline")
    assert result.exit_code == 0, result.output
    assert f"✓ login                    {rig.user}@{rig.host}" in result.stdout
    assert "✗" not in result.stdout
    assert sorted(rig.home.rglob("*")) == before


def test_doctor_names_what_the_file_says_and_the_board_is_not(desk: Desk, rig: BoardServer) -> None:
    (desk.folder / "devices" / "wrong.toml").write_text('extends = "rig"\n[device]\ncpu = "cortex-a72"\n')
    result = desk("doctor", "wrong", "--offline")
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if "✗" in line]
    assert "CPU" in line
    assert "says cpu cortex-a72, found" in line
    assert "✓ memory" in result.stdout


def test_doctor_says_that_an_environment_lacks_packages(desk: Desk, rig: BoardServer) -> None:
    text = 'extends = "rig"\n[runtime]\npackages = []\n'
    (desk.folder / "devices" / "bare.toml").write_text(text)
    result = desk("doctor", "bare", "--offline")
    assert "✗ runtime of onnxruntime" in result.stdout
    assert "not installed: " in result.stdout


def test_doctor_of_a_board_without_python(desk: Desk, start: Callable[[Board], BoardServer]) -> None:
    server = start(Board(without=("python*",)))
    desk.knows(server)
    (desk.folder / "devices").mkdir()
    text = '[device]\ndescription = "x"\nlink = "ssh"\nhost = "bench"\nbackends = ["onnxruntime"]\n'
    (desk.folder / "devices" / "rig.toml").write_text(text)
    assert desk("trust", "rig", "--fingerprint", server.fingerprint).exit_code == 0
    result = desk("doctor", "rig")
    assert result.exit_code == 1
    assert "✓ login" in result.stdout
    assert "✗ Python                   there is no such Python on the device" in result.stdout
    assert "– memory                   skipped: Python failed" in result.stdout


def test_clean_asks_then_frees_the_store(desk: Desk, rig: BoardServer) -> None:
    with closing(open_board(desk.device("rig"))) as board:
        store = Path(board.store)
    leftover = store / "artifacts" / "kept" / "zeros"
    codecs.lookup("ascii")  # loaded now: the interpreter's own files may not be the board's user's to read
    own = os.geteuid()
    os.seteuid(rig.uid)  # whose store it is: another's is refused
    try:
        Store.open(str(store)).make("artifacts/kept", {}, [], {"zeros": "0" * (3 << 20)}, {})
    finally:
        os.seteuid(own)
    assert desk("clean", "rig", typed="n\n").exit_code == 1
    assert leftover.exists()
    result = desk("clean", "rig", typed="y\n")
    assert result.exit_code == 0, result.output
    assert "3 MiB freed on rig" in result.stdout
    assert not leftover.exists()
    assert [path.name for path in store.iterdir()] == ["lock"]


def test_a_board_that_hangs_is_not_waited_for(
    desk: Desk, start: Callable[[Board], BoardServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(
        Board(commands={"python3": "#!/bin/sh\nexec sleep 60\n", "python3.11": "#!/bin/sh\nexec sleep 60\n"})
    )
    desk.knows(server)
    (desk.folder / "devices").mkdir()
    text = '[device]\ndescription = "x"\nlink = "ssh"\nhost = "bench"\nbackends = ["onnxruntime"]\n'
    (desk.folder / "devices" / "rig.toml").write_text(text)
    assert desk("trust", "rig", "--fingerprint", server.fingerprint).exit_code == 0
    monkeypatch.setattr("harness.cli.overview.PROBE_S", 0.7)
    began = time.monotonic()
    assert "not reachable: no answer in 0.7 s" in desk.state("rig")
    assert time.monotonic() - began < 5
    server.stop()  # the thread that still waits for it ends
    for thread in threading.enumerate():
        if thread.name == "look-at-rig":
            thread.join(10)
            assert not thread.is_alive()
