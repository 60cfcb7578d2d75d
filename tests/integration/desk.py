"""What tests against a board have in common: a user's desk, with ssh's files and a project, and a board to reach."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.device.device import Device, Runtime
from harness.links import Channel, ChannelClosed, LinkType
from harness.links.ssh import Link
from tests.support.sshd import BoardServer

# The processes of a test may get little of a busy machine; what is bounded at all is bounded by far less than this.
SECONDS = 30.0


class Desk:
    """A user's home with ~/.ssh, and a project's folder of devices; ssh finds neither an agent nor other files."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.home = folder, folder / "home"
        self.config = self.home / ".ssh" / "config"
        self.users = self.home / ".ssh" / "known_hosts"
        self.pinned = folder / "devices" / "known_hosts"
        self.config.parent.mkdir(parents=True, mode=0o700)
        self.pinned.parent.mkdir()
        patch.setenv("HOME", str(self.home))
        patch.delenv("SSH_AUTH_SOCK", raising=False)

    def configure(self, server: BoardServer, name: str = "loop", **settings: object) -> None:
        """Write a host into ~/.ssh/config; a setting replaces one of the usual, None leaves it out."""
        usual = {"HostName": server.host, "Port": server.port, "User": server.user, "IdentityFile": server.key}
        with self.config.open("a") as file:
            file.write(f"Host {name}\n")
            file.writelines(f"    {key} {value}\n" for key, value in {**usual, **settings}.items() if value is not None)

    def pin(self, server: BoardServer, *ports: int) -> None:
        """Pin a board's keys, under its own port and the ports of proxies before it."""
        lines = (server.folder / "known_hosts").read_text()
        with self.pinned.open("a") as file:
            for port in (server.port, *ports):
                file.write(lines.replace(f":{server.port} ", f":{port} "))

    def device(self, host: str = "loop", **changes: Any) -> Device:
        """What a device file says."""
        told: dict[str, Any] = {"arch": None, "cpu": None, "memory_mib": None, "backends": ("onnxruntime",)}
        told |= {"runtime": Runtime(python="3.11", packages=("onnxruntime==1.32.0",))}
        path = self.folder / "devices" / "loop.toml"
        return Device(
            name="loop",
            path=path,
            description="a board",
            link="ssh",
            host=host,
            known_hosts=self.pinned,
            **(told | changes),
        )


@contextmanager
def linked(device: Device) -> Iterator[Link]:
    """A link, closed in the end."""
    link = Link(device)
    try:
        yield link
    finally:
        link.close()


def deadline() -> float:
    """For what is going to happen."""
    return time.monotonic() + SECONDS


def read_all(process: Channel) -> bytes:
    """What a program writes until it ends."""
    content = bytearray()
    end = time.monotonic() + SECONDS
    while True:
        try:
            content += process.receive(1, end)
        except ChannelClosed:
            return bytes(content)


def said(link: LinkType, script: str) -> str:
    """What a script says, to its end."""
    process = link.start(script)
    content = read_all(process)
    process.finish(SECONDS)
    return content.decode().strip()


@contextmanager
def ssh_agent(patch: pytest.MonkeyPatch, *keys: Path) -> Iterator[None]:
    """A real agent that holds keys."""
    with subprocess.Popen(["ssh-agent", "-D"], stdout=subprocess.PIPE, text=True) as agent:
        try:
            assert agent.stdout is not None
            line = agent.stdout.readline()  # SSH_AUTH_SOCK=…; export SSH_AUTH_SOCK;
            patch.setenv("SSH_AUTH_SOCK", line.partition("=")[2].partition(";")[0])
            for key in keys:
                subprocess.run(["ssh-add", "-q", key], check=True, stdin=subprocess.DEVNULL)
            yield
        finally:
            agent.terminate()


def new_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    """A user's key, made by ssh-keygen."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path], check=True)
    return path


def locked_copy(key: Path, path: Path) -> Path:
    """The same key, with a passphrase; without its public half beside it."""
    path.write_bytes(key.read_bytes())
    path.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "a secret", "-f", path], check=True, capture_output=True)
    return path


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names only
