"""What ssh_config says of a host, as the machine's own ssh reads it; and without an ssh."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.links.ssh import openssh
from harness.links.ssh.openssh import find_ssh, parse_output
from harness.links.ssh.settings import Settings, read_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's, with an empty ~/.ssh."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    return tmp_path


def read(home: Path, text: str, host: str = "rig") -> Settings:
    """What a ~/.ssh/config with this text says of a host."""
    (home / ".ssh/config").write_text(text)
    return read_settings(host)


def without_ssh(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Leave no program to be found."""
    (home / "bin").mkdir()
    patch.setenv("PATH", str(home / "bin"))


RIG = "Host rig\n  HostName 10.0.0.7\n  Port 2222\n  User pi\n"


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        pytest.param("", "host", "10.0.0.7", id="HostName"),
        pytest.param("", "port", 2222, id="Port"),
        pytest.param("", "user", "pi", id="User"),
        pytest.param("", "jumps", (), id="no-ProxyJump"),
        pytest.param("ProxyJump none", "jumps", (), id="ProxyJump-none"),
        pytest.param("ProxyJump a,u@b:33", "jumps", ("a", "u@b:33"), id="ProxyJump-of-two"),
        pytest.param("ProxyJump u@[fe80::1]:33", "jumps", ("u@[fe80::1]:33",), id="ProxyJump-IPv6"),
        pytest.param("ProxyJump a\nProxyCommand nc %h %p", "command", "", id="ProxyJump-first"),
        pytest.param("ProxyCommand nc %h %p", "command", "nc 10.0.0.7 2222", id="ProxyCommand"),
        pytest.param("ProxyCommand a %% %r %n", "command", "a % pi rig", id="tokens"),
        pytest.param("ProxyCommand a %%h ${HOME}", "command", "a %h ${HOME}", id="no-token-after-a-percent-sign"),
        pytest.param("ProxyCommand none", "command", "", id="ProxyCommand-none"),
        pytest.param("ConnectTimeout 7", "timeout_s", 7, id="ConnectTimeout"),
        pytest.param("ConnectTimeout 1m", "timeout_s", 60, id="ConnectTimeout-in-minutes"),
        pytest.param("ConnectTimeout none", "timeout_s", 0, id="ConnectTimeout-none"),
        pytest.param("HostKeyAlias robot", "alias", "robot", id="HostKeyAlias"),
        pytest.param("IdentitiesOnly yes", "only", True, id="IdentitiesOnly"),
        pytest.param("IdentityAgent none", "agent", "", id="IdentityAgent-none"),
        pytest.param("IdentityAgent SSH_AUTH_SOCK", "agent", "/run/agent", id="IdentityAgent-by-its-variable"),
        pytest.param("IdentityAgent $OTHER", "agent", "/run/other", id="IdentityAgent-by-a-variable"),
        pytest.param(
            'IdentityAgent "~/.ssh/my agent %r"', "agent", "HOME/.ssh/my agent pi", id="IdentityAgent-with-tokens"
        ),
        pytest.param("", "agent", "/run/agent", id="no-IdentityAgent"),
        pytest.param("", "named", False, id="no-IdentityFile"),
        pytest.param("IdentityFile ~/.ssh/id_ed25519", "named", True, id="IdentityFile-is-named"),
        pytest.param("", "host", "10.0.0.7", id="nothing-else"),
    ],
)
def test_a_setting_is_what_ssh_reads(
    home: Path, monkeypatch: pytest.MonkeyPatch, text: str, key: str, found: object
) -> None:
    monkeypatch.setenv("OTHER", "/run/other")
    expected = found.replace("HOME", str(home)) if key == "agent" and isinstance(found, str) else found
    assert getattr(read(home, f"{RIG}{text}\n"), key) == expected


def test_keys_are_in_their_order_with_their_tokens_and_blanks(home: Path) -> None:
    lines = 'IdentityFile "~/my key %%"\nIdentityFile %d/%h-%p-%r-%n\nIdentityFile ${HOME}/c\n'
    names = ["my key %", "10.0.0.7-2222-pi-rig", "c"]
    assert read(home, RIG + lines).identities == tuple(home / name for name in names)


def test_usual_keys_are_those_of_the_users_home(home: Path) -> None:
    assert home / ".ssh/id_ed25519" in read(home, RIG).identities


def test_known_hosts_are_all_files_also_with_blanks(home: Path) -> None:
    (home / ".ssh/my hosts").touch()
    found = read(home, f'{RIG}UserKnownHostsFile "~/.ssh/my hosts" ~/.ssh/b\nGlobalKnownHostsFile /etc/{{all}}\n')
    assert found.known_hosts == (home / ".ssh/my hosts", home / ".ssh/b", Path("/etc/{all}"))


def test_without_a_setting_known_hosts_are_the_usual_files(home: Path) -> None:
    usual = (home / ".ssh/known_hosts", home / ".ssh/known_hosts2", Path("/etc/ssh/ssh_known_hosts"))
    assert read(home, RIG).known_hosts[:3] == usual


@pytest.mark.parametrize(
    ("host", "name", "user", "port"),
    [
        pytest.param("rig", "rig", "pi", 2222, id="name"),
        pytest.param("me@rig", "rig", "me", 2222, id="another-user"),
        pytest.param("rig:99", "rig", "pi", 99, id="another-port"),
        pytest.param("me@[fe80::1]:99", "fe80::1", "me", 99, id="IPv6"),
        pytest.param("ssh://me@rig:99/", "rig", "me", 99, id="URI"),
    ],
)
def test_what_the_device_file_says_comes_first(home: Path, host: str, name: str, user: str, port: int) -> None:
    found = read(home, RIG, host)
    assert (found.name, found.user, found.port) == (name, user, port)


@pytest.mark.parametrize("host", ["-oProxyCommand=id", "a b", "x;id", "$(id)", "a@-lroot x", "user@", ""])
def test_a_host_that_is_an_option_or_a_command_is_refused(home: Path, host: str) -> None:
    with pytest.raises(InputError, match=r"is not a host"):
        read(home, RIG, host)


@pytest.mark.parametrize(
    ("host", "port"), [("me@rig:99999", "99999"), ("rig:0", "0"), ("rig:abc", "'abc'"), ("rig:", "''")]
)
def test_a_port_that_there_is_not_is_named(home: Path, host: str, port: str) -> None:
    with pytest.raises(InputError) as caught:
        read(home, RIG, host)
    assert caught.value.found == f"the port {port}"
    assert "a port from 1 to 65535" in caught.value.wanted


def test_hosts_behind_include_are_found(home: Path) -> None:
    (home / ".ssh/config.d").mkdir()
    (home / ".ssh/config.d/robots").write_text(RIG)
    assert read(home, "Include config.d/*\n").host == "10.0.0.7"


@pytest.mark.parametrize(("command", "user"), [("true", "ros"), ("false", "pi"), ("test %n = rig", "ros")])
def test_match_exec_is_asked(home: Path, command: str, user: str) -> None:
    assert read(home, f'Match originalhost rig exec "{command}"\n User ros\n{RIG}').user == user


def test_match_is_told_the_user_and_the_port_of_the_device_file(home: Path) -> None:
    text = 'Match user me exec "test %p = 99"\n HostName 10.0.0.8\n'
    assert read(home, text + RIG, "me@rig:99").host == "10.0.0.8"


def test_match_exec_reads_nobodys_input(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, sink = os.pipe()
    os.write(sink, b"typed\n")
    with os.fdopen(source) as typed, os.fdopen(sink, "w"):
        monkeypatch.setattr(sys, "stdin", typed)
        assert read(home, f'Match exec "read line"\n User ros\n{RIG}').user == "pi"
        os.set_blocking(source, False)
        assert os.read(source, 9) == b"typed\n"


def test_a_match_exec_that_hangs_is_ended_with_what_it_started(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssh, "SETTINGS_S", 2.0)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"longer than 2 s.*Match exec"):
        read(home, f'Match exec "echo $$ > {home}/pid; sleep 300; true"\n User ros\n{RIG}')
    assert time.monotonic() - began < 20
    pid = int((home / "pid").read_text())
    while Path(f"/proc/{pid}").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() - began < 20


def test_a_match_exec_that_leaves_something_in_the_background_is_not_waited_for(home: Path) -> None:
    began = time.monotonic()
    assert read(home, f'Match exec "sleep 20 & true"\n User ros\n{RIG}').user == "ros"
    assert time.monotonic() - began < openssh.SETTINGS_S


def test_what_ssh_says_of_a_wrong_file_is_told(home: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(home, "Host rig\n  Prot 22\n")
    assert "line 2: Bad configuration option: prot" in caught.value.found
    assert "ssh -G rig" in caught.value.hint


def test_nothing_of_a_login_stands_on_a_command_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which("ssh")
    (home / "bin").mkdir()
    script = home / "bin/ssh"
    script.write_text(f'#!/bin/sh\necho "$@" >> {home}/said\nexec {real} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}/bin:{os.environ['PATH']}")
    read(home, f"{RIG}ProxyCommand tunnel --password secret %h\nIdentityFile ~/private\n", "me@rig:99")
    *_, asked = (home / "said").read_text().splitlines()
    assert asked.startswith("-G -F /")
    assert asked.endswith("-l me -p 99 -- rig")
    assert "secret" not in asked


def test_a_key_may_come_on_several_lines() -> None:
    text = "host rig\nidentityfile ~/a b\nidentityfile ~/c\ncanonicalizePermittedcnames none\nsetenv A=b c\n"
    found = parse_output(text)
    assert found["identityfile"] == ["~/a b", "~/c"]
    assert found["canonicalizepermittedcnames"] == ["none"]
    assert found["setenv"] == ["A=b c"]


# Without an ssh


def test_without_ssh_paramikos_parser_reads_the_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_ssh(home, monkeypatch)
    lines = 'ProxyCommand nc %%h %h\nIdentityFile "~/my key"\nUserKnownHostsFile "~/my hosts" ~/b\n'
    found = read(home, RIG + lines)
    assert (found.host, found.port, found.user, found.command) == ("10.0.0.7", 2222, "pi", "nc %h 10.0.0.7")
    assert found.identities == (home / "my key",)
    assert found.known_hosts[:2] == (home / "my hosts", home / "b")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("Include more*\n", "only ssh can read Include", id="Include"),
        pytest.param('Match exec "cat"\n', "only ssh can read Match exec", id="Match-exec"),
    ],
)
def test_without_ssh_what_only_ssh_can_read_is_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch, text: str, found: str
) -> None:
    without_ssh(home, monkeypatch)
    (home / ".ssh/more").write_text(RIG)
    with pytest.raises(InputError, match=found):
        read(home, text)


def test_an_include_that_names_no_file_is_no_error_without_ssh(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_ssh(home, monkeypatch)
    assert read(home, f"Include none/*\n{RIG}").user == "pi"


def test_dropbears_ssh_is_not_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = shutil.which("dbclient")
    if client is None:
        pytest.skip("no dbclient: install Debian's package dropbear-bin")
    without_ssh(home, monkeypatch)
    (home / "bin/ssh").symlink_to(client)
    assert find_ssh() is None
    assert read(home, RIG).user == "pi"
