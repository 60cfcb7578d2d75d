"""What a judge of a run's evidence would look at first: whether all that it names is there, and is what it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.evidence.reading import read_evidence
from harness.evidence.samples import read_samples
from harness.host.cache import file_sha256
from harness.host.shipped import DEVICES


def check_hashes(project: Path) -> dict[str, str | None]:
    """Check that raw samples, manifests and files have the hashes that a finished run's evidence has of them.

    Args:
        project: the folder of the run, which has its results in build/hil.

    Returns:
        The hash of each model's weights and code, by its name.
    """
    folder = project / "build/hil"
    run = read_evidence(folder / "evidence.json").run
    models: dict[str, str | None] = {}
    manifests = set()
    for cell in run.cells:
        assert models.setdefault(cell.model, cell.model_sha256) == cell.model_sha256
        for check in cell.checks:
            samples = read_samples(folder, check)
            assert (samples.is_verified, samples.values is not None) == (check.raw is not None,) * 2, samples.problem
        if cell.bundle is not None:
            manifests.add(f"{cell.bundle.sha256}.json")
            assert file_sha256(folder / "bundles" / f"{cell.bundle.sha256}.json") == cell.bundle.sha256
    assert {path.name for path in (folder / "bundles").glob("*")} == manifests
    for file in run.files:
        shipped = file.path.startswith("hilgate:")
        path = DEVICES / f"{file.path.removeprefix('hilgate:')}.toml" if shipped else project / file.path
        assert file_sha256(path) == file.sha256
    return models


def check_answers(folder: Path, cell: Mapping[str, Any]) -> None:
    """Check that a cell whose parity passed has answers that its engine could be asked for.

    Args:
        folder: the evidence's.
        cell: its entry there.
    """
    load, answers = cell["load"], cell["answers"]
    assert file_sha256(folder / answers["path"]) == answers["sha256"]
    with np.load(folder / answers["path"]) as file:
        arrays = dict(file)
    names = [*load["inputs"]], [*load["outputs"]]
    assert 1 <= len(answers["allowed"]) <= 3
    expected = {
        f"{case}.{kind}.{place}"
        for case in range(len(answers["allowed"]))
        for kind, each in zip(("in", "out"), names, strict=True)
        for place in range(len(each))
    }
    assert set(arrays) == expected
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert all(one["atol"] + one["rtol"] > 0 for case in answers["allowed"] for one in case if "float" in one["dtype"])
    files = {path.partition("/")[2] for path in cell["bundle"].get("runner", {}).get("files", {})}
    assert bool(load["library"]) == bool(files)
