"""Artifacts: exported files and the record beside them, by which a folder is read as an artifact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..host.cache import file_sha256
from .binding import Binding
from .shapes import Declared

RECORD = "artifact.json"


@dataclass(frozen=True)
class ArtifactFile:
    """One exported file; ``name`` is its path in the artifact's folder."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Artifact:
    """An exported model. The first file is the one that a runtime opens.

    Attributes:
        exporter: which exporter made it, with its version.
        warnings: what the exporter said, such as a branch that was traced one way only.
        cached: whether it was made by an earlier run.
        shapes: what the file declares of the shapes of its inputs and outputs; empty where its format does not.
        binding: of a given file whose inputs and outputs are not called and ordered as the model's.
    """

    folder: Path
    format: str
    files: tuple[ArtifactFile, ...]
    exporter: str
    warnings: tuple[str, ...]
    cached: bool = False
    shapes: Declared = field(default_factory=dict, hash=False)
    binding: Binding | None = None

    @property
    def sha256(self) -> str:
        """The artifact's name: the hash of its file, or of its files' hashes where there are several."""
        if len(self.files) == 1:
            return self.files[0].sha256
        return hashlib.sha256("".join(file.sha256 for file in self.files).encode()).hexdigest()

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(file.bytes for file in self.files)


def write_record(
    folder: Path,
    artifact_format: str,
    names: list[str],
    exporter: str,
    warnings: list[str],
    shapes: Declared = MappingProxyType({}),
    binding: Binding | None = None,
) -> None:
    """Describe the files of a folder, so that it can be read as an artifact."""
    files = [asdict(ArtifactFile(name, file_sha256(folder / name), (folder / name).stat().st_size)) for name in names]
    said = {"exporter": exporter, "warnings": warnings, "shapes": dict(shapes)}
    bound = binding.described if binding else None
    record = {"format": artifact_format, "files": files, **said, "binding": bound}
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def read_artifact(folder: Path, *, cached: bool) -> Artifact | None:
    """The artifact in a folder; None where there is none, or it is not what was written."""
    try:
        record: Mapping[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files = tuple(ArtifactFile(**file) for file in record["files"])
        whole = all(file_sha256(folder / file.name) == file.sha256 for file in files)
        said, shapes = tuple(record["warnings"]), record["shapes"]
        binding = Binding.read(record["binding"]) if record["binding"] else None
        found = Artifact(folder, record["format"], files, record["exporter"], said, cached, shapes, binding)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if whole and files else None
