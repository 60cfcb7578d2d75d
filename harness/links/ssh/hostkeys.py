"""Host keys: which are known, whether a host shows one of them, and what to say when it does not.

    1. the project's own devices/known_hosts: where it names a host, nothing else counts for that host
    2. otherwise what ssh would read: UserKnownHostsFile and GlobalKnownHostsFile of ssh_config, or their defaults
       (see settings)

A host is looked for as ssh does: by its HostKeyAlias, or else by its HostName and port. The format is OpenSSH's
(sshd(8)): hashed names, patterns and several keys of a host are understood. A key marked ``@revoked`` in any of these
files is refused, whichever hosts its line names. ``@cert-authority`` is not supported, paramiko knows no certificates
of hosts; nor is StrictHostKeyChecking: no setting makes an unknown key do, and no key is ever added by itself.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from ...errors import HostKeyError, InputError
from ...host.cache import storage_errors, write_atomically
from .settings import USERS, Settings

# An RSA key can be asked for by several names, one for each hash that is signed.
RSA = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True)
class HostKey:
    """A host's key: ``name`` as known_hosts files spell it, "[ADDRESS]:PORT" where the port is not 22."""

    name: str
    key: paramiko.PKey

    @property
    def fingerprint(self) -> str:
        """The fingerprint as ssh-keygen -l prints it: "SHA256:…"."""
        return fingerprint(self.key)

    @property
    def line(self) -> str:
        """Its line in a known_hosts file."""
        return f"{self.name} {self.key.get_name()} {self.key.get_base64()}\n"


def fingerprint(key: paramiko.PKey) -> str:
    """Compute a key's fingerprint as OpenSSH prints it: "SHA256:…"."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


class Unverified(paramiko.SSHException):
    """A host showed a key that is not one of its known keys, or one that was revoked."""

    def __init__(self, identity: Identity, shown: paramiko.PKey) -> None:
        super().__init__(f"{identity.name}: {fingerprint(shown)}")
        self.identity = identity
        self.shown = HostKey(identity.name, shown)


@dataclass(frozen=True)
class Identity(paramiko.MissingHostKeyPolicy):
    """The known keys of one host. As the policy of a paramiko client that is given no known hosts, it checks every key.

    paramiko's own check knows one key of each type, and asks only for the first known type.
    """

    name: str
    keys: Sequence[paramiko.PKey]
    revoked: Sequence[paramiko.PKey]
    unreadable: Sequence[str]

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Refuse a key, unless it is known."""
        if key in self.revoked or key not in self.keys:
            raise Unverified(self, key)

    def preferred(self, key_types: Sequence[str]) -> list[str]:
        """Order the types of key to ask a host for: first those of its known keys."""
        known = [name for key in self.keys for name in (RSA if key.get_name() == "ssh-rsa" else (key.get_name(),))]
        first = [name for name in dict.fromkeys(known) if name in key_types]
        return [*first, *(name for name in key_types if name not in first)]


class KnownHosts:
    """The host keys that the project pins, and those that ssh's own files know."""

    def __init__(self, pinned: Path | None, pins: Sequence[_Line] = ()) -> None:
        """Hold the lines of the project's file; ``read`` reads them."""
        self.pinned, self._pins = pinned, pins

    @classmethod
    def read(cls, pinned: Path | None) -> KnownHosts:
        """Read the project's file.

        Args:
            pinned: the file; it need not exist.

        Raises:
            InputError: it cannot be read, or a line of it is damaged.
        """
        pins = list(_lines(pinned)) if pinned is not None else []
        for line in pins:
            if line.damage:
                raise _damaged(line)
        return cls(pinned, pins)

    def identity(self, settings: Settings) -> Identity:
        """Look up the keys of a host.

        Args:
            settings: how the host is reached, and which of ssh's files count.

        Raises:
            InputError: a file cannot be read, or the line of a revoked key is damaged, so that it cannot be refused.
        """
        host, port = settings.host, settings.port
        address = host if port == paramiko.config.SSH_PORT else f"[{host}]:{port}"
        name = (settings.alias or address).lower()
        others = [line for path in settings.known_hosts for line in _lines(path)]
        for line in others:
            if line.damage and line.marker == "@revoked":
                raise _damaged(line)
        keys: list[paramiko.PKey] = []
        for lines in (self._pins, others):
            keys = keys or [line.key for line in lines if not line.marker and line.key is not None and line.names(name)]
        revoked = [line.key for line in (*self._pins, *others) if line.marker == "@revoked" and line.key is not None]
        return Identity(name, keys, revoked, [line.where for line in others if line.damage])

    def error(self, error: Unverified, where: str, device: str) -> HostKeyError:
        """Build the error for a key that was refused.

        Args:
            error: the refusal.
            where: the host, and what led there.
            device: the device's name.
        """
        shown, identity = error.shown, error.identity
        found = f"{shown.key.get_name()} {shown.fingerprint}"
        if shown.key in identity.revoked:
            hint = "take this key off that host: ssh-keygen -A makes new ones; or take the @revoked line out"
            what = f"the host key of {shown.name} was REVOKED"
            return HostKeyError(what, wanted="a key that was not revoked", found=found, where=where, hint=hint)
        pin = f"then pin it: hilgate trust {device}"
        compare = "for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $key; done"
        if identity.keys:
            known = "\n".join(f"{key.get_name()} {fingerprint(key)}" for key in identity.keys)
            hint = (
                f"another machine may be answering in its place. If it was set up anew, compare with: {compare}\n{pin}"
            )
            what = f"the host key of {shown.name} has CHANGED"
            return HostKeyError(what, wanted=known, found=found, where=where, hint=hint, shown=shown)
        damaged = f"; lines that cannot be read: {', '.join(identity.unreadable)}" if identity.unreadable else ""
        return HostKeyError(
            f"the host key of {shown.name} is unknown",
            wanted=f"a key that is pinned in {self.pinned}, or in your {USERS[0]}",
            found=found + damaged,
            where=where,
            hint=f"compare it with what this prints on that host: {compare}\n{pin}",
            shown=shown,
        )


def pin(path: Path, shown: HostKey) -> None:
    """Write a host's key to a file, in place of whatever stood there for this host; the rest stays as it is.

    Raises:
        InputError: the file cannot be read.
        StorageError: it cannot be written.
    """
    kept = [_without(line, shown.name) for line in _lines(path, all_of_it=True)]
    with storage_errors(path.parent):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # as ssh makes ~/.ssh
    write_atomically(path, "".join([*kept, shown.line]))


def _without(line: _Line, name: str) -> str:
    """Take a host out of a line; return "" where the line is about no other host."""
    if line.marker or not line.names(name):
        return line.text + "\n"
    # A pattern stays, for other hosts: "*.lab,!pi.lab".
    patterns = [one for one in line.hosts.split(",") if re.search(r"[*?]", one) or not _fits(one, name)]
    if not any(not one.startswith("!") for one in patterns):
        return ""
    hosts = ",".join([*patterns, *([f"!{name}"] if any(_fits(one, name) for one in patterns) else [])])
    return line.text.replace(line.hosts, hosts, 1) + "\n"


def is_pinned(path: Path, shown: HostKey) -> bool:
    """Whether a file says that this is the host's key.

    Raises:
        InputError: the file cannot be read.
    """
    return any(line.key == shown.key and not line.marker and line.names(shown.name) for line in _lines(path))


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A line of a file of known hosts.

    Attributes:
        where: the file and the line's number.
        text: the line.
        marker: "@revoked" or another marker, or "".
        hosts: the patterns of hosts that it is about.
        key: None for a key of a type that paramiko does not know.
        damage: what is wrong with it, "" for nothing.
    """

    where: str
    text: str
    marker: str = ""
    hosts: str = ""
    key: paramiko.PKey | None = None
    damage: str = ""

    def names(self, name: str) -> bool:
        """Whether it is about a host."""
        found = False
        for pattern in self.hosts.split(","):
            if _fits(pattern.removeprefix("!"), name):
                if pattern.startswith("!"):
                    return False
                found = True
        return found


def _lines(path: Path, *, all_of_it: bool = False) -> Iterator[_Line]:
    """Read the lines of a file that need not exist.

    Args:
        path: the file.
        all_of_it: also empty lines and comments.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError("a file of known hosts cannot be read", found=str(error), where=str(path)) from error
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield _parsed(line, f"{path}:{number}")
        elif all_of_it:
            yield _Line(where=str(path), text=line)


def _parsed(text: str, where: str) -> _Line:
    fields = text.split()
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    hosts, kind, code, *_ = [*fields, "", "", ""]
    try:
        if not code:
            raise ValueError("it has too few words")
        key = paramiko.PKey.from_type_string(kind, base64.b64decode(code, validate=True))
    except paramiko.pkey.UnknownKeyType:
        return _Line(where=where, text=text, marker=marker, hosts=hosts)
    except Exception as error:  # noqa: BLE001  # what paramiko raises of bad bytes depends on the type of the key
        damage = str(error) or type(error).__name__
        return _Line(where=where, text=text, marker=marker, hosts=hosts, damage=damage)
    return _Line(where=where, text=text, marker=marker, hosts=hosts, key=key)


def _damaged(line: _Line) -> InputError:
    return InputError(
        "a line of a file of known hosts is damaged",
        wanted="HOST KEYTYPE KEY, as ssh-keyscan prints it",
        found=f"{line.text[:80]!r}: {line.damage}",
        where=line.where,
        hint="correct it, or take the line out",
    )


def _fits(pattern: str, name: str) -> bool:
    """Check whether a line's pattern matches a host's name: the pattern is hashed, or has * and ?."""
    if pattern.startswith("|1|"):
        try:
            return paramiko.HostKeys.hash_host(name, pattern) == pattern
        except (ValueError, AssertionError, IndexError):  # what it raises of a hash that is none
            return False
    expression = re.escape(pattern.lower()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, name.lower()) is not None
