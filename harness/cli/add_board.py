"""hilgate add: meet a board, look at it, write its file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..board import examine_board
from ..board.preflight import check_board
from ..board.trial import try_board
from ..device.device import Device, Runtime
from ..errors import DeviceError
from ..host.cache import write_atomically
from ..links.ssh.hostkeys import is_pinned
from ..protocol import BoardFacts
from .device_file import NEWER_PINS, base_for, check_text, device_text
from .project import Project
from .text import PERFORMANCE, say, table
from .trust_host import meet

# What harness.device.device accepts: asked before anything is connected, or written by that name.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
HOST = re.compile(r"[^\s-]\S*")
ARCHITECTURES = ("x86_64", "aarch64")


def add(project: Project, name: str, host: str, fingerprints: Sequence[str], *, force: bool) -> bool:
    """Make a board a device of the project: pin its host key, look at it, write its file, try what a run will do.

    Args:
        project: the project.
        name: the device's new name.
        host: where it is reached: "[user@]address[:port]", or a name of ~/.ssh/config.
        fingerprints: host keys that are expected; see meet.
        force: overwrite the device's file.

    Returns:
        Whether a run on it would work, as far as that was tried.

    Raises:
        DeviceError: the name cannot be used, or the board is none that hilgate knows how to use.
        HostKeyError: a host key was not confirmed.
        LinkError: the board cannot be reached.
        StorageError: the file cannot be written.
    """
    path = project.folder / f"{name}.toml"
    _check_arguments(name, host)
    _refuse_existing(path, name, force)
    # With packages to ship: then nobody asks what the board has installed, or what a robot's PYTHONPATH leads to.
    runtime = Runtime(packages=NEWER_PINS)
    device = Device(
        name=name,
        path=path,
        description="",
        link="ssh",
        host=host,
        backends=(),
        runtime=runtime,
        known_hosts=project.known_hosts,
    )
    for key in meet(device, fingerprints):
        pinned = "pinned" if is_pinned(project.known_hosts, key) else f"known to you only; hilgate trust {name} pins it"
        say(f"host key {key.name} {key.key.get_name()} {key.fingerprint} ({pinned})")
    with examine_board(device) as board:
        facts = board.facts
        for line in _shown(facts):
            say(line)
        check_usable(facts, board.link.where)
        base = base_for(project, name, facts)
        text = device_text(name, host, facts, base)
        written = replace(check_text(project, name, text, base), path=path)
        check_board(written, facts)
        trial = try_board(board.link, board.lease.daemon, written)
    _refuse_existing(path, name, force)
    write_atomically(path, text)
    _say_written(path, facts, base)
    for trouble in trial.troubles:
        say(f"\na run would not work yet: {trouble}")
    say(f"then: hilgate doctor {name}" if trial.troubles else f"next: pytest -m hil --device {name}")
    return not trial.troubles


def _check_arguments(name: str, host: str) -> None:
    if not NAME.fullmatch(name):
        wanted = "letters, digits, `_`, `-` and `.`, the first one a letter, a digit or `_`"
        raise DeviceError("this is not a device's name", wanted=wanted, found=repr(name))
    if not HOST.fullmatch(host):
        wanted = "[user@]address[:port], or a name of ~/.ssh/config"
        raise DeviceError("this is not a host", wanted=wanted, found=repr(host))


def _refuse_existing(path: Path, name: str, force: bool) -> None:
    if os.path.lexists(path) and not force:
        hint = "give another name, or --force to overwrite it"
        raise DeviceError(f"there is a device {name!r} already", where=str(path), hint=hint)


def check_usable(facts: BoardFacts, where: str) -> None:
    """Refuse a board that no device file can describe.

    Raises:
        DeviceError: there are no wheels for its architecture, or for its Python.
    """
    if facts.arch not in ARCHITECTURES or facts.bits != 64:
        found = f"{facts.arch}, a {facts.bits}-bit {facts.executable}"
        hint = "on a 64-bit CPU install a 64-bit system; there are no wheels for others"
        raise DeviceError(
            "hilgate cannot use this board",
            wanted=f"{' or '.join(ARCHITECTURES)}, 64 bits",
            found=found,
            where=where,
            hint=hint,
        )


def _shown(facts: BoardFacts) -> list[str]:
    cores = f"{facts.cores} core{'s' if facts.cores > 1 else ''}"
    rows = [
        ("board", facts.board or "does not say"),
        ("architecture", facts.arch),
        ("CPU", f"{facts.cpu}, {cores}"),
        ("memory", f"{facts.memory_mib} MiB"),
        ("Python", f"{facts.python} ({facts.executable})"),
        ("C library", facts.libc or "does not say (musl?)"),
        ("governor", ", ".join(facts.governor) or "none"),
    ]
    return table(rows, indent="  ")


def _say_written(path: Path, facts: BoardFacts, base: Device | None) -> None:
    say(f"written: {path}" + (f" (extends {base.name})" if base else ""))
    slow = [governor for governor in facts.governor if governor != "performance"]
    if slow:
        say(f"warning: the governor is {', '.join(slow)}: times will vary with the CPU's frequency. On the board:")
        say(f"    {PERFORMANCE}")
    if base is not None and base.runtime.environment:
        say(f"It needs {base.runtime.environment} there; how it is made stands in {base.path}")
