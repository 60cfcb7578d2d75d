"""Validation of what a model file says about its artifacts: files of its own, exporter, operator set, imports."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ModelError

MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")


def read_files(files: Any) -> dict[str, str]:
    """Validate ``files``, a dict of format to path; whether a format exists is checked when a run is planned.

    Raises:
        ModelError: It is no such dict.
    """
    wanted, where = 'a dict such as {"onnx": "net.onnx"}', "Model(files=…)"
    if not isinstance(files, Mapping):
        raise ModelError("files is not usable", wanted=wanted, found=repr(files), where=where)
    for name, path in files.items():
        if not isinstance(name, str) or not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise ModelError("files is not usable", wanted=wanted, found=f"{name!r}: {path!r}", where=where)
    return {name: os.fsdecode(path) for name, path in files.items()}


def read_imports(imports: Any) -> tuple[str, ...]:
    """Validate ``imports``, a list of modules' names.

    Raises:
        ModelError: It is no list, or one of them is no module's name.
    """
    wanted, where = 'a list of modules such as ["torchvision"]', "Model(imports=…)"
    usable = isinstance(imports, Sequence) and not isinstance(imports, str)
    if not usable or not all(isinstance(name, str) and MODULE.match(name) for name in imports):
        hint = "as `import` takes them: torch_scatter, not torch-scatter"
        raise ModelError("imports is not usable", wanted=wanted, found=repr(imports), where=where, hint=hint)
    return tuple(imports)


def check_export(exporter: Any, opset: Any, files: Mapping[str, str]) -> None:
    """Validate ``exporter`` and ``opset``.

    Raises:
        ModelError: The exporter is no text, the operator set no int ≥ 1; or an operator set is given together with an
            ONNX file, which nothing exports.
    """
    if not isinstance(exporter, str):
        wanted = 'an exporter\'s label, such as "torch.onnx.export(dynamo=False)"'
        raise ModelError("exporter is not usable", wanted=wanted, found=repr(exporter), where="Model(exporter=…)")
    if opset is None:
        return
    if type(opset) is not int or opset < 1:
        wanted = "a number of an ONNX operator set, such as 17"
        raise ModelError("opset is not usable", wanted=wanted, found=repr(opset), where="Model(opset=…)")
    if "onnx" in files:
        hint = "leave one of the two out"
        found = f"opset={opset}, and files={{'onnx': {files['onnx']!r}}}"
        what = "opset is of an export, and the ONNX file is given"
        raise ModelError(what, found=found, where="Model(…)", hint=hint)
