"""Files of known hosts: which keys they know of a host, and how one is pinned."""

from __future__ import annotations

import subprocess
from pathlib import Path

import paramiko
import pytest

from harness.errors import HostKeyError, InputError
from harness.links.ssh.hostkeys import HostKey, Identity, KnownHosts, Unverified, is_pinned, pin
from harness.links.ssh.settings import read_settings

KEYS = [paramiko.ECDSAKey.generate() for _ in range(3)]
RSA = paramiko.RSAKey.generate(2048)
OFFERED = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]


def line(hosts: str, key: paramiko.PKey = KEYS[0], marker: str = "") -> str:
    return f"{marker}{hosts} {key.get_name()} {key.get_base64()}\n"


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the project's file may be written; the user's home is empty."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path / "known_hosts"


@pytest.fixture
def users(pinned: Path) -> Path:
    return pinned.parent / ".ssh" / "known_hosts"


def known(pinned: Path, host: str = "pi", port: int = 22, **ssh_config: str) -> Identity:
    """What is known of a host, by an ssh_config with these settings that ssh has read."""
    config = pinned.with_name("ssh_config")
    lines = {"port": port, "globalknownhostsfile": "none", **ssh_config}
    config.write_text("Host *\n" + "".join(f"{key} {value}\n" for key, value in lines.items()))
    return KnownHosts.read(pinned).identity(read_settings(host, config))


@pytest.mark.parametrize(
    ("hosts", "host", "port", "found"),
    [
        pytest.param("pi", "pi", 22, True, id="name"),
        pytest.param("PI", "Pi", 22, True, id="case-is-nothing"),
        pytest.param("other,pi,10.0.0.1", "pi", 22, True, id="one-of-several"),
        pytest.param("pi", "pi", 2222, False, id="another-port"),
        pytest.param("[pi]:2222", "pi", 2222, True, id="port"),
        pytest.param("[fe80::1]:2222", "fe80::1", 2222, True, id="IPv6-with-port"),
        pytest.param("*.lab", "pi.lab", 22, True, id="star"),
        pytest.param("10.0.0.?", "10.0.0.7", 22, True, id="question-mark"),
        pytest.param("10.0.0.?", "10.0.0.77", 22, False, id="question-mark-is-one"),
        pytest.param("*.lab,!pi.lab", "pi.lab", 22, False, id="but-not"),
        pytest.param("!pi.lab,*.lab", "pi.lab", 22, False, id="but-not-first"),
        pytest.param("p.", "pi", 22, False, id="a-dot-is-a-dot"),
        pytest.param("[1-9]", "5", 22, False, id="brackets-are-brackets"),
        pytest.param("|1|damaged", "pi", 22, False, id="damaged-hash"),
        pytest.param("|1||", "pi", 22, False, id="empty-hash"),
    ],
)
def test_a_host_is_found_as_ssh_finds_it(pinned: Path, hosts: str, host: str, port: int, found: bool) -> None:
    pinned.write_text(line(hosts))
    assert known(pinned, host, port).keys == (KEYS[:1] if found else [])


def test_names_that_ssh_keygen_has_hashed_are_found(pinned: Path) -> None:
    pinned.write_text(line("pi") + line("[pi]:2222", KEYS[1]) + line("other", KEYS[2]))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", pinned], check=True, capture_output=True)
    assert all(one.startswith("|1|") for one in pinned.read_text().splitlines())
    assert known(pinned).keys == KEYS[:1]
    assert known(pinned, port=2222).keys == KEYS[1:2]


def test_a_host_may_have_several_keys_of_a_type(pinned: Path) -> None:
    pinned.write_text(line("pi") + line("pi", KEYS[1]))
    assert known(pinned).keys == KEYS[:2]


def test_types_that_are_known_are_asked_for_first(pinned: Path) -> None:
    pinned.write_text(line("pi", RSA) + line("pi"))
    asked = known(pinned).preferred(OFFERED)
    assert asked == ["rsa-sha2-512", "rsa-sha2-256", "ecdsa-sha2-nistp256", "ssh-ed25519"]


def test_the_pinned_file_alone_counts_for_a_host_that_it_names(pinned: Path, users: Path) -> None:
    pinned.write_text(line("pi"))
    users.write_text(line("pi", KEYS[1]) + line("other", KEYS[2]))
    assert known(pinned).keys == KEYS[:1]
    assert known(pinned, "other").keys == KEYS[2:]


def test_the_users_files_are_those_of_ssh_config(pinned: Path, users: Path, tmp_path: Path) -> None:
    users.write_text(line("pi"))
    (tmp_path / "my keys").write_text(line("pi", KEYS[1]))
    (tmp_path / "all").write_text(line("pi", KEYS[2]))
    assert known(pinned, userknownhostsfile="none").keys == []
    assert known(pinned, userknownhostsfile='"~/my keys" ~/none').keys == KEYS[1:2]
    assert known(pinned, globalknownhostsfile=str(tmp_path / "all")).keys == [KEYS[0], KEYS[2]]


def test_an_alias_is_looked_for_instead_of_the_address(pinned: Path) -> None:
    pinned.write_text(line("[pi]:2222") + line("robot", KEYS[1]))
    identity = known(pinned, port=2222, hostkeyalias="robot")
    assert (identity.name, identity.keys) == ("robot", KEYS[1:2])


@pytest.mark.parametrize("place", ["pinned", "users"])
def test_a_revoked_key_is_refused_wherever_that_stands(pinned: Path, users: Path, place: str) -> None:
    pinned.write_text(line("pi"))
    with (pinned if place == "pinned" else users).open("a") as file:
        file.write(line("*", KEYS[0], "@revoked "))
    with pytest.raises(Unverified) as caught:
        known(pinned).missing_host_key(paramiko.SSHClient(), "pi", KEYS[0])
    said = KnownHosts.read(pinned).error(caught.value, "pi", "pi4")
    assert "REVOKED" in said.what
    assert said.shown is None  # nobody shall be offered to pin it


def test_authorities_are_no_keys_of_hosts(pinned: Path) -> None:
    pinned.write_text(line("*", KEYS[0], "@cert-authority "))
    assert known(pinned).keys == []


def said_of(pinned: Path, shown: paramiko.PKey) -> HostKeyError:
    with pytest.raises(Unverified) as caught:
        known(pinned, port=2222).missing_host_key(paramiko.SSHClient(), "pi", shown)
    return KnownHosts.read(pinned).error(caught.value, "me@pi:2222 (devices/pi4.toml)", "pi4")


def test_an_unknown_key_is_refused_with_its_fingerprint_and_how_to_pin_it(pinned: Path, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(f"{KEYS[0].get_name()} {KEYS[0].get_base64()}\n")
    done = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], check=True, capture_output=True, text=True)
    error = said_of(pinned, KEYS[0])
    assert error.what == "the host key of [pi]:2222 is unknown"
    assert error.found == f"ecdsa-sha2-nistp256 {done.stdout.split()[1]}"
    assert "hilgate trust pi4" in error.hint
    assert str(pinned) in error.wanted
    assert error.shown == HostKey("[pi]:2222", KEYS[0])


@pytest.mark.parametrize("shown", [pytest.param(KEYS[2], id="same-type"), pytest.param(RSA, id="another-type")])
def test_a_changed_key_is_refused_with_what_was_known(pinned: Path, shown: paramiko.PKey) -> None:
    pinned.write_text(line("[pi]:2222") + line("[pi]:2222", KEYS[1]))
    error = said_of(pinned, shown)
    assert "CHANGED" in error.what
    assert error.wanted.split()[1::2] == [HostKey("", key).fingerprint for key in KEYS[:2]]
    assert error.found.split()[1] == HostKey("", shown).fingerprint


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param("pi\n", id="one-word"),
        pytest.param("pi ssh-ed25519\n", id="no-key"),
        pytest.param("pi ssh-ed25519 !!!!\n", id="not-base64"),
        pytest.param("pi ssh-ed25519 AAAA\n", id="cut-off"),
        pytest.param(f"pi ssh-ed25519 {KEYS[0].get_base64()}\n", id="another-type"),
        pytest.param(line("pi")[:60] + "\n", id="half-a-line"),
    ],
)
def test_a_damaged_line_is_named(pinned: Path, users: Path, damaged: str) -> None:
    users.write_text("# comment\n\n" + damaged)
    assert known(pinned).unreadable == [f"{users}:3"]  # not an error: it may be about another host
    pinned.write_text("# comment\n" + damaged)
    with pytest.raises(InputError) as caught:
        known(pinned)
    assert caught.value.where == f"{pinned}:2"


def test_a_damaged_line_of_a_revoked_key_is_an_error_anywhere(pinned: Path, users: Path) -> None:
    users.write_text("@revoked * ssh-ed25519 AAAA\n")
    with pytest.raises(InputError):
        known(pinned)


def test_keys_that_paramiko_does_not_know_and_odd_blanks_are_no_damage(pinned: Path) -> None:
    fields = line("pi").split()
    pinned.write_text("  " + " \t ".join(fields) + "  a comment\npi sk-ssh-ed25519@openssh.com AAAA\n")
    assert known(pinned).keys == KEYS[:1]


def test_pinning_replaces_what_stood_there_for_the_host_and_nothing_else(pinned: Path) -> None:
    kept = "# ours\n\n" + line("other", KEYS[2]) + line("pi", KEYS[2], "@revoked ") + "sk x\n"
    pinned.write_text(kept + line("pi", KEYS[2]) + line("pi", RSA))
    shown = HostKey("pi", KEYS[1])
    assert not is_pinned(pinned, shown)
    pin(pinned, shown)
    assert pinned.read_text() == kept + shown.line
    assert is_pinned(pinned, shown)


@pytest.mark.parametrize(
    ("hosts", "left"),
    [
        pytest.param("pi,10.0.0.1", "10.0.0.1", id="one-of-several"),
        pytest.param("10.0.0.1,PI", "10.0.0.1", id="case-is-nothing"),
        pytest.param("p*", "p*,!pi", id="pattern"),
        pytest.param("pi,p?,!px", "p?,!px,!pi", id="pattern-and-name"),
        pytest.param("pi,!px", "", id="none-left"),
    ],
)
def test_pinning_leaves_what_a_line_says_of_other_hosts(pinned: Path, hosts: str, left: str) -> None:
    pinned.write_text(line(hosts))
    shown = HostKey("pi", KEYS[1])
    pin(pinned, shown)
    assert pinned.read_text() == (line(left) if left else "") + shown.line
    assert known(pinned).keys == [KEYS[1]]


def test_pinning_replaces_a_hashed_name(pinned: Path) -> None:
    pinned.write_text(line("pi"))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", pinned], check=True, capture_output=True)
    pin(pinned, HostKey("pi", KEYS[1]))
    assert pinned.read_text() == line("pi", KEYS[1])


def test_pinning_makes_the_file(tmp_path: Path) -> None:
    pin(tmp_path / "devices" / "known_hosts", HostKey("pi", KEYS[0]))
    assert (tmp_path / "devices" / "known_hosts").read_text() == line("pi")


def test_nothing_is_written_by_looking(pinned: Path, users: Path) -> None:
    with pytest.raises(Unverified):
        known(pinned).missing_host_key(paramiko.SSHClient(), "pi", KEYS[0])
    assert not pinned.exists()
    assert not users.exists()
