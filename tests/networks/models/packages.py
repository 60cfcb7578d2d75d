"""What the networks need of the tests' own environment: see tests.networks.environment."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

# Written by the test, beside the copy of this file that is run.
FOLDER = Path(Path(__file__).with_name("packages.txt").read_text(encoding="utf-8").strip())


def package(name: str) -> ModuleType:
    """Import a package that is in the folder.

    Raises:
        ImportError: it is not there, or does not go with this torch.
    """
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # last: torch and numpy stay our own
    try:
        return importlib.import_module(name)
    except RuntimeError as error:  # such as: an operator does not exist
        raise ImportError(f"{name}: {error}") from error


def package_without_imports(name: str, **attributes: object) -> None:
    """Have a package whose ``__init__`` does not run, for that wants what is not there (librosa, torchaudio, …).

    Args:
        attributes: what its files take from the package itself.
    """
    bare = ModuleType(name)
    bare.__path__ = [str(FOLDER / name)]
    vars(bare).update(attributes)
    sys.modules.setdefault(name, bare)


def weights(path: str) -> dict[str, torch.Tensor]:
    """Read a file of weights that a package ships."""
    found: dict[str, torch.Tensor] = torch.load(FOLDER / path, map_location="cpu", weights_only=True)
    return found


def torchvision() -> ModuleType:
    """Import torchvision; the operator that a detector needs is given in Python.

    Those of its wheel are built for CUDA and do not load beside torch's CPU build. A user has a build that fits; the
    exporters ask for no more than the operators' names.
    """
    if "torchvision" not in sys.modules:
        _define_operators()
        for name in ("torchvision.extension", "torchvision.ops.roi_align"):
            vars(package(name))["_has_ops"] = _has_operators
    return package("torchvision")


def _has_operators() -> bool:
    return True


def _define_operators() -> None:
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define(
        "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
        "int sampling_ratio, bool aligned) -> Tensor"
    )
    library.impl("nms", _nms, "CPU")
    torch.library.torchvision_operators = library  # type: ignore[attr-defined]  # they end with it


def _nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    corners = torch.maximum(boxes[:, None, :2], boxes[:, :2])
    shared = (torch.minimum(boxes[:, None, 2:], boxes[:, 2:]) - corners).clamp(min=0).prod(-1)
    covers = (shared / (areas[:, None] + areas - shared) > threshold).numpy()
    gone = np.zeros(len(covers), bool)
    for index, row in enumerate(covers):
        if not gone[index]:
            gone[index + 1 :] |= row[index + 1 :]
    return order[torch.from_numpy(~gone)]
