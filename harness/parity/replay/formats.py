"""Find what runs a format's artifacts in a replay: the file that is named as the format."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path


class NoRunner(Exception):
    """Nothing runs the artifacts of a format; its text is the reason."""


def runner_file(artifact_format: str) -> Path:
    """Return FORMAT.py of this package, in any folder of its path.

    It must have ``infer(path, inputs, settings, notify)``, as onnx.py has it, and import nothing of harness.

    Raises:
        NoRunner: there is no such file, or it has no ``infer``.
    """
    package = __name__.rpartition(".")[0]
    spec = importlib.util.find_spec(f"{package}.{artifact_format}")
    if spec is None or spec.origin is None:
        file = f"{package.replace('.', '/')}/{artifact_format}.py"
        raise NoRunner(f"nothing runs the format {artifact_format} again: there is no {file}")
    if not hasattr(importlib.import_module(f"{package}.{artifact_format}"), "infer"):
        raise NoRunner(
            f"nothing runs the format {artifact_format} again: {spec.origin} has no "
            "infer(path, inputs, settings, notify)"
        )
    return Path(spec.origin)
