"""The host's side of the export process: start it, wait for it, read what it left."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import errors
from ..model.build import BuiltModel
from ..model.user_process import LOOK_S, Bounds, environment, kill, used_mib
from .artifact import RECORD
from .settings import settings_of

# The export process prints its refusal behind this, as JSON.
REFUSAL = "hilgate-export-refusal:"
# The worker finds what this process finds, the model's own modules and hilgate itself, wherever they were imported
# from.
START = (
    "import json, sys; request = json.load(sys.stdin); sys.path[:] = request['path'];"
    "from harness.model.user_process import end_with; end_with(request['parent']) or sys.exit();"
    "from harness.export.worker import main; main(request);"
    # What the model's code has started, a thread or a function for the end, is not waited for.
    "import os; os._exit(0)"
)
# What is read of its output: its end, where a refusal is.
OUTPUT_BYTES = 1 << 24
# More than a pipe holds: one read has all that was said until then.
PIPE_BYTES = 1 << 20


def run_worker(built: BuiltModel, artifact_format: str, folder: Path, given: Mapping[str, str] | None = None) -> None:
    """Export into a folder, in a process of its own.

    Args:
        given: the "path" and the "sha256" of a file that is taken as it is.

    Raises:
        HilgateError: what the worker said; ExportError when it died, took too long or too much.
    """
    where = f"{built.file.name} as {artifact_format}"
    before, settings = built.ask(settings_of)
    request = {
        "model": str(built.file.path),
        "format": artifact_format,
        "folder": str(folder),
        "weights": dict(built.weights),
        "outputs": list(built.outputs),
        "before": before,
        "settings": settings,
        "path": list(built.search_path),
        "given": dict(given) if given else None,
        "parent": os.getpid(),
    }
    status, output = _run(request, where, Bounds())
    _raise_refusal(output, where)
    if status:
        found = f"exit status {status}\n{output.strip()[-2000:]}"
        raise errors.ExportError("the export process died", found=found, where=where)
    if not (folder / RECORD).is_file():
        found = f"exit status 0, and its output ends:\n{output.strip()[-2000:]}"
        hint = "look for what ends the process: os._exit or sys.exit in the model's code or in a library's"
        raise errors.ExportError("the export process left no artifact", found=found, where=where, hint=hint)


def _run(request: dict[str, Any], where: str, bounds: Bounds) -> tuple[int, str]:
    """(exit status, the output's end) of the export process. What it has forked ends with it.

    Raises:
        ExportError: it takes too long, or too much memory.
    """
    output, said = os.pipe()
    with os.fdopen(output, "rb", buffering=0) as pipe, os.fdopen(os.memfd_create("request"), "w+b") as asked:
        asked.write(json.dumps(request).encode())
        asked.seek(0)
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", START],
                stdin=asked,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=environment() | {"PYTHONHASHSEED": "0"},  # sets of names in one order: one artifact
                start_new_session=True,
            )
        finally:
            os.close(said)
        try:
            text = _output(process, pipe, where, bounds)
        finally:
            kill(process)
    return process.returncode, text.decode(errors="replace")


def _output(process: subprocess.Popen[bytes], pipe: io.FileIO, where: str, bounds: Bounds) -> bytes:
    """What it says until it has ended itself: what it has forked may keep its pipe open for ever."""
    deadline = time.monotonic() + bounds.seconds
    looked, output = 0.0, bytearray()
    ended = os.pidfd_open(process.pid)
    watched: list[Any] = [ended, pipe]
    try:
        while True:
            ready = select.select(watched, [], [], LOOK_S)[0]
            if pipe in ready:
                output += (data := pipe.read(PIPE_BYTES) or b"")
                del output[:-OUTPUT_BYTES]
                if not data:
                    watched.remove(pipe)
            if ended in ready:  # before the pipe was read: what it said itself is in that
                return bytes(output)
            if (now := time.monotonic()) > looked + LOOK_S:
                looked = now
                _check_bounds(process.pid, now > deadline, where, bounds)
    finally:
        os.close(ended)


def _check_bounds(pid: int, late: bool, where: str, bounds: Bounds) -> None:
    if late:
        raise errors.ExportError("the export took too long", wanted=f"{bounds.seconds:g} s", where=where)
    if (used := used_mib(pid, enough=bounds.memory_mib)) > bounds.memory_mib:
        what, hint = "the export takes more memory than this host can give", "export it on a larger host"
        wanted = f"at most {bounds.memory_mib:.0f} MiB in its process"
        raise errors.ExportError(what, wanted=wanted, found=f"{used:.0f} MiB", where=where, hint=hint)


def _raise_refusal(output: str, where: str) -> None:
    _, mark, rest = output.rpartition("\n" + REFUSAL)
    if not mark:
        return
    said: dict[str, Any] = json.loads(rest.partition("\n")[0])
    kind: type[errors.HilgateError] = getattr(errors, said.pop("kind"))
    said["where"] = said["where"] or where
    raise kind(said.pop("what"), **said)
