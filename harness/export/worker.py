"""The program of the export process, which ``process`` starts.

It leaves the exported files and their record in the requested folder. A refusal it prints: on a full disk there is no
room for a file.
"""

from __future__ import annotations

import functools
import json
import shutil
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
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
from .artifact import write_record
from .example import compiled_parts, example_arrays, scripted_parts
from .fixing import describe_fixed, fixed_models
from .formats import Exporter, Format, load_format
from .given import GIVEN, bind, fixed_dimensions
from .ports import seen_ports
from .process import REFUSAL
from .refusal import Refused, advice, describe_warnings, reason_first
from .settings import apply_settings
from .shapes import Declared, seen_shapes
from .sizes import describe_fixed_sizes

if TYPE_CHECKING:
    import torch


def main(request: dict[str, Any]) -> None:
    """Export as requested, or print the refusal.

    Args:
        request: "model", the model file; "format", the export format's name; "folder", an empty folder; "weights",
            their hashes; "outputs", their names; "given", the "path" and "sha256" of the file that the model file
            gives, or None; "before", torch's settings under which the model file is read, empty for the defaults;
            "settings", those under which the model is exported.
    """
    folder = Path(request["folder"])
    try:
        with storage_errors(folder):
            _export(request, folder)
    except HilgateError as error:
        refusal = {name: getattr(error, name) for name in ("what", "wanted", "found", "where", "hint")}
        refusal["kind"] = type(error).__name__
        print("\n" + REFUSAL + json.dumps(refusal), file=sys.__stdout__, flush=True)


def _export(request: dict[str, Any], folder: Path) -> None:
    apply_settings(request["before"])
    model = read_model(Path(request["model"]))
    import_operators(model, request["model"])
    job = _Job(request, model, load_format(request["format"]), folder)
    if request["given"]:
        _take(job, **request["given"])
    else:
        job.export()


@dataclass
class _Job:
    """One export of a model, as the host requested it."""

    request: Mapping[str, Any]
    model: Model
    format: Format
    folder: Path

    @property
    def outputs(self) -> Sequence[str]:
        names: Sequence[str] = self.request["outputs"]
        return names

    def build(self) -> torch.nn.Module:
        """Build a module that has never run: a first run may change it, and so may an exporter that refuses it."""
        where, settings = self.request["model"], self.request["settings"]
        module = call_build(self.model, where)
        apply_settings(settings)  # the model file may have changed them since; the key has these
        check_same_weights(self.request["weights"], weight_hashes(module), where, "two processes' builds")
        return module

    def export(self) -> None:
        """Export with the first exporter that accepts the model.

        Raises:
            ExportError: none does, with the reason of each.
        """
        waiting = [self.build()]
        exporters = self._exporters(waiting[0])
        scripted, compiled = scripted_parts(waiting[0]), compiled_parts(waiting[0])
        refusals: list[tuple[str, str]] = []
        besides: list[str] = []
        for label, exporter in exporters.items():
            try:
                names, shapes, warned = self.run(label, exporter, self.model, waiting)
            except OSError:
                raise  # the disk, not the model
            except Exception as error:  # noqa: BLE001  # exporters raise whatever they like; each refusal is kept
                traceback.print_exc()
                refusals.append((label, reason_first(error)))
                besides += [f"what {label} says besides: {text}"] if (text := advice(error)) else []
                continue
            notes = [f"refused by {refusal}" for refusal in _grouped(refusals)]
            write_record(self.folder, self.request["format"], list(names), label, [*notes, *warned], shapes)
            return
        fixed = "" if scripted or compiled else self._find_exportable_sizes(exporters)
        reasons = [*_grouped(refusals), *dict.fromkeys(besides)]
        raise refused(self.request["format"], reasons, scripted, compiled, self.request["model"], fixed)

    def _exporters(self, module: torch.nn.Module) -> Mapping[str, Exporter]:
        """Return the exporters to try, in order; only the one that the model file chooses, if it is of this format."""
        chosen, label = self.format.choose(module), self.model.exporter
        if label in self.format.exporters:
            return {label: chosen.get(label, self.format.exporters[label])}
        return chosen

    def run(
        self, label: str, exporter: Exporter, model: Model, waiting: list[torch.nn.Module] | None = None
    ) -> tuple[Sequence[str], Declared, list[str]]:
        """Export with one exporter, and check which sizes the file accepts.

        Args:
            label: the exporter's.
            exporter: the exporter.
            model: the model, possibly with dimensions fixed for a trial.
            waiting: a module that has never run is taken from this list, if there is one; otherwise one is built.

        Returns:
            The files' names, the shapes that the file declares, and the warnings.

        Raises:
            Exception: the exporter refuses, with any exception; or the file accepts fewer sizes than the model file
                declares.
        """
        module = waiting.pop() if waiting else self.build()
        names, warned = _run(exporter, module, model, self.outputs, self.folder)
        del module  # a large model is not held twice
        build = functools.cache(self.build)
        shapes: Declared = {}
        if self.format.correct_shapes is not None:
            shapes, wrong = self.format.correct_shapes(self.folder, seen_shapes(build(), model, self.outputs))
            if fixed := fixed_dimensions(shapes, model):
                raise Refused("the exporter fixed " + ", and ".join(fixed), warned)
            warned = [*wrong, *warned]
        if inside := describe_fixed_sizes(
            self.folder / names[0], lambda: self.format.open(self.folder, label), build, model
        ):
            raise Refused(inside, warned)
        return names, shapes, warned

    def _find_exportable_sizes(self, exporters: Mapping[str, Exporter]) -> str:
        """Re-export with free dimensions fixed until one export succeeds; describe that fixing, or return ""."""
        for model, fixed in fixed_models(self.model):
            for label, exporter in exporters.items():
                try:
                    self.run(label, exporter, model)
                except OSError:
                    raise
                except Exception:  # noqa: BLE001, S112  # exporters raise whatever they like; this was only a trial
                    continue
                return describe_fixed(fixed)
        return ""


def _take(job: _Job, path: str, sha256: str) -> None:
    """Take the file that the model file gives, unchanged, as the artifact.

    Raises:
        ModelError: the file has another format, fits another model, or was changed meanwhile.
    """
    name = job.format.file
    shutil.copyfile(path, job.folder / name)
    if file_sha256(job.folder / name) != sha256:
        hint = "leave the file alone while it runs, and run once more"
        raise ModelError("the given file was changed during the run", wanted=sha256, where=path, hint=hint)
    interface = job.format.read_interface(Path(path), job.model)
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
    """Make the error that says why no exporter accepted a model.

    Args:
        artifact_format: the format's name.
        refusals: the exporters' reasons.
        scripted: names of submodules that are TorchScript already.
        compiled: names of submodules that torch.compile made.
        where: the model file.
        fixed: the fixed dimensions with which it can be exported; see describe_fixed.
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
    """Format refusals as "LABEL; LABEL: REASON", joining exporters that refuse for the same reason."""
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

    return names, describe_warnings(caught, Path(torch.__file__).parent)
