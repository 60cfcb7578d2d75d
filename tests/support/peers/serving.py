"""A peer as a process on loopback, with the digits example, exported as ONNX, as "digits" and as "wrong"."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from harness.host.leash import end_session, leashed

from .installing import KSERVE, MLSERVER, TRITON, packages_of

HERE = Path(__file__).parent
MODELS = ("digits", "wrong")
START_S = 120.0
# What the peers' models take from the tests' own environment, unless their packages have it.
OWN = ("numpy", "numpy.libs", "onnxruntime")
TRITON_CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: 0
input [{{ name: "image", data_type: TYPE_FP32, dims: [-1, 1, 8, 8] }}]
output [{{ name: "output", data_type: TYPE_FP32, dims: [-1, 10] }}]
instance_group [{{ kind: KIND_CPU, count: 1 }}]
"""
MLSERVER_MODEL = """
{{"name": "{name}", "implementation": "mlserver_model.Digits",
  "inputs": [{{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}}],
  "outputs": [{{"name": "output", "datatype": "FP32", "shape": [-1, 10]}}]}}
"""


@dataclass
class Peer:
    """A running server.

    Attributes:
        name: which it is.
        port: where it listens, on loopback.
        process: on whose leash it is: it ends with the tests, however these end.
        shared_memory: how the names of its regions in /dev/shm begin, which it leaves there when it is killed.
    """

    name: str
    port: int
    process: subprocess.Popen[str]
    shared_memory: str = ""

    @property
    def url(self) -> str:
        """Where it is called."""
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End all of its processes at once."""
        end_session(self.process)
        for region in Path("/dev/shm").glob(f"{self.shared_memory}*") if self.shared_memory else ():
            region.unlink()


@contextmanager
def running(name: str, model: Path, cache: Path, folder: Path) -> Iterator[Peer]:
    """Start a peer, wait until both models are ready, and end it afterwards.

    Args:
        name: one of PEERS.
        model: the digits example as ONNX.
        cache: the user's, for its packages.
        folder: its own, empty.

    Raises:
        AssertionError: it does not begin, with the end of what it wrote.
    """
    packages = packages_of(name, cache)
    for each in OWN:
        _link(each, folder / "own")
    start = {TRITON: _start_triton, KSERVE: _start_kserve, MLSERVER: _start_mlserver}[name]
    paths = [str(packages), str(folder / "own"), str(HERE)]
    environment = {**os.environ, "PEER_MODEL": str(model), "PYTHONPATH": os.pathsep.join(paths)}
    with (folder / "log").open("w", encoding="utf-8") as log:
        peer = start(packages, folder, environment, log.fileno())
    try:
        _await(peer, folder / "log")
        yield peer
    finally:
        peer.kill()


def _link(package: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    spec = find_spec("numpy")
    assert spec is not None
    assert spec.origin is not None
    found = Path(spec.origin).parent.parent / package
    if found.exists():  # numpy.libs is a wheel's, not a distribution's
        (folder / package).symlink_to(found)


def _start_triton(packages: Path, folder: Path, environment: Mapping[str, str], log: int) -> Peer:
    """Start Triton's own program, with its backend of models in Python: nothing of pytriton's runs."""
    for model in MODELS:
        (folder / "models" / model / "1").mkdir(parents=True)
        (folder / "models" / model / "config.pbtxt").write_text(TRITON_CONFIG.format(name=model), encoding="utf-8")
        shutil.copyfile(HERE / "triton_model.py", folder / "models" / model / "1" / "model.py")
    port, triton = free_port(), packages / "pytriton" / "tritonserver"
    memory = f"hilgate-peers-{secrets.token_hex(8)}"
    command = [
        str(triton / "bin" / "tritonserver"),
        f"--model-repository={folder / 'models'}",
        f"--backend-directory={triton / 'backends'}",
        f"--backend-config=python,shm-region-prefix-name={memory}",
        "--http-address=127.0.0.1",
        f"--http-port={port}",
        "--allow-grpc=false",
        "--allow-metrics=false",
        "--exit-timeout-secs=1",
    ]
    # The Python that is embedded: libpython is beside the tests' own interpreter, or Debian's package.
    python = {"PYTHONHOME": sys.base_prefix, "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
    return Peer(TRITON, port, _spawn(command, {**environment, **python}, log), memory)


def _start_kserve(packages: Path, folder: Path, environment: Mapping[str, str], log: int) -> Peer:
    port = free_port()
    command = [sys.executable, "-S", str(HERE / "kserve_server.py"), str(port)]
    return Peer(KSERVE, port, _spawn(command, environment, log))


def _start_mlserver(packages: Path, folder: Path, environment: Mapping[str, str], log: int) -> Peer:
    for model in MODELS:
        (folder / "models" / model).mkdir(parents=True)
        text = MLSERVER_MODEL.format(name=model)
        (folder / "models" / model / "model-settings.json").write_text(text, encoding="utf-8")
    ports = {key: free_port() for key in ("http_port", "grpc_port", "metrics_port")}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, **ports}
    variables = {f"MLSERVER_{key}".upper(): str(value) for key, value in settings.items()}
    command = [sys.executable, "-S", "-c", "from mlserver.cli import main; main()", "start", str(folder / "models")]
    return Peer(MLSERVER, ports["http_port"], _spawn(command, {**environment, **variables}, log))


def _spawn(command: list[str], environment: Mapping[str, str], log: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        leashed(command),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        text=True,
        start_new_session=True,
    )


def free_port() -> int:
    """Return a port of loopback that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _await(peer: Peer, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not all(_is_ready(f"{peer.url}/v2/models/{model}/ready") for model in MODELS):
        if time.monotonic() > deadline or peer.process.poll() is not None:
            said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise AssertionError(f"{peer.name} does not begin: status {peer.process.poll()}\n{said}")
        time.sleep(0.1)


def _is_ready(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):  # noqa: S310  # on loopback
            return True
    except (URLError, OSError):
        return False
