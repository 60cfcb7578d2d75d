"""The export process, started by ``process``.

It leaves the exported files and their record in the request's folder, or prints why not: a full disk has no room for
a file.
"""

from __future__ import annotations

import functools
import json
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..agent.structure import flatten
from ..errors import ExportError, HilgateError, ModelError
from ..host.cache import file_sha256, storage_errors
from ..model.build import call_build, check_same_weights, run_eager
from ..model.fingerprint import weight_hashes
from ..model.model import Model
from ..model.model_file import read_model
from ..model.operators import import_operators
from . import REFUSAL, load_format, write_record
from .example import compiled_parts, example_arrays, scripted_parts
from .fixing import fixed_models, said_fixed
from .given import GIVEN, bind, fixed_dimensions
from .onnx import DYNAMO
from .ports import seen_ports
from .refusal import Refused, advice, reason_first, told_warnings
from .settings import apply_settings
from .shapes import Declared, seen_shapes
from .sizes import traced_in

if TYPE_CHECKING:
    import torch

# An exporter: is given the outputs' names, writes files into a folder and returns theirs, the one to open first.
Exporter = Callable[["torch.nn.Module", Model, Sequence[str], Path], Sequence[str]]


def main(request: dict[str, Any]) -> None:
    """Export what was asked for: "model", the file; "format"; "folder"; "weights", their hashes; torch's "settings";
    "outputs", their names; "given", a file that is taken as it is ("path" and "sha256"), or None.

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
    apply_settings(request["before"])
    model = read_model(Path(request["model"]))
    import_operators(model, request["model"])
    kind = load_format(request["format"])
    job = _Job(request, model, kind, folder)
    if request["given"]:
        _take(job, **request["given"])
    else:
        job.export()


@dataclass
class _Job:
    """One export.

    Attributes:
        kind: the format's module.
    """

    request: Mapping[str, Any]
    model: Model
    kind: Any
    folder: Path

    @property
    def outputs(self) -> Sequence[str]:
        names: Sequence[str] = self.request["outputs"]
        return names

    def build(self) -> torch.nn.Module:
        """Build the module that nothing has run: a first run may change it, and so may an exporter that refuses it."""
        where, settings = self.request["model"], self.request["settings"]
        module = call_build(self.model, where)
        apply_settings(settings)  # what the model's file made of them is not what the key says
        check_same_weights(self.request["weights"], weight_hashes(module), where, "two processes' builds")
        return module

    def export(self) -> None:
        """Export by the first exporter that takes the model.

        Raises:
            ExportError: none does, with what each said.
        """
        waiting = [self.build()]
        exporters = self._exporters(waiting[0])
        scripted, compiled = scripted_parts(waiting[0]), compiled_parts(waiting[0])
        refusals: list[tuple[str, str]] = []
        advised: list[str] = []
        for label, exporter in exporters.items():
            try:
                names, shapes, said = self.run(label, exporter, self.model, waiting)
            except OSError:
                raise  # the disk, not the model
            except Exception as error:  # noqa: BLE001  # exporters raise whatever they like; each refusal is kept
                traceback.print_exc()
                refusals.append((label, reason_first(error)))
                advised.append(advice(error))
                continue
            notes = [f"refused by {refusal}" for refusal in _grouped(refusals)]
            write_record(self.folder, self.request["format"], list(names), label, [*notes, *said], shapes)
            return
        fixed = "" if scripted or compiled else self._exports_fixed(exporters)
        besides = [f"what {DYNAMO} says besides: {text}" for text in dict.fromkeys(advised) if text]
        said = [*_grouped(refusals), *besides]
        raise refused(self.request["format"], said, scripted, compiled, self.request["model"], fixed)

    def _exporters(self, module: torch.nn.Module) -> Mapping[str, Exporter]:
        """What is tried, in order; where the model file chooses one of this format, that one alone."""
        found: Mapping[str, Exporter] = self.kind.exporters(module)
        label = self.model.exporter
        if label in self.kind.EXPORTERS:
            return {label: found.get(label, self.kind.EXPORTERS[label])}
        return found

    def run(
        self, label: str, exporter: Exporter, model: Model, waiting: list[torch.nn.Module] | None = None
    ) -> tuple[Sequence[str], Declared, list[str]]:
        """Export by one exporter: the files' names, what the file declares, and what is to be said.

        Args:
            waiting: a module that nothing has run yet is taken from here, if there is one.

        Raises:
            Exception: whatever the exporter raises; or the file takes fewer sizes than the model file declares.
        """
        module = waiting.pop() if waiting else self.build()
        names, said = _run(exporter, module, model, self.outputs, self.folder)
        del module  # a large model is not held twice
        build = functools.cache(self.build)
        shapes: Declared = {}
        if hasattr(self.kind, "correct_shapes"):  # TorchScript says nothing of shapes
            shapes, wrong = self.kind.correct_shapes(self.folder, seen_shapes(build(), model, self.outputs))
            if fixed := fixed_dimensions(shapes, model):
                raise Refused("the exporter fixed " + ", and ".join(fixed), said)
            said = [*wrong, *said]
        if inside := traced_in(self.folder / names[0], lambda: self._opened(label), build, model):
            raise Refused(inside, said)
        return names, shapes, said

    def _opened(self, label: str) -> Callable[[Mapping[str, Any]], Any] | None:
        run: Callable[[Mapping[str, Any]], Any] | None = self.kind.opened(self.folder, label)
        return run

    def _exports_fixed(self, exporters: Mapping[str, Exporter]) -> str:
        """Say with which dimensions fixed it can be exported; "" where that does not help, or none is free."""
        for model, fixed in fixed_models(self.model):
            for label, exporter in exporters.items():
                try:
                    self.run(label, exporter, model)
                except OSError:
                    raise
                except Exception:  # noqa: BLE001, S112  # as above; the refusals that count were of the model as it is
                    continue
                return said_fixed(fixed)
        return ""


def _take(job: _Job, path: str, sha256: str) -> None:
    """Take a file of the user's as it is.

    Raises:
        ModelError: it is none of this format, is none of this model, or was changed meanwhile.
    """
    name = job.kind.FILE
    shutil.copyfile(path, job.folder / name)
    if file_sha256(job.folder / name) != sha256:
        hint = "leave the file alone while it runs, and run once more"
        raise ModelError("the given file was changed during the run", wanted=sha256, where=path, hint=hint)
    interface = job.kind.read_interface(Path(path), job.model)
    answer = run_eager(job.build(), example_arrays(job.model))
    seen = seen_ports(job.outputs, [leaf for _, leaf in flatten(answer)])
    taken = bind(interface, job.model, seen, path)
    notes = [f"{Path(path).name}: {note}" for note in taken.notes]
    write_record(job.folder, job.request["format"], [name], GIVEN, notes, taken.shapes, taken.binding)


def refused(
    artifact_format: str,
    refusals: Sequence[str],
    scripted: Sequence[str],
    compiled: Sequence[str],
    where: str,
    fixed: str = "",
) -> ExportError:
    """Make the error that says why no exporter took a model.

    Args:
        fixed: with which dimensions fixed it can be exported; see fixing.
    """
    hint = "change what the exporters name, or leave the backend out: --backend NAME"
    if any("the exporter fixed" in refusal for refusal in refusals):
        hint = "look in forward for what keeps its sizes (int(), a Python if, a table made once)"
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
    hint = f"{fixed}; or {hint}" if fixed else hint
    return ExportError(what, wanted=wanted, found="\n".join(refusals), where=where, hint=hint)


def _grouped(refusals: Sequence[tuple[str, str]]) -> list[str]:
    """Name those that refuse for the same reason together."""
    labels: dict[str, list[str]] = {}
    for label, reason in refusals:
        labels.setdefault(reason, []).append(label)
    return [f"{'; '.join(each)}: {reason}" for reason, each in labels.items()]


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(name or "the model itself" for name in parts[:5]) + (" …" if len(parts) > 5 else "")


def _run(
    exporter: Exporter, module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path
) -> tuple[Sequence[str], list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = exporter(module, model, outputs, folder)
    import torch

    return names, told_warnings(caught, Path(torch.__file__).parent)
