"""A loopback OpenSSH server as a board, an example model deployed there, and the system's own ssh beside it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.board import open_board
from harness.device import load_device
from harness.measure import known_metrics
from tests.support.sshd import BoardServer

from .deploy import Prepared, prepare_on

DEVICE = """\
[device]
description = "a loopback OpenSSH server"
link = "ssh"
host = "board"
backends = ["onnxruntime"]

[runtime]
packages = ["onnxruntime==1.32.0", "numpy==2.4.6"]
"""


@dataclass(frozen=True)
class LoopbackBoard:
    """A cell prepared on an open board, and an open connection of the system's ssh to the same server."""

    server: BoardServer
    prepared: Prepared
    control: Path

    @property
    def ssh_options(self) -> list[str]:
        """For ssh, scp and rsync: go through the connection that is already open."""
        config = str(self.server.folder / "ssh_config")
        return ["-F", config, "-o", f"ControlPath={self.control}", "-o", "BatchMode=yes"]

    def command(self, words: Sequence[str]) -> None:
        """Run one of the system's programs."""
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


@contextmanager
def loopback_board() -> Iterator[LoopbackBoard]:
    """Digits on onnxruntime, its runtime shipped."""
    with BoardServer() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_home(folder, server)
        before = os.environ["HOME"]
        os.environ["HOME"] = name  # for the ssh_config that Fabric reads
        try:
            with open_board(load_device("loopback", [folder], known_metrics().values())) as board:
                prepared = prepare_on(board, "digits", "onnxruntime")
                board.put(prepared.bundle)
                with _control(server, folder) as control:
                    yield LoopbackBoard(server, prepared, control)
        finally:
            os.environ["HOME"] = before


def _write_home(folder: Path, server: BoardServer) -> None:
    (folder / ".ssh").mkdir(mode=0o700)
    (folder / ".ssh" / "config").write_text(server.ssh_config("board"))
    (folder / "known_hosts").write_text(server.host_key_line + "\n")
    (folder / "loopback.toml").write_text(DEVICE)


@contextmanager
def _control(server: BoardServer, folder: Path) -> Iterator[Path]:
    path = folder / "control"
    options = ["-F", str(server.folder / "ssh_config"), "-o", f"ControlPath={path}"]
    with subprocess.Popen(["ssh", *options, "-M", "-N", server.user]) as master:
        try:
            subprocess.run(["ssh", *options, server.user, "true"], check=True, stdin=subprocess.DEVNULL, timeout=30)
            yield path
        finally:
            master.terminate()
