"""Artifacts: the exported files of a model, and the record beside them that describes the folder."""

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
    """One file of an artifact.

    Attributes:
        name: its path in the artifact's folder.
        bytes: its size.
    """

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """An exported model. The first file is the one that a runtime opens.

    Attributes:
        folder: the folder that holds the files.
        format: the name of its export format.
        exporter: the label of the exporter that made it.
        warnings: what the exporter warned of, such as a branch that was traced one way only.
        cached: whether an earlier run made it.
        shapes: the shapes that the file declares for its inputs and outputs; empty where its format declares none.
        binding: for a given file whose inputs and outputs have other names or another order than the model's.
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
    """Write the record that makes a folder of exported files an artifact.

    Args:
        folder: holds the files.
        artifact_format: the format's name.
        names: the files' paths in the folder, the one that a runtime opens first.
        exporter: the exporter's label.
        warnings: what it warned of.
        shapes: see Artifact.
        binding: see Artifact.
    """
    files = [asdict(ArtifactFile(name, file_sha256(folder / name), (folder / name).stat().st_size)) for name in names]
    record = {
        "format": artifact_format,
        "files": files,
        "exporter": exporter,
        "warnings": warnings,
        "shapes": dict(shapes),
        "binding": binding.described if binding else None,
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def read_artifact(folder: Path, *, cached: bool) -> Artifact | None:
    """Read the artifact in a folder; None where there is none, or a file is not the one that was recorded.

    Args:
        folder: holds the record and the files.
        cached: see Artifact.
    """
    artifact = read_recorded(folder, cached=cached)
    if artifact is None:
        return None
    try:
        is_whole = all(file_sha256(folder / file.name) == file.sha256 for file in artifact.files)
    except OSError:
        return None
    return artifact if is_whole else None


def read_recorded(folder: Path, *, cached: bool) -> Artifact | None:
    """Read what a folder's record says, without a look at the files; None where there is no record of any.

    Args:
        folder: holds the record and the files.
        cached: see Artifact.
    """
    try:
        record: Mapping[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        artifact = Artifact(
            folder=folder,
            format=record["format"],
            files=tuple(ArtifactFile(**file) for file in record["files"]),
            exporter=record["exporter"],
            warnings=tuple(record["warnings"]),
            cached=cached,
            shapes=record["shapes"],
            binding=Binding.read(record["binding"]) if record["binding"] else None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return artifact if artifact.files else None
