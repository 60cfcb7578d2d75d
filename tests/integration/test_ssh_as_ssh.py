"""A board is reached as ssh reaches it: what only ssh itself can read of ssh_config, agents, keys of a FIDO token."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from harness.errors import LinkError
from harness.links.ssh.connection import connect
from tests.integration.desk import Desk, linked, new_key, said, ssh_agent
from tests.support.sshd import Board, BoardServer


@pytest.fixture(scope="module")
def server() -> Iterator[BoardServer]:
    with BoardServer(Board()) as made:
        yield made


def test_a_host_behind_include_is_reached(server: BoardServer, desk: Desk) -> None:
    desk.configure(server)
    (desk.home / ".ssh/config.d").mkdir()
    desk.config.rename(desk.home / ".ssh/config.d/robots")
    desk.config.write_text("Include config.d/*\n")
    with linked(desk.device()) as link:
        assert said(link, "whoami") == server.user


def test_what_a_match_exec_chooses_is_used(server: BoardServer, desk: Desk) -> None:
    desk.config.write_text(f'Match originalhost loop exec "test -e {server.key}"\n    User {server.user}\n')
    desk.configure(server, User="nobody")
    with linked(desk.device()) as link:
        assert said(link, "whoami") == server.user


def test_settings_of_a_session_at_the_terminal_are_no_hindrance(server: BoardServer, desk: Desk) -> None:
    more = {"RemoteCommand": "tmux attach", "RequestTTY": "yes", "ControlMaster": "auto", "ControlPath": "~/.ssh/%C"}
    desk.configure(server, **more, SetEnv="A=b", VisualHostKey="yes")
    with linked(desk.device()) as link:
        assert said(link, "whoami") == server.user


def test_the_agent_that_ssh_config_names_is_asked(
    server: BoardServer, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ssh_agent(monkeypatch, server.key):
        desk.configure(server, IdentityFile=None, IdentityAgent=os.environ["SSH_AUTH_SOCK"])
        monkeypatch.delenv("SSH_AUTH_SOCK")
        with linked(desk.device()) as link:
            assert said(link, "whoami") == server.user


def test_an_agent_that_ssh_config_leaves_out_is_not_asked(
    server: BoardServer, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.configure(server, IdentityFile=None, IdentityAgent="none")
    with ssh_agent(monkeypatch, server.key), pytest.raises(LinkError, match="no key to show"):
        connect(desk.device())


# Keys of a FIDO token. There is none here: what is tested is what is said of them.


def fido_key(path: Path) -> Path:
    """A private key's file as ssh-keygen -t ed25519-sk writes it (OpenSSH's PROTOCOL.key and PROTOCOL.u2f); no token
    has its handle."""
    point = paramiko.PKey.from_path(new_key(path)).asbytes()[-32:]
    public = paramiko.Message()
    for part in (b"sk-ssh-ed25519@openssh.com", point, b"ssh:"):
        public.add_string(part)
    private = paramiko.Message()
    private.add_bytes(b"\0\0\0\1" * 2 + public.asbytes() + b"\1")  # a check twice; to be touched
    for part in (b"a handle" * 8, b"", b"test"):
        private.add_string(part)
    private.add_bytes(bytes(range(1, 1 + -len(private.asbytes()) % 8)))
    whole = paramiko.Message()
    whole.add_bytes(b"openssh-key-v1\0")
    for part in (b"none", b"none", b""):
        whole.add_string(part)
    whole.add_int(1)
    for part in (public.asbytes(), private.asbytes()):
        whole.add_string(part)
    text = base64.encodebytes(whole.asbytes()).decode()
    path.write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{text}-----END OPENSSH PRIVATE KEY-----\n")
    made = subprocess.run(["ssh-keygen", "-y", "-f", path], check=True, capture_output=True, text=True)
    path.with_suffix(".pub").write_text(made.stdout)
    return path


def test_a_fido_key_in_a_file_is_named_as_such(server: BoardServer, desk: Desk) -> None:
    key = fido_key(desk.home / ".ssh/id_ed25519_sk")
    desk.configure(server, IdentityFile=None)
    with pytest.raises(LinkError, match="refuses our keys") as caught:
        connect(desk.device())
    assert f"{key}: a FIDO key (sk-ssh-ed25519@openssh.com), which only its token can use" in caught.value.found
    assert "ssh-keygen -t ed25519" in caught.value.hint


def test_a_fido_key_in_the_agent_is_tried_last(
    server: BoardServer, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = fido_key(desk.folder / "token")
    desk.configure(server, IdentityFile=None)
    with ssh_agent(monkeypatch, key):
        with pytest.raises(LinkError, match="refuses our keys") as caught:
            connect(desk.device())
        assert "a FIDO key (sk-ssh-ed25519@openssh.com): not signed, its token was not there" in caught.value.found
        subprocess.run(["ssh-add", "-q", server.key], check=True, stdin=subprocess.DEVNULL)
        with linked(desk.device()) as link:
            assert said(link, "whoami") == server.user
