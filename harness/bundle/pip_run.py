"""Running pip for another machine, in a process of its own, with the user's configuration.

pip decides which wheels fit and where they come from; hilgate names no index, proxy or certificate.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..host.leash import end_session, leashed
from ..host.progress_log import progress_logger
from .target import Platform

LOG = progress_logger(__name__)

PROGRAM = Path(__file__).with_name("pip_with_markers.py")
# CUDA's wheels are 3 GB, which takes most of an hour over a slow line; pip's own time-out detects a dead one.
LIMIT_S = 3600.0
DOWNLOADING = re.compile(r"^\s*Downloading \S*?([^/\s]+\.whl) \((.+)\)$")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to pip.

    Attributes:
        requirements: as in PEP 508.
        constraints: the same, for dependencies.
        platform: what the wheels must fit.
        where: the device, for errors.
        work: an empty folder for temporary files, which the caller removes.
    """

    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    platform: Platform
    where: str
    work: Path


@dataclass(frozen=True)
class Outcome:
    """The end of a run of pip: its exit status, None where it took too long and was killed, and all its output."""

    status: int | None
    output: str


def download(request: Request, folder: Path) -> Outcome:
    """Download the wheels of the requirements and of all their dependencies into a folder."""
    constraints = request.work / "constraints.txt"
    constraints.write_text("\n".join(request.constraints) + "\n", encoding="utf-8")
    arguments = ["download", "--dest", str(folder), "--constraint", str(constraints), *_fitting(request.platform)]
    return _run(request, [*arguments, "--", *request.requirements])


def download_again(request: Request, pins: Iterable[tuple[str, str]], folder: Path) -> Outcome:
    """Download certain wheels, and no others, into a folder.

    Args:
        request: whom they are for.
        pins: (requirement, SHA-256) of each.
        folder: where they go.
    """
    file = request.work / "pins.txt"
    file.write_text("".join(f"{pin} --hash=sha256:{sha256}\n" for pin, sha256 in pins), encoding="utf-8")
    arguments = ["download", "--dest", str(folder), "--no-deps", "--require-hashes", *_fitting(request.platform)]
    return _run(request, [*arguments, "--requirement", str(file)])


def find_wheel(
    request: Request, requirement: str, platform: Platform, tags: Sequence[str] | None = None, *, strict: bool = False
) -> tuple[str | None, Outcome]:
    """Ask pip for the wheel that it would take for one requirement, without its dependencies.

    Nothing is downloaded if the index serves metadata apart from the wheels and pip is 23.3 or newer.

    Args:
        request: whom it is for.
        requirement: as in PEP 508.
        platform: what the wheel must fit.
        tags: platform tags to allow instead of the platform's own, the best first.
        strict: whether packages' Requires-Python must be satisfied, too. Other than when it downloads, pip compares it
            with this interpreter's version here, whatever --python-version says.

    Returns:
        The wheel's file name, None where there is none; and how pip ended.
    """
    report = request.work / "report.json"
    report.unlink(missing_ok=True)
    arguments = ["install", "--dry-run", "--ignore-installed", "--no-deps", "--report", str(report), "-vv"]
    arguments += [] if strict else ["--ignore-requires-python"]
    arguments += ["--target", str(request.work / "target"), *_fitting(platform, tags)]
    outcome = _run(request, [*arguments, "--", requirement])
    if outcome.status != 0:
        return None, outcome
    (item,) = json.loads(report.read_text(encoding="utf-8"))["install"]
    return unquote(Path(urlsplit(item["download_info"]["url"]).path).name), outcome


def _fitting(platform: Platform, tags: Sequence[str] | None = None) -> list[str]:
    abi = "cp" + platform.minor.replace(".", "")
    arguments = ["--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    arguments += ["--python-version", platform.release, "--implementation", "cp"]
    arguments += [f"--abi={name}" for name in (abi, "abi3", "none")]
    return arguments + [f"--platform={tag}" for tag in tags or platform.tags()]


def _run(request: Request, arguments: Sequence[str]) -> Outcome:
    # -P: no module in the current folder may replace one of pip's.
    markers = json.dumps(dict(request.platform.markers()))
    process = subprocess.Popen(
        leashed([sys.executable, "-P", str(PROGRAM), markers, *arguments]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_environment(request.work),
        start_new_session=True,
    )
    late = threading.Event()

    def give_up() -> None:
        late.set()
        end_session(process)

    timer = threading.Timer(LIMIT_S, give_up)
    timer.daemon = True
    timer.start()
    try:
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if match := DOWNLOADING.match(line):
                LOG.info(f"downloading {match[1]} ({match[2]})")
        status = process.wait()
    finally:
        timer.cancel()
        end_session(process)
        if process.stdout is not None:
            process.stdout.close()
    return Outcome(None if late.is_set() else status, "".join(lines))


def _environment(work: Path) -> dict[str, str]:
    """Return the user's environment, changed where it would affect pip's output or its temporary files."""
    changed = {
        "PIP_NO_COLOR": "1",
        "PIP_PROGRESS_BAR": "off",
        "PIP_QUIET": "0",
        "PIP_USER": "0",  # has no meaning for a download, and makes --target an error
        "PYTHONIOENCODING": "utf-8",
        "TMPDIR": str(work),  # pip downloads there first; /tmp may be small
    }
    inherited = {name: value for name, value in os.environ.items() if name != "PIP_PYTHON"}  # it starts a second pip
    return inherited | changed
