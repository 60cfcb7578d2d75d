"""The export process, started by ``process``.

It leaves the exported files and their record in the request's folder, or prints why not: a full disk has no room for
a file.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..build import call_build, check_same_weights
from ..cache import storage_errors
from ..errors import ExportError, HilgateError
from ..fingerprint import weight_hashes
from ..model import Model
from ..model_file import read_model
from . import REFUSAL, write_record
from .settings import apply_settings

if TYPE_CHECKING:
    import torch

ANSI_COLORS = re.compile(r"\x1b\[[0-9;]*m")

# An exporter: writes files into a folder and returns their names, the one to open first.
Exporter = Callable[["torch.nn.Module", Model, Path], Sequence[str]]


def main(request: dict[str, Any]) -> None:
    """Export what was asked for: "model", the file; "format"; "folder"; "weights", their hashes; torch's "settings".

    "before" are those under which the file is read; none where they are torch's defaults.
    """
    folder = Path(request["folder"])
    try:
        with storage_errors(folder):
            _export(request, folder)
    except HilgateError as error:
        said = {name: getattr(error, name) for name in ("what", "wanted", "found", "where", "hint")}
        said["kind"] = type(error).__name__
        print("\n" + REFUSAL + json.dumps(said), file=sys.__stdout__, flush=True)


def _export(request: dict[str, Any], folder: Path) -> None:
    path = Path(request["model"])
    apply_settings(request["before"])
    model = read_model(path)
    module = call_build(model, str(path))
    apply_settings(request["settings"])  # what the model's file made of them is not what the key says
    check_same_weights(request["weights"], weight_hashes(module), str(path), "two processes' builds")
    exporters: dict[str, Exporter] = importlib.import_module(f"{__package__}.{request['format']}").EXPORTERS
    refusals = []
    for label, exporter in exporters.items():
        try:
            names, said = _run(exporter, module, model, folder)
        except OSError:
            raise  # the disk, not the model
        except Exception as error:  # noqa: BLE001  # exporters raise whatever they like; each refusal is kept
            traceback.print_exc()
            refusals.append(f"{label}: {_first_lines(error)}")
            continue
        notes = [f"refused by {refusal}" for refusal in refusals]
        write_record(folder, request["format"], list(names), label, [*notes, *said])
        return
    raise ExportError(
        f"the model cannot be exported as {request['format']}",
        wanted="an exporter that takes it",
        found="\n".join(refusals),
        where=str(path),
        hint="change what the exporters name, or leave the backend out: --backend NAME",
    )


def _run(exporter: Exporter, module: torch.nn.Module, model: Model, folder: Path) -> tuple[Sequence[str], list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = exporter(module, model, folder)
    # What a tracer says about values that it took for constants; other libraries' news about themselves are not the
    # model's.
    told = (item for item in caught if item.category.__name__ == "TracerWarning")
    said = [f"{Path(item.filename).name}, line {item.lineno}: {_first_lines(item.message)}" for item in told]
    return names, list(dict.fromkeys(said))


def _first_lines(error: object, limit: int = 1000) -> str:
    text = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
    text = ANSI_COLORS.sub("", text)
    return text if len(text) <= limit else text[:limit] + " …"
