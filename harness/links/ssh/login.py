"""Logs in with keys, and notes what became of each. The user is never asked for a passphrase or a password.

The keys are those that ssh would show: the agent's (IdentityAgent), and those in files, of IdentityFile or else
~/.ssh/id_*; with IdentitiesOnly only those of the agent's that a file names, too. Unlike in ssh, keys that ssh_config
names come first, because a server gives up after six keys that do not fit (sshd_config's MaxAuthTries).

A FIDO key (sk-ssh-ed25519, sk-ecdsa) signs only when its token is plugged in, and mostly only when it is touched. One
that an agent holds is tried last, because it may need no touch (ssh-keygen -O no-touch-required).
"""

from __future__ import annotations

import base64
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import paramiko
from paramiko.agent import AgentSSH
from paramiko.auth_strategy import AuthResult, AuthStrategy

from .hostkeys import fingerprint
from .settings import Settings

# For a server to judge one key.
AUTH_TIMEOUT_S = 30.0
# A forwarded agent hangs if the connection that it is forwarded over does.
AGENT_TIMEOUT_S = 10.0
OPENSSH_KEY = b"openssh-key-v1\0"


class Refused(paramiko.AuthenticationException):
    """The host accepted none of our keys.

    Attributes:
        locked: whether a file needs its passphrase.
        fido: whether a key was left out, or did not sign, because it is a token's.
        closed: whether the host closed the connection after too many keys.
    """

    def __init__(self, tried: list[str], *, locked: bool, fido: bool, closed: bool) -> None:
        super().__init__("\n".join(tried) or "there is no key to show: no agent, no ~/.ssh/id_*")
        self.locked, self.fido, self.closed = locked, fido, closed


class Keys(AuthStrategy):
    """The strategy of logging in with the keys of an agent and of files."""

    def __init__(self, ssh_config: Any, fabric_config: object, username: str) -> None:
        """Make the strategy, as Fabric does.

        Args:
            ssh_config: the host's settings.
            fabric_config: Fabric's configuration; not used.
            username: the user to log in as.
        """
        super().__init__(ssh_config)
        self._settings: Settings = ssh_config
        self._user = username
        self._tried: list[str] = []
        self._locked = self._fido = False

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        """Offer one key after the other.

        Raises:
            Refused: the host accepted none.
            TimeoutError: the host did not answer in time.
        """
        with contextlib.closing(_Agent.connect(self._settings.agent)) as agent:
            for origin, key in self._candidates(agent):
                began = time.monotonic()
                try:
                    further = transport.auth_publickey(self._user, key)
                except paramiko.AuthenticationException as error:
                    if time.monotonic() - began >= AUTH_TIMEOUT_S:
                        raise TimeoutError from error
                    self._tried.append(f"{origin}: refused ({error})".replace(" (Authentication failed.)", ""))
                except (paramiko.SSHException, OSError):  # the agent did not sign, which ends paramiko's connection
                    if not is_fido(key.get_name()):
                        raise
                    self._fido = True
                    self._tried.append(f"{origin}: not signed, its token was not there or not touched")
                    raise Refused(self._tried, locked=self._locked, fido=True, closed=False) from None
                else:
                    if not further:
                        return AuthResult(self)
                    self._tried.append(f"{origin}: accepted, but the host wants more: {', '.join(further)}")
                if not transport.is_active():
                    break
        raise Refused(self._tried, locked=self._locked, fido=self._fido, closed=not transport.is_active())

    def _candidates(self, agent: _Agent) -> Iterator[tuple[str, paramiko.PKey]]:
        in_agent = {key.blob: key for key in agent.held()}
        later, last = [], []
        for path in self._settings.identities:
            public = _public(path)
            if public not in in_agent:
                later.append(path)
            elif is_fido(in_agent[public].get_name()):
                last.append((f"{_fido_words(in_agent[public].get_name())} of {path}", in_agent.pop(public)))
            else:
                yield f"the agent's {fingerprint(in_agent[public])}, of {path}", in_agent.pop(public)
        for path in later:
            if (loaded := self._load(path)) is not None:
                in_agent.pop(loaded.asbytes(), None)
                yield f"{path} {fingerprint(loaded)}", loaded
        for key in in_agent.values() if not self._settings.only else ():
            if is_fido(key.get_name()):
                last.append((f"the agent's {fingerprint(key)}, {_fido_words(key.get_name())}", key))
            else:
                yield f"the agent's {fingerprint(key)}", key
        yield from last

    def _load(self, path: Path) -> paramiko.PKey | None:
        if not path.exists():
            if self._settings.named:
                self._tried.append(f"{path}: no such file")
            return None
        try:
            return paramiko.PKey.from_path(path)
        except Exception as error:  # noqa: BLE001  # cryptography's and paramiko's have no root in common
            if is_fido(kind := _kind_of(path)):
                self._fido = True
                self._tried.append(f"{path}: {_fido_words(kind)}, which only its token can use")
                return None
            said = str(error)
            # Only the message tells: the exception's type depends on the file's format.
            locked = "password" in said.lower() or "passphrase" in said.lower()
            self._locked = self._locked or locked
            reason = "needs its passphrase" if locked else f"cannot be read as a private key ({type(error).__name__})"
            self._tried.append(f"{path}: {reason}")
            return None


class _Agent(AgentSSH):
    """An SSH agent, with a timeout; one that is not there has no keys."""

    @classmethod
    def connect(cls, path: str) -> Self:
        """Connect to an agent; one that is not there, does not answer, or answers nonsense, counts as having no keys.

        Args:
            path: its socket; "" for no agent.
        """
        agent = cls()
        with contextlib.suppress(OSError, paramiko.SSHException):
            if path:
                connection = socket.socket(socket.AF_UNIX)
                # Closed with the agent, whatever happens.
                agent._conn = connection  # type: ignore[attr-defined]
                connection.settimeout(AGENT_TIMEOUT_S)
                connection.connect(path)
                # As paramiko's own Agent does, which has no timeout.
                agent._connect(connection)  # type: ignore[attr-defined]
        return agent

    def held(self) -> tuple[paramiko.AgentKey, ...]:
        """List the keys that it holds."""
        return tuple(self.get_keys())

    def close(self) -> None:
        """Hang up."""
        self._close()  # type: ignore[attr-defined]


def is_fido(kind: str) -> bool:
    """Whether keys of a type are those of a FIDO token."""
    return kind.startswith("sk-")


def _fido_words(kind: str) -> str:
    return f"a FIDO key ({kind})"


def _public(path: Path) -> bytes | None:
    """Read the public key beside a private one, or the file itself where it is a public key."""
    for candidate in (path, path.with_name(path.name + ".pub")):
        with contextlib.suppress(Exception):  # no such file, or another content: then there is none
            kind, code, *_ = candidate.read_text(encoding="utf-8").split()
            blob = base64.b64decode(code, validate=True)
            if paramiko.Message(blob).get_text() == kind:
                return blob
    return None


def _kind_of(path: Path) -> str:
    """Read the type of the key in OpenSSH's file of a private key (PROTOCOL.key); "" where it is no such file."""
    with contextlib.suppress(Exception):  # of any other content
        lines = path.read_text(encoding="ascii").split("-----")[2]
        content = base64.b64decode(lines)
        if content.startswith(OPENSSH_KEY):
            message = paramiko.Message(content.removeprefix(OPENSSH_KEY))
            for _ in ("cipher", "key derivation", "its options"):
                message.get_string()
            message.get_int()  # how many keys
            return paramiko.Message(message.get_string()).get_text()
    return ""
