"""Writes a folder with which anyone can see a mismatch again, by the artifact's own runtime and numpy, without hilgate.

replay.py       run it: says how far each output is from the reference, exit status 1 where it is too far
run_FORMAT.py   what replay.py runs the artifact with
case.json       the artifact's file, its format, the outputs' names and scales, the tolerance, the versions; "sets",
                groups of outputs whose rows may come in any order; "canonical", where the model file has one;
                "no_runner", why there is no run_FORMAT.py
inputs.npz      one array per input
reference.npz   for each output NAME: NAME (eager float32) and NAME.exact (float64)
found.npz       what the backend answered when the mismatch was found; empty where it refused the input
model.…         the artifact
"""

from __future__ import annotations

import json
import shlex
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...export import Artifact
from ...host.cache import link_or_copy, storage_errors
from ...host.shown_path import shown_path
from ...model.inputs import Arrays
from ...model.model import Array
from ..rule.comparison import Expected
from .formats import NoRunner, runner_file

PROGRAM = Path(__file__).with_name("program.py")
PROGRAM_NAME = "replay.py"
CASE = "case.json"


def write_replay(
    folder: Path,
    artifact: Artifact,
    inputs: Arrays,
    expected: list[Expected],
    found: Mapping[str, Array],
    facts: Mapping[str, Any],
) -> None:
    """Fill a folder.

    A format that nothing runs again (see ``formats``) has its replay too, without a program for the artifact.

    Args:
        folder: is made; one of a killed run's is replaced.
        artifact: what the backend ran.
        inputs: arrays by name.
        expected: what each output should be.
        found: the backend's outputs by name; empty where it refused.
        facts: further keys of case.json: the tolerance, the cell, the versions; "elementwise", where each element is to
            be right by itself.

    Raises:
        StorageError: the disk is full, the folder cannot be written, or is there already and is no replay.
    """
    with storage_errors(folder):
        if (folder / PROGRAM_NAME).is_file() and (folder / CASE).is_file():
            shutil.rmtree(folder)  # of a run that was killed before any evidence named it
        folder.mkdir(parents=True)
        shutil.copyfile(PROGRAM, folder / PROGRAM_NAME)
        no_runner = _copy_runner(artifact.format, folder)
        for file in artifact.files:
            link_or_copy(artifact.folder / file.name, folder / file.name)
        _save(folder / "inputs.npz", inputs)
        _save(folder / "found.npz", found)
        both = {one.name: one.eager for one in expected} | {f"{one.name}.exact": one.exact for one in expected}
        for one in expected:
            both |= _picked(one)
        _save(folder / "reference.npz", both)
        case = {
            "format": artifact.format,
            "artifact": artifact.files[0].name,
            "inputs": list(inputs),
            "outputs": [{"name": one.name, "scale": one.scale, **_closeness(one), **_axis(one)} for one in expected],
            **facts,
            **no_runner,
        }
        if artifact.binding is not None:
            case["binding"] = artifact.binding.described
        (folder / CASE).write_text(json.dumps(case, indent=1) + "\n", encoding="utf-8")


def how_to_replay(folder: Path) -> str:
    """Say what to type to see a mismatch again; or where it is kept, and why nothing runs it."""
    case = folder / CASE
    said = json.loads(case.read_text(encoding="utf-8")) if case.is_file() else {}
    if "no_runner" in said:
        return f"Kept in {shown_path(folder)}, but {said['no_runner']}"
    return f"See it again: python {shlex.quote(shown_path(folder / PROGRAM_NAME))}"


def _copy_runner(artifact_format: str, folder: Path) -> dict[str, str]:
    """Copy what runs the artifact; return what case.json says where there is nothing that does."""
    try:
        shutil.copyfile(runner_file(artifact_format), folder / f"run_{artifact_format}.py")
    except NoRunner as reason:
        return {"no_runner": str(reason)}
    return {}


def _save(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an .npz file: numpy.savez takes arrays by keywords, and so cannot take names of its own arguments."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _closeness(one: Expected) -> dict[str, float]:
    return asdict(one.closeness) if one.closeness is not None else {}


def _picked(one: Expected) -> dict[str, Array]:
    if one.picked is None or (wanted := one.picked.at(one.eager)) is None:
        return {}
    scale = np.zeros(wanted.shape) if one.picked.scale is None else one.picked.scale(np.abs(wanted))
    return {f"{one.name}.picked": one.picked.values, f"{one.name}.scale": np.broadcast_to(scale, wanted.shape)}


def _axis(one: Expected) -> dict[str, Any]:
    return {"axis": one.picked.axis, "shape": list(one.picked.shape)} if _picked(one) and one.picked is not None else {}
