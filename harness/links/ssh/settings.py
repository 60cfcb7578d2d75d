"""Reads what ssh_config says of a host by asking ssh itself, ``ssh -G HOST``: no other parser reads it as ssh does.

Include, Match exec, CanonicalizeHostname and whatever a later OpenSSH reads work because ssh has read them (issue 16,
cases 45 to 47). What it prints still has its tokens (%h, ``~``, ${NAME}); they are expanded here. paramiko's parser is
asked only where there is no ssh.
"""

from __future__ import annotations

import getpass
import glob
import os
import re
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from ...errors import InputError
from .openssh import SYSTEM, Lines, ask, find_ssh, home, user_account

# The keys that ssh looks for where no file names any, in its order.
USUAL_KEYS = tuple(f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk"))
LARGEST_PORT = 65535
USERS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
GLOBAL = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
AGENT = "SSH_AUTH_SOCK"
SPEC = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<host>\[[^]]+\]|[^:]+|[^:]*:[^:]*:.*?)(?::(?P<port>\d+))?/?")
# Characters of a host's name that the shell of a ProxyCommand would interpret (CVE-2023-51385).
UNSAFE = re.compile(r"""[\s'`"$\\;&<>|(){}]""")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one host is reached.

    Attributes:
        name: as it was asked for: a Host of ssh_config, or an address.
        host: its address, or the name that is looked up.
        identities: key files, in the order in which they are shown.
        named: whether ssh_config names them; otherwise they are ssh's usual ones, and need not be there.
        only: of the agent's keys only those that a file names, too (IdentitiesOnly).
        agent: the agent's socket; "" for none.
        known_hosts: files of host keys, the user's and the system's; they need not be there.
        alias: the name that the host's key is known by, if it is not the address (HostKeyAlias).
        jumps: the hosts on the way, the first one first.
        command: a ProxyCommand, without tokens; "" for none.
        timeout_s: ConnectTimeout; 0 where it is not set.
    """

    name: str
    host: str
    user: str
    port: int = paramiko.config.SSH_PORT
    identities: tuple[Path, ...] = ()
    named: bool = False
    only: bool = False
    agent: str = ""
    known_hosts: tuple[Path, ...] = ()
    alias: str = ""
    jumps: tuple[str, ...] = ()
    command: str = ""
    timeout_s: int = 0


def read_settings(host: str, config: Path | None = None) -> Settings:
    """Read what ssh_config says of a host.

    Args:
        host: a name of ssh_config, or [USER@]ADDRESS[:PORT].
        config: an ssh_config that is read in place of the user's and the system's.

    Raises:
        InputError: the host is none, or ssh_config cannot be understood.
    """
    found = SPEC.fullmatch(host)
    if found is None or UNSAFE.search(host) or host.startswith("-") or host.endswith("@"):
        raise _no_host(host)
    if found["port"] and not 1 <= int(found["port"]) <= LARGEST_PORT:
        raise _no_host(host, f"the port {found['port']}")
    name = found["host"].strip("[]")
    ssh = find_ssh()
    try:
        if ssh is not None:
            options = [
                *(("-l", found["user"]) if found["user"] else ()),
                *(("-p", found["port"]) if found["port"] else ()),
            ]
            lines = ask(ssh, [*options, "--", name], config)
        else:
            lines = _parsed(name, config)
        return _settings(name, found["user"], found["port"], lines, unquoted=ssh is not None)
    except (OSError, ValueError, KeyError, paramiko.SSHException) as error:
        words = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise not_understood(host, words, config) from error


def _no_host(host: str, found: str = "") -> InputError:
    """Build the error for a text that names no host."""
    _, colon, port = host.rpartition(":")
    found = found or (f"the port {port!r}" if colon and host.count(":") == 1 else "")
    wanted = f"[USER@]HOST[:PORT], a port from 1 to {LARGEST_PORT}, or a name of ~/.ssh/config"
    hint = "look at the device's host, or at what was typed"
    return InputError(f"{host!r} is not a host", wanted=wanted, found=found or repr(host), hint=hint)


def not_understood(host: str, found: str, config: Path | None = None, hint: str = "") -> InputError:
    """Build the error for a host whose settings cannot be understood."""
    where = str(config or f"{home() / '.ssh/config'} or {SYSTEM}")
    hint = hint or f"look at what ssh makes of it: ssh -G {host}"
    return InputError(f"the settings for {host} cannot be understood", found=found, where=where, hint=hint)


class _Parser(paramiko.SSHConfig):
    """paramiko's parser without its tokens: it does not know %%, and would take what follows for a token."""

    def _allowed_tokens(self, key: str) -> list[str]:
        return ["%h"] if key == "hostname" else []

    def refuse_what_it_leaves_out(self) -> None:
        """Refuse files with directives that paramiko's parser ignores silently, or asks for at the terminal.

        Raises:
            ValueError: they have some.
        """
        for block in self._config:  # type: ignore[attr-defined]
            for word in shlex.split(block["config"].get("include", "")):
                if glob.glob(str(home() / ".ssh" / _at_home(word))):  # noqa: PTH207  # a pattern, from the root on
                    raise ValueError(f"only ssh can read Include {word}: install OpenSSH's client, or copy it here")
            if any(one["type"] == "exec" for one in block.get("matches", ())):
                raise ValueError("only ssh can read Match exec: install OpenSSH's client")


def _parsed(name: str, config: Path | None) -> Lines:
    """Read the files without ssh.

    Raises:
        ValueError: they hold what only ssh can read.
    """
    parser = _Parser()
    for path in (config,) if config else (home() / ".ssh/config", SYSTEM):
        if path.is_file():
            with path.open(encoding="utf-8", errors="surrogateescape") as file:
                parser.parse(file)
    parser.refuse_what_it_leaves_out()
    found = parser.lookup(name)
    return {key: value if isinstance(value, list) else [value] for key, value in found.items() if value is not None}


def _settings(name: str, user: str | None, port: str | None, lines: Lines, *, unquoted: bool) -> Settings:
    """Pick the settings that we use.

    Args:
        name: the host as it was asked for.
        user: the user that was asked for with it.
        port: the port that was asked for with it.
        lines: what ssh_config says.
        unquoted: names of files with a blank have lost their quotes, as ssh prints them.
    """

    def first(key: str, default: str = "") -> str:
        value = (lines.get(key) or [default])[0]
        return default if value.lower() == "none" else value

    if first("proxyusefdpass") == "yes" and first("proxycommand"):
        raise ValueError("hilgate knows no ProxyUseFdpass: set it to no, with a ProxyCommand such as nc %h %p")
    host, number = first("hostname", name), int(port or first("port", str(paramiko.config.SSH_PORT)))
    login, alias, jumps = user or first("user") or _local_user(), first("hostkeyalias"), first("proxyjump")
    tokens = _tokens(name, host, number, login, alias or name)
    keys, named = _identities(lines)
    files = [
        *_names(lines, "userknownhostsfile", USERS, unquoted),
        *_names(lines, "globalknownhostsfile", GLOBAL, unquoted),
    ]
    return Settings(
        name=name,
        host=host,
        user=login,
        port=number,
        identities=tuple(_path(value, tokens) for value in keys),
        named=named,
        only=first("identitiesonly") == "yes",
        agent=_agent((lines.get("identityagent") or [AGENT])[0], tokens),
        known_hosts=tuple(Path(_moved(_expanded(one, tokens))) for one in files if one.lower() != "none"),
        alias=alias,
        jumps=tuple(jump.strip() for jump in jumps.split(",")) if jumps else (),
        command="" if jumps else _expanded(first("proxycommand"), tokens, variables=False),
        timeout_s=int(first("connecttimeout", "0")),
    )


def _identities(lines: Lines) -> tuple[Sequence[str], bool]:
    """List the key files, and say whether ssh_config names them: if it names none, ssh prints its usual ones."""
    told = [value for value in lines.get("identityfile", ()) if value.lower() != "none"]
    if not told and lines.get("identityfile"):
        return (), True  # IdentityFile none
    usual = not told or (len(told) > 1 and all(re.fullmatch(r"~/\.ssh/id_\w+", value) for value in told))
    return told or USUAL_KEYS, not usual


def _local_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise ValueError("nobody says as which user to log in: this process's has no name; write USER@HOST") from error


def _tokens(name: str, host: str, port: int, user: str, key_name: str) -> dict[str, str]:
    """Compute the TOKENS of ssh_config(5), except %C, %f, %H, %I, %K, %T and %t, which occur in no key that we read."""
    local, account = socket.gethostname(), user_account()
    return {
        "%": "%",
        "d": str(home()),
        "h": host,
        "i": str(os.getuid()),
        "j": "",
        "k": key_name,
        "L": local.partition(".")[0],
        "l": local,
        "n": name,
        "p": str(port),
        "r": user,
        "u": account.pw_name if account is not None else user,
    }


def _expanded(text: str, tokens: Mapping[str, str], *, variables: bool = True) -> str:
    """Expand tokens and, in names of files, ${NAME}; anything else stays as it is."""
    if variables:
        text = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], found[0]), text)
    return re.sub("%(.)", lambda found: tokens.get(found[1], found[0]), text)


def _path(text: str, tokens: Mapping[str, str]) -> Path:
    return Path(_at_home(_expanded(text, tokens)))


def _at_home(text: str) -> str:
    """Expand ~ at the start of a path."""
    if text.startswith("~/"):
        return str(home() / text[2:])
    return os.path.expanduser(text)  # noqa: PTH111  # ~NAME/


def _moved(text: str) -> str:
    """Expand ~ in a path, also where ssh has already expanded it to the account's home folder; see openssh.home."""
    account = user_account()
    if account is None or not text.startswith(f"{account.pw_dir}/"):
        return _at_home(text)
    moved = home() / text.removeprefix(f"{account.pw_dir}/")
    return str(moved) if text.startswith(f"{account.pw_dir}/.ssh/") or moved.exists() else text


def _agent(told: str, tokens: Mapping[str, str]) -> str:
    """Find the agent's socket from IdentityAgent, which is a path or the name of the variable that has it."""
    if told.lower() == "none":
        return ""
    if told == AGENT or told.startswith("$"):
        return os.environ.get(told.strip("${}"), "")
    return _moved(_expanded(told, tokens))


def _names(lines: Lines, key: str, default: Sequence[str], unquoted: bool) -> list[str]:
    """Split a line into names of files.

    ssh prints them without the quotes that a name with a blank needs: as many words as together name a file are one.
    """
    line = " ".join(lines.get(key, ()))
    if not line:
        return list(default)
    if not unquoted:
        return shlex.split(line)
    words, names = line.split(" "), list[str]()
    while words:
        tried = (" ".join(words[:count]) for count in range(len(words), 1, -1))
        name = next((one for one in tried if Path(_moved(one)).exists()), words[0])
        names.append(name)
        words = words[name.count(" ") + 1 :]
    return names
