"""What tests of emulated boards share: the shipped qemu-pi4, opened and asked; its QEMU, seen from the host."""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.deploy import prepare_on
from harness.agent.facts import read_text
from harness.agent.orphans import identity
from harness.board import Board, open_board
from harness.deploy.deployer import Deployer
from harness.deploy.deployment import DeviceTime, Timeouts
from harness.device import Device, load_device
from harness.emulator.emulator import Emulator
from harness.host.shipped import DEVICES
from harness.links import qemu
from harness.measure import known_metrics
from harness.model.inputs import measured_sets
from tests.support.processes import descendants

from .boards import wait_for
from .desk import said

NAME = "qemu-pi4"
# What a board leaves on the host is gone so soon.
GONE_S = 10.0


def device(folder: Path = DEVICES, name: str = NAME) -> Device:
    """The shipped one, or a project's own that extends it."""
    return load_device(name, [folder, DEVICES], known_metrics().values())


@contextmanager
def opened(found: Device | None = None) -> Iterator[Board]:
    """A board of its own, switched off in the end."""
    with open_board(found or device()) as board:
        yield board


def emulator_of(board: Board) -> Emulator:
    """What can be done to it from the host's side."""
    assert isinstance(board.link, qemu.Link)
    assert board.link.emulator is not None
    return board.link.emulator


def guest(board: Board, script: str) -> str:
    """What a script says there."""
    return said(board.link, script)


def python(program: str) -> str:
    """The script that has its Python run a program."""
    return f"python3 -I -c {shlex.quote(program)}"


class Digits:
    """The example, put on a board, for agents to come and go."""

    def __init__(self, board: Board, backend: str = "onnxruntime") -> None:
        prepared = prepare_on(board, "digits", backend)
        board.put(prepared.bundle)
        self.board = board
        self.deployer = Deployer(
            cell=prepared.cell, board=board, bundle=prepared.bundle, timeouts=Timeouts(), device_time=DeviceTime()
        )
        (self._inputs,) = measured_sets(prepared.cell.file.model, 1)

    def fresh(self) -> list[float]:
        """A new agent's first answer."""
        self.deployer.fresh()
        return self.answer()

    def answer(self) -> list[float]:
        """Of the agent that is there."""
        live, _ = self.deployer.shared()
        ((scores,),) = live.infer([self._inputs])
        return [float(score) for score in scores.ravel()]


@dataclass(frozen=True)
class Hosted:
    """One board, as the host has it: a folder and two processes."""

    folder: Path
    supervisor: int
    qemu: int

    @property
    def left(self) -> list[str]:
        """What there is of it."""
        processes = {"supervisor": self.supervisor, "QEMU": self.qemu}
        found = [name for name, pid in processes.items() if lives(pid)]
        return [*found, *([str(self.folder)] if self.folder.exists() else [])]

    def wait_gone(self) -> None:
        """For as long as it may take."""
        wait_for(lambda: None if self.left else True, GONE_S)


def hosted(pid: int | None = None, *, counting: bool = False) -> list[Hosted]:
    """The boards that a process runs (this one, unless another is named), or those that count for them."""
    found = []
    for process in descendants(pid or os.getpid()):
        if process.name.startswith("qemu-system"):
            command = read_text(f"/proc/{process.pid}/cmdline")
            folder = re.search(r"file=([^,]+)/disk\.qcow2", command)  # another one is only asked its version
            if folder and ("-icount" in command) is counting:
                found.append(Hosted(Path(folder[1]), process.parent, process.pid))
    return found


def hosted_by(pid: int, *, counting: bool = False) -> Hosted:
    """Wait for the one that a run switches on, or the one that counts for it."""
    return wait_for(lambda: next(iter(hosted(pid, counting=counting)), None))


def lives(pid: int) -> bool:
    """Whether it runs: one that nobody has buried yet does not."""
    found = identity(pid)
    return found is not None and found[2] not in "ZX"


def addresses(pid: int) -> set[tuple[str, int, bool]]:
    """(address, port, whether it listens) of a process's own ends of its sockets, see proc(5); "" for IPv6."""
    inodes = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for kind in ("tcp", "udp", "tcp6", "udp6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in inodes:
                address, _, port = fields[1].partition(":")
                name = socket.inet_ntoa(bytes.fromhex(address)[::-1]) if len(address) == 8 else ""
                found.add((name, int(port, 16), fields[3] == "0A"))
    return found
