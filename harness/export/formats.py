"""Finding export formats by their files."""

from __future__ import annotations

import importlib


def exporter_labels(artifact_format: str) -> list[str]:
    """List the exporters of a format, by the labels that a model file may choose from."""
    return list(importlib.import_module(f"{__package__}.{artifact_format}").EXPORTERS)
