"""Host keys: confirmed by a person, or by a fingerprint that was given beforehand, and never blindly."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import click
import paramiko

from ..device.device import Device
from ..errors import DeviceError, HostKeyError
from ..links import link_class
from ..links.ssh.connection import connect, shown_keys
from ..links.ssh.hostkeys import HostKey, Unverified, is_pinned, pin
from ..printable import printable
from .project import Project
from .text import say

COMPARE = 'for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf "$key"; done'


def trust(project: Project, name: str, fingerprints: Sequence[str]) -> None:
    """Pin the keys of a device and of the hosts on the way to it that are not pinned yet.

    Raises:
        DeviceError: it is not reached by SSH.
        HostKeyError: a key was not confirmed.
        LinkError: it cannot be reached.
    """
    device = project.device(name)
    link = link_class(device.link)
    if link is None or not link.has_host_keys:
        hint = "there is nothing to be trusted"
        raise DeviceError(f"{name} has no host key", wanted='link = "ssh"', found=f'link = "{device.link}"', hint=hint)
    for key in meet(device, fingerprints):
        if not is_pinned(project.known_hosts, key):
            say(f"The host key of {key.name} stands in your ~/.ssh/known_hosts, and is not pinned for the project:")
            _confirm_unknown(key, fingerprints)
            pin(project.known_hosts, key)
        say(f"pinned: {key.name} {key.key.get_name()} {key.fingerprint}")
    say(f"The project's keys are in {project.known_hosts}; commit it, and everybody's runs know them.")


def meet(device: Device, fingerprints: Sequence[str]) -> list[HostKey]:
    """Log in; have every unknown key on the way confirmed, and pin it.

    Args:
        device: the device.
        fingerprints: keys that are expected. Where there are any nothing is asked, and each must be shown by some host.

    Returns:
        The keys of all hosts on the way, the device's own last.

    Raises:
        HostKeyError: a key was not confirmed, or an expected one not shown.
        LinkError: the device cannot be reached, or refuses us.
    """
    pinned: set[HostKey] = set()
    while True:
        try:
            route = connect(device)
        except HostKeyError as error:
            shown, cause = error.shown, error.__cause__
            # A revoked key is not offered to be pinned; one that was pinned and is refused would be refused each time.
            if not isinstance(shown, HostKey) or shown in pinned or device.known_hosts is None:
                raise
            _confirm(shown, cause.identity.keys if isinstance(cause, Unverified) else (), fingerprints)
            pin(device.known_hosts, shown)
            pinned.add(shown)
            continue
        with closing(route):
            keys = shown_keys(route, device)
        _check_all_shown(keys, fingerprints)
        return keys


def _check_all_shown(keys: Sequence[HostKey], fingerprints: Sequence[str]) -> None:
    unseen = {_normal(one) for one in fingerprints} - {key.fingerprint for key in keys}
    if unseen:
        raise HostKeyError(
            "no host on the way showed a key that was expected",
            wanted=", ".join(sorted(unseen)),
            found="\n".join(f"{key.name}: {key.fingerprint}" for key in keys),
            hint="these are known already; give their fingerprints, or none",
        )


def _confirm(shown: HostKey, known: Sequence[paramiko.PKey], fingerprints: Sequence[str]) -> None:
    if known:
        _confirm_changed(shown, known, fingerprints)
    else:
        say(f"The host key of {shown.name} is unknown:")
        _confirm_unknown(shown, fingerprints)


def _confirm_unknown(shown: HostKey, fingerprints: Sequence[str]) -> None:
    say(f"    {_words(shown)}")
    if _expected(shown, fingerprints):
        return
    say(
        "Compare it with what this prints on that machine, at its own screen and keyboard or over a way that you trust:"
    )
    say(f"    {COMPARE}")
    try:
        same = click.confirm("Is it the same?", default=False)
    except click.Abort as error:  # nobody is there to answer
        raise _unconfirmed(shown) from error
    if not same:
        raise _unconfirmed(shown)


def _confirm_changed(shown: HostKey, known: Sequence[paramiko.PKey], fingerprints: Sequence[str]) -> None:
    say(f"WARNING: the host key of {shown.name} has CHANGED", fg="red", bold=True)
    for old in known:
        say(f"    old  {_words(HostKey(shown.name, old))}")
    say(f"  → new  {_words(shown)}")
    if _expected(shown, fingerprints):
        return
    say("Another machine may be answering in its place, and would get what you send there: models, programs.")
    say("Only if that machine was set up anew is this to be expected. Compare with what this prints there:")
    say(f"    {COMPARE}")
    typed = click.prompt(
        f"To pin the new key, type the host's name ({printable(shown.name)})", default="", show_default=False
    )
    if typed.strip() != shown.name:
        raise _unconfirmed(shown)


def _expected(shown: HostKey, fingerprints: Sequence[str]) -> bool:
    """Return whether the key was given beforehand; False where none was, so that a person is asked.

    Raises:
        HostKeyError: others were given, and not this one.
    """
    if fingerprints and shown.fingerprint not in map(_normal, fingerprints):
        raise HostKeyError(
            f"the host key of {shown.name} is not one that is expected",
            wanted=", ".join(fingerprints),
            found=_words(shown),
            where=shown.name,
            hint=f"compare it with what this prints on that machine: {COMPARE}\nnothing was pinned for this host",
        )
    return bool(fingerprints)


def _unconfirmed(shown: HostKey) -> HostKeyError:
    hint = (
        "nothing was pinned for this host; ask whoever has access to the machine for its fingerprint. "
        "It may be given beforehand, too: --fingerprint SHA256:…"
    )
    return HostKeyError(f"the host key of {shown.name} was not confirmed", found=_words(shown), hint=hint)


def _words(key: HostKey) -> str:
    return f"{key.key.get_name()} {key.fingerprint}"


def _normal(fingerprint: str) -> str:
    return fingerprint.strip().rstrip("=")
