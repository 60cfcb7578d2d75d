"""moto's server: STS and IAM of AWS as others have rebuilt them, in an environment of its own in the user's cache.

Its runtime of SageMaker is of no use (it answers for endpoints that do not exist); nothing of it is used here.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from .foreign import LIMIT_S, MADE, Unavailable, _alone

REQUIREMENTS = Path(__file__).with_name("moto-requirements.txt")
START_S = 60.0


def provide_moto(cache: Path) -> Path:
    """Return the Python that has moto, installed now where the cache does not have it (60 MB).

    Raises:
        Unavailable: pip cannot get it.
    """
    key = json.dumps([platform.python_version(), platform.machine(), REQUIREMENTS.read_text(encoding="utf-8")])
    folder = cache / "test-foreign" / f"moto-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    python = folder / "bin" / "python"
    with _alone(folder.parent):
        if not (folder / MADE).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder, python)
    return python


def _install(folder: Path, python: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=LIMIT_S)
    install = ["install", "--quiet", "--no-compile", "--no-deps", "--only-binary=:all:"]
    pip = [str(python), "-m", "pip", *install, "--requirement", str(REQUIREMENTS)]
    done = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise Unavailable(f"moto cannot be installed into an environment of its own: {said[:300]}")
    (folder / MADE).write_text("{}\n", encoding="utf-8")


@contextmanager
def moto_server(cache: Path, **variables: str) -> Iterator[str]:
    """Start moto's server on loopback, and provide its URL; skip the test where it cannot be had.

    Args:
        cache: the user's, in which its environment is.
        variables: of its environment.
    """
    try:
        python = provide_moto(cache)
    except Unavailable as error:
        pytest.skip(str(error))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = "from moto.server import main; main()"
    command = [str(python), "-c", program, "-H", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, **variables}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _await(url, process)
        yield url
    finally:
        process.kill()
        process.wait()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"{url}/moto-api/data.json", timeout=START_S):  # noqa: S310  # our own server, on loopback
                return
        except URLError:
            time.sleep(0.1)
    raise AssertionError(f"moto's server did not begin to answer in {START_S:g} s: status {process.poll()}")
