"""Host keys: which are known, whether a host shows one of them, and what to say when it does not.

Known is what stands in the project's own ``devices/known_hosts``; of a host that it does not name, what the user's
``~/.ssh/known_hosts`` says. The format is OpenSSH's (sshd(8)); hashed names and several keys of a host are understood,
``@revoked`` refuses a key wherever it stands, ``@cert-authority`` is not supported: paramiko knows no certificates of
hosts.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry

from ...cache import write_atomically
from ...device import Device
from ...errors import HostKeyError, InputError

USERS = Path("~/.ssh/known_hosts")


@dataclass(frozen=True)
class HostKey:
    """A host's key: ``name`` as known_hosts files spell it, "[ADDRESS]:PORT" where the port is not 22."""

    name: str
    key: paramiko.PKey

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen -l prints it: "SHA256:…"."""
        digest = hashlib.sha256(self.key.asbytes()).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @property
    def line(self) -> str:
        """Its line in a known_hosts file."""
        return f"{self.name} {self.key.get_name()} {self.key.get_base64()}\n"


class Unverified(paramiko.SSHException):
    """A host showed a key of which nothing is known, or one that was revoked."""

    def __init__(self, shown: HostKey, *, revoked: bool = False) -> None:
        super().__init__(f"{shown.name}: {shown.fingerprint}")
        self.shown = shown
        self.revoked = revoked


class _Refuse(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise Unverified(HostKey(hostname, key))


class KnownHosts:
    """What is known of hosts."""

    def __init__(self, pinned: Path | None) -> None:
        """Read the files.

        Args:
            pinned: the project's file; it need not exist.

        Raises:
            InputError: a file cannot be read.
        """
        self.pinned = pinned
        self._files = [_read(path) for path in (pinned, USERS.expanduser()) if path is not None]

    def guard(self, client: paramiko.SSHClient, host: str, port: int) -> None:
        """Let a client accept nothing but what is known of a host.

        Raises:
            HostKeyError: never here; a key that does not fit is refused when the client connects.
        """
        name = host_name(host, port)
        keys = client.get_host_keys()
        for key in self.keys(name):
            keys.add(name, key.get_name(), key)
        client.set_missing_host_key_policy(_Refuse())

    def keys(self, name: str) -> list[paramiko.PKey]:
        """The keys known of a host, in the order of their lines: of the first file that names it."""
        revoked = {key.asbytes() for lines in self._files for key in lines.revoked}
        for lines in self._files:
            named = [entry.key for entry in lines.entries if _names(entry, name) and entry.key is not None]
            if named:
                return [key for key in named if key.asbytes() not in revoked]
        return []

    def error(self, error: Unverified | paramiko.BadHostKeyException, device: Device) -> HostKeyError:
        """What to say of a key that was refused."""
        where = str(self.pinned)
        pin = f"hilgate trust {device.name}"
        if isinstance(error, Unverified):
            return HostKeyError(
                f"the host key of {error.shown.name} is unknown",
                wanted=f"a key that is pinned in {where}, or in your {USERS}",
                found=f"{error.shown.key.get_name()} {error.shown.fingerprint}",
                where=f"{error.shown.name} ({device.path}: device.host)",
                hint="compare it with what this prints on the board: "
                f"for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $key; done\nthen pin it: {pin}",
                shown=error.shown,
            )
        shown = HostKey(error.hostname, error.key)
        expected = HostKey(error.hostname, error.expected_key)
        return HostKeyError(
            f"the host key of {error.hostname} has CHANGED",
            wanted=f"{expected.key.get_name()} {expected.fingerprint}",
            found=f"{shown.key.get_name()} {shown.fingerprint}",
            where=f"{error.hostname} ({device.path}: device.host)",
            hint="another machine may be answering in its place. If the board was set up anew, compare the key found "
            "with what this prints there: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\n"
            f"then pin the new one: {pin}",
            shown=shown,
        )


def pin(path: Path, shown: HostKey) -> None:
    """Write a host's key to a file, in place of whatever stood there for this host; the rest stays as it is.

    Raises:
        StorageError: it cannot be written.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    kept = [line if line.endswith("\n") else line + "\n" for line in lines if not _is_of(line, shown.name)]
    write_atomically(path, "".join([*kept, shown.line]))


def host_name(host: str, port: int) -> str:
    """A host as known_hosts files spell it."""
    return host if port == paramiko.config.SSH_PORT else f"[{host}]:{port}"


@dataclass(frozen=True)
class _Lines:
    entries: list[HostKeyEntry]
    revoked: list[paramiko.PKey]


def _read(path: Path) -> _Lines:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    except OSError as error:
        raise InputError("a file of known hosts cannot be read", found=str(error), where=str(path)) from error
    entries = [entry for line in lines if not line.startswith("@") and (entry := _entry(line, path)) is not None]
    marked = [line.split(None, 1)[1] for line in lines if line.startswith("@revoked ")]
    revoked = [entry.key for line in marked if (entry := _entry(line, path)) is not None and entry.key is not None]
    return _Lines(entries, revoked)


def _entry(line: str, path: Path) -> HostKeyEntry | None:
    """A line's entry; None for a comment, and for a key of a kind that paramiko does not know."""
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    try:
        return HostKeyEntry.from_line(text)
    except paramiko.hostkeys.InvalidHostKey as error:
        raise InputError(
            "a line of a file of known hosts is damaged",
            wanted="HOST KEYTYPE KEY, as ssh-keyscan prints it",
            found=text[:80],
            where=str(path),
            hint="take the line out",
        ) from error


def _names(entry: HostKeyEntry, name: str) -> bool:
    keys = paramiko.HostKeys()
    keys._entries = [entry]  # type: ignore[attr-defined]
    return keys.lookup(name) is not None


def _is_of(line: str, name: str) -> bool:
    try:
        entry = None if line.startswith(("#", "@")) or not line.strip() else HostKeyEntry.from_line(line.strip())
    except paramiko.hostkeys.InvalidHostKey:
        return False
    return entry is not None and _names(entry, name)
