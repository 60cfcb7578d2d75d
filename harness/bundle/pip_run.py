"""pip, run for another machine: in a process of its own, with the user's own configuration.

pip decides what fits and where it comes from; no index, proxy or certificate is named here.
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
# CUDA's wheels are 3 GB; over a slow line that is most of an hour. pip's own time-out ends a line that is dead.
LIMIT_S = 3600.0
DOWNLOADING = re.compile(r"^\s*Downloading \S*?([^/\s]+\.whl) \((.+)\)$")


@dataclass(frozen=True)
class Request:
    """What is asked of pip, whom it is for, and where it may write.

    Attributes:
        where: for errors: the device.
        work: an empty folder, removed by whoever made it.
    """

    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    platform: Platform
    where: str
    work: Path


@dataclass(frozen=True)
class Outcome:
    """How pip ended, and all that it printed; ``status`` is None where it took too long and was killed."""

    status: int | None
    output: str


def download(request: Request, folder: Path) -> Outcome:
    """Put the wheels of the requirements, and of all that they require, into a folder."""
    constraints = request.work / "constraints.txt"
    constraints.write_text("\n".join(request.constraints) + "\n", encoding="utf-8")
    arguments = ["download", "--dest", str(folder), "--constraint", str(constraints), *_fitting(request.platform)]
    return _run(request, [*arguments, "--", *request.requirements])


def download_again(request: Request, pins: Iterable[tuple[str, str]], folder: Path) -> Outcome:
    """Put certain wheels into a folder, and no others: ``pins`` are (requirement, SHA-256)."""
    file = request.work / "pins.txt"
    file.write_text("".join(f"{pin} --hash=sha256:{sha256}\n" for pin, sha256 in pins), encoding="utf-8")
    arguments = ["download", "--dest", str(folder), "--no-deps", "--require-hashes", *_fitting(request.platform)]
    return _run(request, [*arguments, "--requirement", str(file)])


def find_wheel(
    request: Request, requirement: str, platform: Platform, tags: Sequence[str] | None = None, *, strict: bool = False
) -> tuple[str | None, Outcome]:
    """The file name of the wheel that pip would take for one requirement alone; None where there is none.

    Nothing is downloaded where the index serves metadata apart from the wheels and pip is 23.3 or newer.

    Args:
        tags: platform tags to allow instead of the platform's own, the best first.
        strict: whether the Requires-Python of packages counts beside the wheels' tags. pip compares what stands in a
            wheel with this interpreter's version here, whatever --python-version says: not so when it downloads.
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
    # -P: no module of the current folder stands in for one of pip's.
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
            if found := DOWNLOADING.match(line):
                LOG.info(f"downloading {found[1]} ({found[2]})")
        status = process.wait()
    finally:
        timer.cancel()
        end_session(process)
        if process.stdout is not None:
            process.stdout.close()
    return Outcome(None if late.is_set() else status, "".join(lines))


def _environment(work: Path) -> dict[str, str]:
    """The user's own, but for what would change how pip prints, or where it does its work."""
    changed = {
        "PIP_NO_COLOR": "1",
        "PIP_PROGRESS_BAR": "off",
        "PIP_QUIET": "0",
        "PIP_USER": "0",  # means nothing to a download, and makes --target an error
        "PYTHONIOENCODING": "utf-8",
        "TMPDIR": str(work),  # pip downloads there first; /tmp may be small
    }
    kept = {name: value for name, value in os.environ.items() if name != "PIP_PYTHON"}  # would start a second pip
    return kept | changed
