"""Replay: a folder with which anyone can see a mismatch again, with the artifact's own runtime and numpy, without
hilgate.

replay.py       run it: says how far each output is from the reference, exit status 1 where it is too far
case.json       the artifact's file, its format, the outputs' names and scales, the tolerance, the versions; "sets",
                groups of outputs whose rows may come in any order; "canonical", where the model file has one
inputs.npz      one array per input
reference.npz   for each output NAME: NAME (eager float32) and NAME.exact (float64)
found.npz       what the backend answered when the mismatch was found; empty where it refused the input
model.…         the artifact
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...export import Artifact
from ...host.cache import link_or_copy, storage_errors
from ...model.inputs import Arrays
from ...model.model import Array
from ..rule.comparison import Expected

PROGRAM = Path(__file__).with_name("program.py")
PROGRAM_NAME = "replay.py"


def write_replay(
    folder: Path,
    artifact: Artifact,
    inputs: Arrays,
    expected: list[Expected],
    found: Mapping[str, Array],
    facts: Mapping[str, Any],
) -> None:
    """Fill a folder.

    Args:
        found: the backend's outputs by name; empty where it refused.
        facts: further keys of case.json: the tolerance, the cell, the versions; "elementwise", where each element is to
            be right by itself.

    Raises:
        StorageError: the disk is full, the folder cannot be written, or is there already and is no replay.
    """
    with storage_errors(folder):
        if (folder / PROGRAM_NAME).is_file() and (folder / "case.json").is_file():
            shutil.rmtree(folder)  # of a run that was killed before any evidence named it
        folder.mkdir(parents=True)
        shutil.copyfile(PROGRAM, folder / PROGRAM_NAME)
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
        }
        if artifact.binding is not None:
            case["binding"] = artifact.binding.described
        (folder / "case.json").write_text(json.dumps(case, indent=1) + "\n", encoding="utf-8")


def _save(path: Path, arrays: Mapping[str, Array]) -> None:
    """As numpy.savez, which takes arrays by keywords, and so none of the names of its own arguments."""
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
