"""The peers' packages: a folder each in the user's cache, of a pinned list, made once, and anew where it lacks."""

from __future__ import annotations

import fcntl
import hashlib
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.host.cache import new_entry

MADE = "made.json"
LIMIT_S = 600.0
TRITON, KSERVE, MLSERVER = "triton", "kserve", "mlserver"
PEERS = (TRITON, KSERVE, MLSERVER)
# What Triton's wheel is built for; no other machine can have it.
TRITON_GLIBC, TRITON_MACHINES = (2, 35), ("x86_64", "aarch64")


def packages_of(peer: str, cache: Path) -> Path:
    """Return the folder of a peer's packages; skip the test where this machine's kind has none.

    Args:
        peer: one of PEERS.
        cache: the user's.

    Raises:
        AssertionError: pip cannot get them, with what it said.
    """
    if peer == TRITON and (reason := _why_no_triton()):
        pytest.skip(reason)
    requirements = Path(__file__).with_name(f"{peer}.txt").read_text(encoding="utf-8")
    key = json.dumps([platform.python_version(), platform.machine(), requirements])
    final = cache / "test-peers" / f"{peer}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    with _alone(final):
        if not (final / MADE).is_file():
            shutil.rmtree(final, ignore_errors=True)
            with new_entry(final) as work:
                _install(peer, work)
    return final


def _why_no_triton() -> str:
    name, version = platform.libc_ver()
    has_glibc = name == "glibc" and tuple(map(int, version.split(".")[:2])) >= TRITON_GLIBC
    if has_glibc and platform.machine() in TRITON_MACHINES:
        return ""
    wanted = f"glibc {'.'.join(map(str, TRITON_GLIBC))} on {' or '.join(TRITON_MACHINES)}"
    return f"Triton's wheel wants {wanted}; found {name or 'no glibc'} {version} on {platform.machine()}"


def _install(peer: str, folder: Path) -> None:
    """Have pip unpack the list: what is in it is all that is needed, so that nothing is resolved."""
    install = ["install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:", "--target", str(folder)]
    pip = [sys.executable, "-m", "pip", *install, "--requirement", str(Path(__file__).with_name(f"{peer}.txt"))]
    done = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise AssertionError(f"{peer} cannot be installed into a folder of its own: {' '.join(said)[:600]}")
    if peer == TRITON:
        _place_stub(folder / "pytriton" / "tritonserver")
    (folder / MADE).write_text("{}\n", encoding="utf-8")


def _place_stub(triton: Path) -> None:
    """Put the program that runs models in this version of Python where Triton looks for it."""
    name = "triton_python_backend_stub"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = triton / "python_backend_stubs" / version / name
    if not stub.is_file():
        has = ", ".join(sorted(each.parent.name for each in triton.glob(f"python_backend_stubs/*/{name}")))
        raise AssertionError(f"Triton's wheel has no stub for Python {version}: it has them for {has}")
    shutil.copy2(stub, triton / "backends" / "python" / name)


@contextmanager
def _alone(final: Path) -> Iterator[None]:
    final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with final.with_name(f".{final.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
