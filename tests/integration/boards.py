"""What tests against a board share: a device file for a server, bundles without a model, what is left behind."""

from __future__ import annotations

import sys
import sysconfig
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from harness.bundle import AGENT, Bundle, BundleFile
from harness.bundle.archive import Archive
from harness.bundle.runtime import Runtime
from harness.device import Device, load_device
from harness.host.cache import file_sha256
from harness.measure import known_metrics
from tests.support.sshd import BoardServer

MIB = 1 << 20
# Long enough for a busy machine; nothing that works takes so long.
SECONDS = 200.0

# Mounts of a board that has this Python and its packages; see ``furnish``.
FURNISHED = (
    f"mkdir {{home}}/python {{home}}/packages && mount --rbind {sys.base_prefix} {{home}}/python",
    f"mount --rbind {sysconfig.get_path('purelib')} {{home}}/packages",
)

T = TypeVar("T")


def wait_for(what: Callable[[], T | None], seconds: float = SECONDS) -> T:
    """Poll until there is something."""
    end = time.monotonic() + seconds
    while (found := what()) is None:
        if time.monotonic() > end:
            raise AssertionError(f"{what} found nothing in {seconds} s")
        time.sleep(0.01)
    return found


def write_device(
    folder: Path, server: BoardServer, ports: Sequence[int] = (), *, device: str = "", runtime: str = ""
) -> None:
    """Home and devices of a user to whom the server is the device ``board``.

    Args:
        folder: becomes $HOME, and the project's folder.
        ports: of the server's proxies: the first is the one that is used; without, the server's own.
        device: further lines of the device's table.
        runtime: the lines of the runtime's.
    """
    ssh = folder / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    config = server.ssh_config("board")
    (ssh / "config").write_text(config.replace(f"Port {server.port}", f"Port {[*ports, server.port][0]}"))
    devices = folder / "devices"
    devices.mkdir(exist_ok=True)
    _, kind, key = server.host_key_line.split()[:3]
    known = [f"[{server.host}]:{port} {kind} {key}\n" for port in (*ports, server.port)]
    (devices / "known_hosts").write_text("".join(known))
    lines = f'[device]\ndescription = "loopback"\nlink = "ssh"\nhost = "board"\nbackends = ["onnxruntime"]\n{device}\n'
    (devices / "board.toml").write_text(f"{lines}[measure]\nblock_ms = 1\n[runtime]\n{runtime}\n")


def furnish(server: BoardServer) -> Path:
    """Give a board with the mounts FURNISHED an environment that has the packages of this one; return it."""
    environment = server.home / "environment"
    python = f"python3.{sys.version_info.minor}"
    packages = environment / "lib" / python / "site-packages"
    packages.parent.mkdir(parents=True)
    packages.symlink_to(server.home / "packages")
    (environment / "bin").mkdir()
    (environment / "bin/python").symlink_to(server.home / "python/bin" / python)
    (environment / "pyvenv.cfg").write_text(f"home = {server.home}/python/bin\n")
    return environment


def read_device(folder: Path) -> Device:
    """What write_device wrote; $HOME has to be the folder when it is used."""
    return load_device("board", [folder / "devices"], known_metrics().values())


def make_bundle(
    folder: Path,
    sizes: Sequence[int] = (),
    archives: Sequence[Mapping[str, bytes]] = (),
    agent: str = "",
    shared: Sequence[str] = (),
) -> Bundle:
    """A bundle that holds no model: an artifact of files of these sizes, archives with these members.

    Args:
        agent: the program that is started for it.
        shared: modules of the real agent that it imports.
    """
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(sum(sizes))
    files = [_write(folder / f"file{index}", generator.bytes(size)) for index, size in enumerate(sizes)]
    program = {"agent/__main__.py": _write(folder / "__main__.py", agent.encode())}
    for path in (AGENT / f"{name}.py" for name in ("__init__", *shared)):
        program[f"agent/{path.name}"] = BundleFile(path, file_sha256(path), path.stat().st_size)
    zips = [_zip(folder / f"{index}.whl", members) for index, members in enumerate(archives)]
    described = {"wheels": [one.sha256 for one in zips]}
    artifact = {file.source.name: file for file in files}
    return Bundle(
        backend="onnxruntime",
        agent=program,
        artifact=artifact,
        runtime=Runtime(described=described, packages={}, archives=tuple(zips)),
        entry="artifact/file0",
    )


def _write(path: Path, content: bytes) -> BundleFile:
    path.write_bytes(content)
    return BundleFile(path, file_sha256(path), len(content))


def _zip(path: Path, members: Mapping[str, bytes]) -> Archive:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return Archive(
        source=path, sha256=file_sha256(path), bytes=path.stat().st_size, unpacked_bytes=sum(map(len, members.values()))
    )


def stored(home: Path, store: str = ".cache/hilgate") -> list[str]:
    """What is in a store: its entries, also half-made ones, and what came in."""
    folders = ("artifacts", "runtimes", "bundles", "incoming", "results", "agents")
    return sorted(f"{name}/{path.name}" for name in folders for path in (home / store / name).glob("*"))


@contextmanager
def nothing_left(server: BoardServer) -> Iterator[None]:
    """After the block neither the board nor this process runs anything that was not running before."""
    before, threads = set(server.processes()), set(threading.enumerate())
    yield
    wait_for(lambda: True if set(server.processes()) <= before else None, 20)
    wait_for(lambda: True if set(threading.enumerate()) <= threads else None, 20)
