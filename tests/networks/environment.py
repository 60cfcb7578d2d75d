"""The environment of these tests' own: a folder of packages, in the user's cache, made once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from harness.host.cache import new_entry

from . import REAL, copied

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
# Beside the packages: what could not be had, with pip's last line.
MISSING = "missing.json"
LIMIT_S = 600.0
# Prints why packages cannot be imported.
BUILD = """
import importlib, json, sys
refused = {}
for name, package in json.load(sys.stdin):
    try:
        importlib.import_module(name).model.build()
    except ImportError as error:
        refused[package] = f"it cannot be imported: {error}"
    except Exception:
        pass
print(json.dumps(refused))
"""


def required() -> list[str]:
    """Return the pinned requirements, without comments."""
    lines = (line.partition("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def provide(cache: Path) -> tuple[Path, dict[str, str]]:
    """Return the folder of packages, made now where it is missing, and why some are not in it, by name.

    A folder from which a package is missing serves this run only: the next one tries again.

    Args:
        cache: the user's, for it takes half a minute and 160 MB.
    """
    content = json.dumps([sys.version_info[:2], sys.platform, version("torch"), required()])
    final = cache / "test-networks" / hashlib.sha256(content.encode()).hexdigest()[:16]
    with _alone(final.parent):
        if not (final / MISSING).is_file() or _missing(final):
            shutil.rmtree(final, ignore_errors=True)
            with new_entry(final) as work:
                _install(work)
    return final, _missing(final)


def _missing(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / MISSING).read_text(encoding="utf-8"))
    return found


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(folder: Path) -> None:
    """Have pip put all packages there; where it refuses, one by one, so that one missing costs its own tests only."""
    refused: dict[str, str] = {}
    if _pip(required(), folder):
        for requirement in required():
            if said := _pip([requirement], folder):
                refused[requirement.partition("==")[0]] = said
    (folder / MISSING).write_text(json.dumps({**_unimportable(folder), **refused}), encoding="utf-8")


def _unimportable(folder: Path) -> dict[str, str]:
    """Build each network once; returns the packages that cannot be imported beside our torch, and why.

    Whatever else goes wrong is for its test to say.
    """
    with tempfile.TemporaryDirectory() as models:
        copied(Path(models), folder)
        asked = json.dumps([(network.name, network.packages[0]) for network in REAL])
        command = [sys.executable, "-B", "-W", "ignore", "-c", BUILD]
        done = subprocess.run(command, check=True, cwd=models, input=asked, stdout=subprocess.PIPE, text=True)
    refused: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return refused


def _pip(requirements: list[str], folder: Path) -> str:
    """Install into a folder; returns the last line of pip's refusal, or nothing."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--no-compile"]
    done = subprocess.run(
        [*command, "--target", str(folder), "--upgrade", *requirements],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
    )
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip failed"])[-1]
