"""The link ``ssh`` against a real OpenSSH server: the ways there, the keys, what is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import paramiko
import pytest

from harness.links.ssh.connection import connect
from tests.integration.desk import (
    Desk,
    deadline,
    linked,
    locked_copy,
    new_key,
    open_descriptors,
    said,
    ssh_agent,
)
from tests.support.proxy import FlakyProxy
from tests.support.sshd import Board, BoardServer

MIB = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer(Board(key_types=("ed25519", "ecdsa", "rsa"))) as made:
        yield made


# The ways there


def test_an_address_alone_will_do(server: BoardServer, desk: Desk) -> None:
    shutil.copy(server.key, desk.home / ".ssh" / "id_ed25519")
    with linked(desk.device(f"{server.user}@{server.host}:{server.port}")) as link:
        assert said(link, "whoami") == server.user
        assert link.where == f"{server.user}@{server.host}:{server.port}"


@pytest.mark.parametrize(
    ("loop", "others", "ports"),
    [
        pytest.param({}, {}, ["board"], id="direct"),
        pytest.param({"ProxyJump": "first"}, {}, ["first", "board"], id="one-jump"),
        pytest.param({"ProxyJump": "first,second"}, {}, ["first", "second", "board"], id="two-jumps"),
        pytest.param(
            {"ProxyJump": "second"}, {"ProxyJump": "first"}, ["first", "second", "board"], id="jump-of-a-jump"
        ),
        pytest.param({"ProxyJump": "ssh://board@127.0.0.1:{first}"}, {}, ["first", "board"], id="jump-by-address"),
        pytest.param({"ProxyJump": "none"}, {}, ["board"], id="no-jump"),
    ],
)
def test_jump_hosts_are_gone_through_in_their_order(
    server: BoardServer, desk: Desk, loop: dict[str, str], others: dict[str, str], ports: list[str]
) -> None:
    with FlakyProxy(server.port) as first, FlakyProxy(server.port) as second:
        numbers = {"first": first.port, "second": second.port, "board": server.port}
        desk.pin(server, first.port, second.port)
        desk.configure(server, **{key: value.format_map(numbers) for key, value in loop.items()})
        desk.configure(server, "first", Port=first.port)
        desk.configure(server, "second", Port=second.port, **others)
        desk.configure(server, "127.0.0.1")
        route = connect(desk.device())
        assert [hop.port for hop in route.hops] == [numbers[name] for name in ports]
        assert route.hops[0].transport.sock.getpeername()[1] == numbers[ports[0]]
        assert first.connections == ("first" in ports)
        assert second.connections == ("second" in ports)
        route.close()


def test_a_proxy_command_leads_there_and_ends_with_the_link(server: BoardServer, desk: Desk) -> None:
    desk.configure(server, ProxyCommand=f"ssh -F {server.folder}/ssh_config -W %h:%p board")
    with linked(desk.device()) as link:
        assert said(link, "whoami") == server.user
        assert "ProxyCommand" in link.where
        (command,) = [route.command for route in link._routes.values()]
    assert command is not None
    assert command._process.returncode is not None


def test_nothing_is_left_when_a_link_is_closed(server: BoardServer, desk: Desk) -> None:
    with FlakyProxy(server.port) as proxy:
        desk.pin(server, proxy.port)
        desk.configure(server, ProxyJump="first")
        desk.configure(server, "first", Port=proxy.port)
        threads, descriptors = threading.enumerate(), open_descriptors()
        for _ in range(2):
            with linked(desk.device()) as link:
                said(link, "true")
                link.start("cat", bulk=True)
        end = deadline()
        while len(threading.enumerate()) > len(threads) and time.monotonic() < end:
            time.sleep(0.01)  # nobody has finished the two programs: what reads their stderr ends by itself
        assert threading.enumerate() == threads
    assert open_descriptors() <= descriptors


# Host keys


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_the_one_key_that_is_known_is_asked_for(server: BoardServer, desk: Desk, kind: str) -> None:
    lines = (server.folder / "known_hosts").read_text().splitlines(keepends=True)
    desk.pinned.write_text("".join(line for line in lines if line.split()[1] == kind))
    desk.configure(server)
    with linked(desk.device()) as link:
        assert said(link, "whoami") == server.user


def test_keys_of_the_users_own_file_do_and_are_not_copied(server: BoardServer, desk: Desk) -> None:
    desk.pinned.unlink()
    desk.users.write_text((server.folder / "known_hosts").read_text())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", desk.users], check=True, capture_output=True)
    desk.configure(server)
    with linked(desk.device()) as link:
        assert said(link, "whoami") == server.user
    assert not desk.pinned.exists()


def test_an_alias_names_the_key(server: BoardServer, desk: Desk) -> None:
    desk.pinned.write_text("robot " + server.host_key_line.partition(" ")[2] + "\n")
    desk.configure(server, HostKeyAlias="robot")
    with linked(desk.device()) as link:
        assert said(link, "whoami") == server.user


# Our keys


@pytest.mark.parametrize("only", ["yes", "no"])
def test_a_key_with_a_passphrase_does_when_an_agent_holds_it(
    server: BoardServer, desk: Desk, monkeypatch: pytest.MonkeyPatch, only: str
) -> None:
    locked = locked_copy(server.key, desk.home / ".ssh" / "locked")
    shutil.copy(f"{server.key}.pub", f"{locked}.pub")
    others = [new_key(desk.folder / f"other{number}") for number in range(8)]  # more than a server has patience for
    desk.configure(server, IdentityFile=locked, IdentitiesOnly=only)
    with ssh_agent(monkeypatch, *others, server.key), linked(desk.device()) as link:
        assert said(link, "whoami") == server.user


def test_an_agent_alone_will_do(server: BoardServer, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.configure(server, IdentityFile=None)
    with ssh_agent(monkeypatch, server.key), linked(desk.device()) as link:
        assert said(link, "whoami") == server.user


def test_key_files_that_are_not_there_or_of_no_use_are_passed_over(server: BoardServer, desk: Desk) -> None:
    wrong = new_key(desk.folder / "wrong", kind="ecdsa")
    (desk.folder / "nonsense").write_text("nonsense")
    files = [desk.folder / "none", desk.folder / "nonsense", wrong, server.key]
    desk.configure(server, IdentityFile="\n    IdentityFile ".join(map(str, files)))
    with linked(desk.device()) as link:
        assert said(link, "whoami") == server.user


# Silence


def test_importing_and_using_it_warns_of_nothing_and_says_nothing(server: BoardServer, desk: Desk) -> None:
    desk.configure(server)
    program = f"""
from pathlib import Path
from harness.device import Device
from harness.links.ssh import Link
for host in ("loop", "board@127.0.0.1:1"):
    pinned = Path({str(desk.pinned)!r})
    link = Link(Device(
        name="loop", path=Path("x"), description="", link="ssh", host=host, backends=(), known_hosts=pinned
    ))
    try:
        link.start("true").finish(9)
    except Exception as error:
        print(type(error).__name__)
    link.close()
"""
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert (done.returncode, done.stdout, done.stderr) == (0, "LinkError\n", "")


def test_no_policy_of_ours_ever_accepts_a_key_by_itself(server: BoardServer, desk: Desk) -> None:
    with FlakyProxy(server.port) as proxy:
        desk.pin(server, proxy.port)
        desk.configure(server, ProxyJump="first", StrictHostKeyChecking="no")
        desk.configure(server, "first", Port=proxy.port, StrictHostKeyChecking="no")
        route = connect(desk.device())
        for hop in route.hops:
            assert not isinstance(hop.client._policy, paramiko.AutoAddPolicy | paramiko.WarningPolicy)
            assert len(hop.client.get_host_keys()) == 0
        route.close()
