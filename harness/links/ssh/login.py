"""Which keys are shown to a host, and what became of each. Nobody is asked for anything: no passphrase, no password.

As ssh does it: the keys of the agent and those in files; of IdentityFile, or else ~/.ssh/id_*; with IdentitiesOnly, of
the agent's only those that a file names too. Unlike ssh, what ssh_config names comes first: a server's patience with
keys that do not fit ends after six.
"""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
from paramiko.agent import AgentSSH, get_agent_connection
from paramiko.auth_strategy import AuthResult, AuthStrategy

from .hostkeys import fingerprint

# For a server to judge one key.
AUTH_TIMEOUT_S = 30.0
# An agent that was forwarded over a connection that hangs hangs too.
AGENT_TIMEOUT_S = 10.0
DEFAULTS = tuple(f"~/.ssh/id_{kind}" for kind in ("ed25519", "ecdsa", "rsa"))


class Refused(paramiko.AuthenticationException):
    """No key did.

    Args:
        tried: a line for each key.
        locked: whether a file needs its passphrase.
        closed: whether the host has had enough and closed the connection.
    """

    def __init__(self, tried: list[str], *, locked: bool, closed: bool) -> None:
        super().__init__("\n".join(tried) or "there is no key to show: no agent, no ~/.ssh/id_*")
        self.locked, self.closed = locked, closed


class Keys(AuthStrategy):
    """Logging in with the keys of an agent and of files."""

    def __init__(self, ssh_config: Any, fabric_config: object, username: str) -> None:
        super().__init__(ssh_config)
        self._settings, self._user = ssh_config, username
        self._tried: list[str] = []
        self._locked = False

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        """Show one key after the other.

        Raises:
            Refused: none did.
            TimeoutError: the host did not say whether one does.
        """
        with contextlib.closing(_Agent()) as agent:
            for origin, key in self._candidates(agent):
                began = time.monotonic()
                try:
                    further = transport.auth_publickey(self._user, key)
                except paramiko.AuthenticationException as error:
                    if time.monotonic() - began >= AUTH_TIMEOUT_S:
                        raise TimeoutError from error
                    self._tried.append(f"{origin}: refused ({error})".replace(" (Authentication failed.)", ""))
                else:
                    if not further:
                        return AuthResult(self)
                    self._tried.append(f"{origin}: accepted, but the host wants more: {', '.join(further)}")
                if not transport.is_active():
                    break
        raise Refused(self._tried, locked=self._locked, closed=not transport.is_active())

    def _candidates(self, agent: _Agent) -> Iterator[tuple[str, paramiko.PKey]]:
        files = [Path(name).expanduser() for name in self._settings.get("identityfile") or DEFAULTS]
        in_agent = {key.blob: key for key in agent.held()}
        later = []
        for path in files:
            public = _public(path)
            if public is not None and public.asbytes() in in_agent:
                key = in_agent.pop(public.asbytes())
                yield f"the agent's {fingerprint(key)}, of {path}", key
            else:
                later.append(path)
        for path in later:
            if (loaded := self._load(path)) is not None:
                in_agent.pop(loaded.asbytes(), None)
                yield f"{path} {fingerprint(loaded)}", loaded
        if str(self._settings.get("identitiesonly", "no")).lower() != "yes":
            for key in in_agent.values():
                yield f"the agent's {fingerprint(key)}", key

    def _load(self, path: Path) -> paramiko.PKey | None:
        if not path.exists():
            if self._settings.get("identityfile"):
                self._tried.append(f"{path}: no such file")
            return None
        try:
            return paramiko.PKey.from_path(path)
        except Exception as error:  # noqa: BLE001  # cryptography's and paramiko's have no root in common
            said = str(error)
            # The only way to know: the exception's type depends on the file's format.
            locked = "password" in said.lower() or "passphrase" in said.lower()
            self._locked = self._locked or locked
            reason = "needs its passphrase" if locked else f"cannot be read as a private key ({type(error).__name__})"
            self._tried.append(f"{path}: {reason}")
            return None


class _Agent(AgentSSH):
    """An SSH agent that is not waited for without end; one that is not there has no keys."""

    def __init__(self) -> None:
        super().__init__()
        connection = get_agent_connection()
        if connection is None:
            return
        connection.settimeout(AGENT_TIMEOUT_S)
        # One that does not answer, or answers nonsense, is as good as none.
        with contextlib.suppress(OSError, paramiko.SSHException):
            self._connect(connection)  # type: ignore[attr-defined]  # Agent's own way in, but it waits for ever

    def held(self) -> tuple[paramiko.AgentKey, ...]:
        """What it holds."""
        return tuple(self.get_keys())

    def close(self) -> None:
        """Hang up."""
        self._close()  # type: ignore[attr-defined]


def _public(path: Path) -> paramiko.PKey | None:
    """The public key beside a private one, or the file itself where it is one."""
    for candidate in (path, path.with_name(path.name + ".pub")):
        with contextlib.suppress(Exception):  # no such file, or another content: then there is none
            kind, code, *_ = candidate.read_text(encoding="utf-8").split()
            return paramiko.PKey.from_type_string(kind, base64.b64decode(code))
    return None
