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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..build import call_build, check_same_weights
from ..cache import storage_errors
from ..errors import ExportError, HilgateError
from ..fingerprint import weight_hashes
from ..model import Model
from ..model_file import read_model
from . import REFUSAL, write_record
from .example import compiled_parts, scripted_parts
from .settings import apply_settings
from .shapes import Declared, seen_shapes

if TYPE_CHECKING:
    import torch

ANSI_COLORS = re.compile(r"\x1b\[[0-9;]*m")

# An exporter: is given the outputs' names, writes files into a folder and returns theirs, the one to open first.
Exporter = Callable[["torch.nn.Module", Model, Sequence[str], Path], Sequence[str]]


def main(request: dict[str, Any]) -> None:
    """Export what was asked for: "model", the file; "format"; "folder"; "weights", their hashes; torch's "settings";
    "outputs", their names.

    "before" are the settings under which the file is read; none where they are torch's defaults.
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
    model, outputs = read_model(path), request["outputs"]
    kind = importlib.import_module(f"{__package__}.{request['format']}")
    waiting = [_build(model, request)]
    apply_settings(request["settings"])  # what the model's file made of them is not what the key says
    exporters: Mapping[str, Exporter] = kind.exporters(waiting[0])
    scripted, compiled = scripted_parts(waiting[0]), compiled_parts(waiting[0])
    refusals = []
    for label, exporter in exporters.items():
        module = waiting.pop() if waiting else _build(model, request)
        try:
            names, said = _run(exporter, module, model, outputs, folder)
        except OSError:
            raise  # the disk, not the model
        except Exception as error:  # noqa: BLE001  # exporters raise whatever they like; each refusal is kept
            traceback.print_exc()
            refusals.append(f"{label}: {_first_lines(error)}")
            continue
        finally:
            del module  # a large model is not held twice
        shapes: Declared = {}
        wrong: list[str] = []
        if hasattr(kind, "correct_shapes"):  # TorchScript says nothing of shapes
            shapes, wrong = kind.correct_shapes(folder, seen_shapes(_build(model, request), model, outputs))
        notes = [f"refused by {refusal}" for refusal in refusals]
        write_record(folder, request["format"], list(names), label, [*notes, *wrong, *said], shapes)
        return
    raise _refused(request["format"], refusals, scripted, compiled, str(path))


def _build(model: Model, request: dict[str, Any]) -> torch.nn.Module:
    """Build the module that nothing has run: a first run may change it, and so may an exporter that refuses it."""
    module = call_build(model, request["model"])
    apply_settings(request["settings"])  # what the model's file made of them is not what the key says
    check_same_weights(request["weights"], weight_hashes(module), request["model"], "two processes' builds")
    return module


def _refused(
    artifact_format: str, refusals: Sequence[str], scripted: Sequence[str], compiled: Sequence[str], where: str
) -> ExportError:
    hint = "change what the exporters name, or leave the backend out: --backend NAME"
    wanted = "an exporter that takes it"
    if scripted:
        wanted += f"; the model contains a ScriptModule ({_listed(scripted)}), which exporters take in part only"
        hint = (
            "return from build() the module from before torch.jit.script, torch.jit.trace or torch.jit.load, or one "
            "that gives a tensor or a tuple of tensors; or leave the backend out: --backend NAME"
        )
    elif compiled:
        wanted += f"; the model went through torch.compile ({_listed(compiled)})"
        hint = "return from build() the module from before torch.compile; or leave the backend out: --backend NAME"
    what = f"the model cannot be exported as {artifact_format}"
    return ExportError(what, wanted=wanted, found="\n".join(refusals), where=where, hint=hint)


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(name or "the model itself" for name in parts[:5]) + (" …" if len(parts) > 5 else "")


def _run(
    exporter: Exporter, module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path
) -> tuple[Sequence[str], list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = exporter(module, model, outputs, folder)
    # What a tracer says about values that it took for constants; other libraries' news about themselves are not the
    # model's.
    told = (item for item in caught if item.category.__name__ == "TracerWarning")
    said = [f"{Path(item.filename).name}, line {item.lineno}: {_first_lines(item.message)}" for item in told]
    return names, list(dict.fromkeys(said))


def _first_lines(error: object, limit: int = 1000) -> str:
    text = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
    text = ANSI_COLORS.sub("", text)
    return text if len(text) <= limit else text[:limit] + " …"
