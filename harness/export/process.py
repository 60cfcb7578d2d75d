"""The host's side of the export process: starting it, waiting for it, and raising what it reports."""

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

# The export process prints this before its refusal, which is one line of JSON.
REFUSAL = "hilgate-export-refusal:"
# The worker gets this process's search path, so that it finds the model's own modules and hilgate where they are.
START = (
    "import json, sys; request = json.load(sys.stdin); sys.path[:] = request['path'];"
    "from harness.model.user_process import end_with; end_with(request['parent']) or sys.exit();"
    "from harness.export.worker import main; main(request);"
    # Threads and exit handlers that the model's code has started are not waited for.
    "import os; os._exit(0)"
)
# Only the end of its output is kept: a refusal is there.
OUTPUT_BYTES = 1 << 24
# More than a pipe holds, so that one read returns everything that was written until then.
PIPE_BYTES = 1 << 20


def run_worker(built: BuiltModel, artifact_format: str, folder: Path, given: Mapping[str, str] | None = None) -> None:
    """Export a model into a folder, in a process of its own.

    torch numbers the names in its traces within a process, so only a fresh process gives the same artifact each time.

    Args:
        built: the model.
        artifact_format: the format's name.
        folder: an empty folder, where the files and their record are left.
        given: the "path" and "sha256" of the file that the model file gives; None where the model is exported.

    Raises:
        HilgateError: what the worker reported; ExportError where it died, took too long or took too much memory.
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
    """Run the export process to its end; processes that it has forked end with it.

    Returns:
        Its exit status, and the end of its output.

    Raises:
        ExportError: it takes too long, or too much memory.
    """
    output, write_end = os.pipe()
    with os.fdopen(output, "rb", buffering=0) as pipe, os.fdopen(os.memfd_create("request"), "w+b") as stdin:
        stdin.write(json.dumps(request).encode())
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", START],
                stdin=stdin,
                stdout=write_end,
                stderr=subprocess.STDOUT,
                env=environment() | {"PYTHONHASHSEED": "0"},  # sets of names in one order: one artifact
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        try:
            text = _output(process, pipe, where, bounds)
        finally:
            kill(process)
    return process.returncode, text.decode(errors="replace")


def _output(process: subprocess.Popen[bytes], pipe: io.FileIO, where: str, bounds: Bounds) -> bytes:
    """Read the output until the process itself ends: what it has forked may keep the pipe open indefinitely."""
    deadline = time.monotonic() + bounds.seconds
    last_check, output = 0.0, bytearray()
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
            if ended in ready:  # it ended before the pipe was read, so its own output is complete
                return bytes(output)
            if (now := time.monotonic()) > last_check + LOOK_S:
                last_check = now
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
    refusal: dict[str, Any] = json.loads(rest.partition("\n")[0])
    kind: type[errors.HilgateError] = getattr(errors, refusal.pop("kind"))
    refusal["where"] = refusal["where"] or where
    raise kind(refusal.pop("what"), **refusal)
