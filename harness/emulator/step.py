"""One step of building something: a program, what it says, and its end."""

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
from . import host

LOG = progress_logger(__name__)

STEP_S = 1800.0
END_S = 5.0
WORTH_SAYING = ("I: running apt", "I: downloading", "I: extracting")


def check_disk(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        StorageError: it has not.
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
    """Run one step, with an end.

    Args:

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
    """A program with all that it starts: none of it is left, whatever happens here."""
    resolved = [host.program(command[0]) if command[0] in {**host.TO_RUN, **host.TO_BUILD} else command[0]]
    process = subprocess.Popen(
        [*resolved, *command[1:]],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        umask=0o022,  # what it makes is the board's, and there for all its users
        # Of the user's locale nothing: what is printed is searched for English words. Programs of /usr/sbin are found.
        env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": host.PATH},
    )
    end = threading.Timer(STEP_S, lambda: os.killpg(process.pid, signal.SIGKILL))  # its reader waits for its output
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
    """End a program with all that it started: asked first, for fakeroot ends its daemon only then."""
    for number, patience_s in ((signal.SIGINT, END_S), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
