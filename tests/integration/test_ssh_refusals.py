"""What is wrong on the way to a board, made wrong for real: each is a clear error, in bounded time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HilgateError, HostKeyError, InputError, LinkError
from harness.links.ssh.connection import connect
from tests.integration.desk import SECONDS, Desk, locked_copy, new_key, open_descriptors, ssh_agent
from tests.support.proxy import FlakyProxy
from tests.support.sshd import Board, BoardServer


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer(Board(key_types=("ed25519", "ecdsa"))) as made:
        yield made


@pytest.fixture
def desk(server: BoardServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def refused(desk: Desk, kind: type[HilgateError] = LinkError, host: str = "loop") -> Any:
    """The error of connecting; it leaves no thread and no descriptor, and comes in time."""
    threads, descriptors = threading.active_count(), open_descriptors()
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        connect(desk.device(host))
    assert time.monotonic() - began < SECONDS
    assert threading.active_count() == threads
    while open_descriptors() > descriptors and time.monotonic() < began + SECONDS:
        time.sleep(0.01)  # a proxy of this process closes its own a moment later
    assert open_descriptors() <= descriptors
    assert caught.value.what
    assert caught.value.found
    assert caught.value.hint
    return caught.value


# Host keys


def other_key(server: BoardServer, folder: Path, port: int) -> str:
    """A line for a known_hosts file with a key that the board does not have."""
    kind, code, *_ = new_key(folder / "another_host").with_suffix(".pub").read_text().split()
    return f"[{server.host}]:{port} {kind} {code}\n"


def test_an_unknown_key_is_refused_before_anybody_logs_in(server: BoardServer, desk: Desk) -> None:
    desk.configure(server, StrictHostKeyChecking="no")
    before = server.log().count("Accepted publickey")
    error = refused(desk, HostKeyError)
    assert error.what == f"the host key of [{server.host}]:{server.port} is unknown"
    assert server.fingerprint in error.found
    assert "hilgate trust loop" in error.hint
    assert "loop.toml" in error.where
    assert server.log().count("Accepted publickey") == before
    assert not desk.pinned.exists()
    assert not desk.users.exists()


def test_a_pinned_key_that_changed_is_refused_although_the_users_file_knows_the_new_one(
    server: BoardServer, desk: Desk
) -> None:
    desk.configure(server)
    desk.users.write_text((server.folder / "known_hosts").read_text())
    desk.pinned.write_text(other_key(server, desk.folder, server.port))
    error = refused(desk, HostKeyError)
    assert "CHANGED" in error.what
    assert server.fingerprint in error.found
    assert server.fingerprint not in error.wanted


def test_a_revoked_key_is_refused(server: BoardServer, desk: Desk) -> None:
    desk.configure(server)
    lines = (server.folder / "known_hosts").read_text().splitlines(keepends=True)
    desk.pinned.write_text(lines[0])
    desk.users.write_text("@revoked * " + lines[0].partition(" ")[2])
    assert "REVOKED" in refused(desk, HostKeyError).what


@pytest.mark.parametrize(("known", "what"), [(False, "unknown"), (True, "CHANGED")], ids=["unknown", "changed"])
@pytest.mark.parametrize("bad", ["first", "second", "board"])
def test_the_key_of_every_host_on_the_way_is_verified(
    server: BoardServer, desk: Desk, bad: str, known: bool, what: str
) -> None:
    with FlakyProxy(server.port) as first, FlakyProxy(server.port) as second:
        ports = {"first": first.port, "second": second.port, "board": server.port}
        key = server.host_key_line.partition(" ")[2]
        lines = [f"[{server.host}]:{port} {key}\n" for name, port in ports.items() if name != bad]
        lines += [other_key(server, desk.folder, ports[bad])] if known else []
        desk.pinned.write_text("".join(lines))
        desk.configure(server, ProxyJump="first,second", StrictHostKeyChecking="no")
        desk.configure(server, "first", Port=first.port, StrictHostKeyChecking="accept-new")
        desk.configure(server, "second", Port=second.port)
        error = refused(desk, HostKeyError)
        assert error.what.startswith(f"the host key of [{server.host}]:{ports[bad]} ")
        assert what in error.what
        assert desk.pinned.read_text() == "".join(lines)


def test_a_damaged_line_of_the_pinned_file_is_named(server: BoardServer, desk: Desk) -> None:
    desk.configure(server)
    desk.pin(server)
    with desk.pinned.open("a") as file:
        file.write("other ssh-ed25519 AAAAC3Nz\n")
    assert refused(desk, InputError).where == f"{desk.pinned}:3"


# Our keys


def test_a_key_that_is_refused_is_named(server: BoardServer, desk: Desk) -> None:
    desk.pin(server)
    key = new_key(desk.folder / "mine")
    desk.configure(server, IdentityFile=key)
    error = refused(desk)
    assert "refuses our keys" in error.what
    assert error.found.startswith(f"user board\n{key} SHA256:")
    assert "ssh-copy-id loop" in error.hint
    assert key.read_text().splitlines()[1] not in str(error)


def test_a_key_with_a_passphrase_and_no_agent_is_said_to_be_that(server: BoardServer, desk: Desk) -> None:
    desk.pin(server)
    key = locked_copy(server.key, desk.folder / "locked")
    desk.configure(server, IdentityFile=key)
    error = refused(desk)
    assert f"{key}: needs its passphrase" in error.found
    assert "ssh-add" in error.hint
    assert key.read_text().splitlines()[1] not in str(error)


def test_having_no_key_at_all_is_said(server: BoardServer, desk: Desk) -> None:
    desk.pin(server)
    desk.configure(server, IdentityFile=None)
    assert "no key to show" in refused(desk).found


def test_too_many_keys_are_said_to_be_too_many(
    server: BoardServer, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.pin(server)
    desk.configure(server, IdentityFile=None)
    others = [new_key(desk.folder / f"other{number}") for number in range(8)]
    with ssh_agent(monkeypatch, *others, server.key):
        error = refused(desk)
    assert "IdentitiesOnly" in error.hint
    assert error.found.count("refused") == 6


def test_an_agent_that_does_not_answer_is_not_waited_for_without_end(
    server: BoardServer, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.links.ssh.login.AGENT_TIMEOUT_S", 0.5)
    desk.pin(server)
    desk.configure(server, IdentityFile=None)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(desk.folder / "agent"))
        silent.listen()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(desk.folder / "agent"))
        refused(desk)


# Waits


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A listening socket that nobody accepts from."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_a_port_at_which_nothing_listens(server: BoardServer, desk: Desk) -> None:
    desk.configure(server, Port=1)
    error = refused(desk)
    assert "nothing listens" in error.found
    assert "127.0.0.1:1" in error.where


def test_a_name_that_does_not_resolve(desk: Desk) -> None:
    error = refused(desk, host="board@no-such-board.invalid")
    assert "does not resolve" in error.what
    assert "no-such-board.invalid" in error.where


def test_packets_that_are_dropped(server: BoardServer, desk: Desk) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with contextlib.ExitStack() as stack:
            for _ in range(2):  # the queue is full with them: the kernel takes in no more
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            desk.configure(server, Port=full.getsockname()[1], ConnectTimeout=1)
            assert "no answer in 1 s" in refused(desk).found


def test_a_server_that_says_nothing(server: BoardServer, desk: Desk, silent: socket.socket) -> None:
    desk.configure(server, Port=silent.getsockname()[1], ConnectTimeout=1)
    assert "no answer in 1 s" in refused(desk).found


def test_a_server_that_says_nothing_after_its_banner(server: BoardServer, desk: Desk, silent: socket.socket) -> None:
    desk.configure(server, Port=silent.getsockname()[1], ConnectTimeout=1)

    def greet() -> None:
        with silent.accept()[0] as accepted:
            accepted.sendall(b"SSH-2.0-Stalled\r\n")
            while accepted.recv(1 << 16):
                pass

    greeting = threading.Thread(target=greet)
    greeting.start()
    with pytest.raises(LinkError, match="no answer in 1 s"):
        connect(desk.device())
    greeting.join()
    assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())


@pytest.mark.parametrize("count", [0, 10, 100, 1000, 1500], ids="after-{}-bytes".format)
def test_a_connection_that_drops_while_it_is_made(server: BoardServer, desk: Desk, count: int) -> None:
    with FlakyProxy(server.port) as proxy:
        desk.pin(server, proxy.port)
        desk.configure(server, Port=proxy.port)
        proxy.drop_after(count + 1, "down")
        with pytest.raises(LinkError) as caught:
            connect(desk.device())
        assert "cannot be reached" in caught.value.what
        connect(desk.device()).close()


def test_a_host_that_the_jump_host_cannot_reach(server: BoardServer, desk: Desk) -> None:
    desk.pin(server)
    desk.configure(server, Port=1, ProxyJump="first")
    desk.configure(server, "first")
    error = refused(desk)
    assert "from first" in error.what
    assert error.where.startswith(f"board@127.0.0.1:1 through board@127.0.0.1:{server.port}")


def test_a_jump_host_that_refuses_us_is_the_one_that_is_named(server: BoardServer, desk: Desk) -> None:
    desk.pin(server)
    desk.configure(server, ProxyJump="first")
    desk.configure(server, "first", HostName="localhost", IdentityFile=new_key(desk.folder / "mine"))
    desk.users.write_text((server.folder / "known_hosts").read_text().replace("127.0.0.1", "localhost"))
    error = refused(desk)
    assert error.what.startswith("first, a host on the way")
    assert "ssh-copy-id first" in error.hint


# What ssh_config says


@pytest.mark.parametrize(
    ("command", "found"),
    [
        pytest.param("echo no way >&2; exit 1", "no way", id="fails"),
        pytest.param("no-such-program %h", "no-such-program", id="is-not-there"),
        pytest.param("sleep 600", "no answer in 1 s", id="says-nothing"),
        pytest.param("echo hello", "echo", id="ends"),
    ],
)
def test_a_proxy_command_that_leads_nowhere(server: BoardServer, desk: Desk, command: str, found: str) -> None:
    desk.configure(server, ProxyCommand=command, ConnectTimeout=1)
    error = refused(desk)
    assert found in error.found
    assert command.split(maxsplit=1)[0] in error.found


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Host *\n ProxyJump first\n", id="circle"),
        pytest.param("Host *\n Port many\n", id="port"),
        pytest.param("Host *\n ConnectTimeout soon\n", id="time"),
        pytest.param("nonsense\n", id="no-setting"),
    ],
)
def test_settings_that_make_no_sense(server: BoardServer, desk: Desk, text: str) -> None:
    desk.config.write_text(text)
    refused(desk, InputError)


def test_a_host_that_a_shell_would_take_for_a_command(server: BoardServer, desk: Desk) -> None:
    desk.configure(server, "*", HostName=None, ProxyCommand="echo %h >&2; exit 1")
    error = refused(desk, InputError, host=f"x;touch${{IFS}}{desk.folder}/done")
    assert "[USER@]HOST[:PORT]" in error.wanted
    assert not (desk.folder / "done").exists()
