"""Runs the steps of a build: programs that are bounded in time, and whose failures are explained."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import EmulatorError, StorageError
from ..host.debian import MIRROR
from ..host.progress_log import progress_logger
from . import host_programs

LOG = progress_logger(__name__)

STEP_S = 1800.0
END_S = 5.0
WORTH_SAYING = ("I: running apt", "I: downloading", "I: extracting")


def check_disk(folder: Path, needed_bytes: int, what: str) -> None:
    """Check that a disk has room, before anything is begun that could not be finished.

    Args:
        folder: a folder on the disk.
        needed_bytes: how much must be free.
        what: what is begun, as in "build an image".

    Raises:
        StorageError: it has no room.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise StorageError(
            f"there is too little space to {what}",
            wanted=f"{needed_bytes >> 20} MiB free",
            found=f"{free >> 20} MiB free",
            where=str(folder.parent),
            hint="free some space, or name another folder: HILGATE_CACHE=…",
        )


def run(command: Sequence[str], folder: Path) -> None:
    """Run a program to its end, or for at most STEP_S.

    Args:
        command: the program and its arguments.
        folder: where it runs.

    Raises:
        EmulatorError: it failed, or took too long; with the end of what it printed.
        StorageError: the disk is full.
    """
    said: list[str] = []
    began = time.monotonic()
    with _started(command, folder) as process:
        for line in process.stdout or ():
            said = [*said[-30:], line.rstrip()]
            if line.startswith(WORTH_SAYING):
                LOG.info(f"    {line.rstrip().removeprefix('I: ')}")
        status = process.wait()
    if status == 0:
        return
    text = "\n".join(said[-15:])
    if re.search(r"No space left on device|not have enough free space", text):
        hint = "free some space, or name another folder: HILGATE_CACHE=…"
        raise StorageError("the disk is full", found=text, where=str(folder), hint=hint)
    late = time.monotonic() - began >= STEP_S
    what = f"{Path(command[0]).name} took too long and was ended" if late else "a step of the image's build failed"
    hint = f"is this machine's apt set up, and its network there? Another mirror: {MIRROR}=URL"
    unpacking = "mmdebstrap" in command
    found = f"exit status {status}; its output ends:\n{text}"
    raise EmulatorError(what, found=found, where=shlex.join(command)[:300], hint=hint if unpacking else "")


@contextmanager
def _started(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a program for the time of a block; it and all that it has started are ended with the block."""
    resolved = [
        host_programs.program(command[0])
        if command[0] in {**host_programs.TO_RUN, **host_programs.TO_BUILD}
        else command[0]
    ]
    process = subprocess.Popen(
        [*resolved, *command[1:]],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        umask=0o022,  # the files are the board's, for all its users to read
        # Not in the user's language, because the output is searched for English words.
        env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": host_programs.PATH},
    )
    # A timer, because whoever reads the program's output waits for it without limit.
    end = threading.Timer(STEP_S, lambda: os.killpg(process.pid, signal.SIGKILL))
    end.daemon = True
    end.start()
    try:
        yield process
    finally:
        end.cancel()
        _end(process)
        if process.stdout is not None:
            process.stdout.close()


def _end(process: subprocess.Popen[str]) -> None:
    """End a program with all that it started, by SIGINT first: only then does fakeroot end its daemon."""
    for number, patience_s in ((signal.SIGINT, END_S), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
