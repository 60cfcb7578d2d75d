"""The host's side of the export process: start it, wait for it, read what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .. import errors
from ..build import BuiltModel
from . import RECORD, REFUSAL
from .settings import settings_of

# The worker finds what this process finds, the model's own modules and hilgate itself, wherever they were imported
# from.
START = (
    "import json, sys; request = json.load(sys.stdin); sys.path[:] = request['path'];"
    "from harness.export.worker import main; main(request);"
    # What the model's code has started, a thread or a function for the end, is not waited for.
    "import os; os._exit(0)"
)
# Ten seconds for ViT-B/16; an hour is far beyond anything that was seen.
LIMIT_S = 3600.0


def run_worker(built: BuiltModel, artifact_format: str, folder: Path) -> None:
    """Export into a folder, in a process of its own.

    Raises:
        HilgateError: what the worker said; ExportError when it died.
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
        "path": [str(Path(folder).absolute()) for folder in sys.path],
    }
    process = subprocess.Popen(
        [sys.executable, "-c", START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_environment(),
    )
    try:
        output, _ = process.communicate(json.dumps(request), timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise errors.ExportError("the export took too long", wanted=f"{LIMIT_S:.0f} s", where=where) from None
    finally:
        process.kill()
        process.wait()
    _raise_refusal(output, where)
    if process.returncode:
        found = f"exit status {process.returncode}\n{output.strip()[-2000:]}"
        raise errors.ExportError("the export process died", found=found, where=where)
    if not (folder / RECORD).is_file():
        found = f"exit status 0, and its output ends:\n{output.strip()[-2000:]}"
        hint = "look for what ends the process: os._exit or sys.exit in the model's code or in a library's"
        raise errors.ExportError("the export process left no artifact", found=found, where=where, hint=hint)


def _environment() -> dict[str, str]:
    """Ours, but for sets of names in one order (one artifact), and without what makes warnings errors."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return kept | {"PYTHONHASHSEED": "0"}


def _raise_refusal(output: str, where: str) -> None:
    _, mark, rest = output.rpartition("\n" + REFUSAL)
    if not mark:
        return
    said: dict[str, Any] = json.loads(rest.partition("\n")[0])
    kind: type[errors.HilgateError] = getattr(errors, said.pop("kind"))
    said["where"] = said["where"] or where
    raise kind(said.pop("what"), **said)
