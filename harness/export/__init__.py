"""From a module to an artifact: one file per format, found by its name, with ``EXPORTERS``.

Exports run in a process of their own (``worker``): torch gives every trace in one process other names, and the same
model must give the same artifact. They are cached under a key of all that they depend on, and a cached artifact is
verified before it is used.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..build import BuiltModel
from ..cache import cache_folder, file_sha256, new_entry
from ..fingerprint import module_sha256

RECORD = "artifact.json"
# The export process prints its refusal behind this, as JSON.
REFUSAL = "hilgate-export-refusal:"


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
    """

    folder: Path
    format: str
    files: tuple[ArtifactFile, ...]
    exporter: str
    warnings: tuple[str, ...]
    cached: bool = False

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


def export_artifact(built: BuiltModel, artifact_format: str) -> Artifact:
    """The artifact of a model in a format: from the cache, or exported now.

    Raises:
        ExportError: every exporter of the format refused, with what each said.
        ModelError: the export process builds other weights.
        StorageError: the cache cannot be written.
    """
    from .process import run_worker

    key = export_key(built, artifact_format)
    folder = cache_folder() / "exports" / (key or f"unkeyed-{built.file.name}-{artifact_format}")
    if key is not None and (found := _read(folder, cached=True)) is not None:
        return found
    _discard(folder)
    with new_entry(folder) as work:
        run_worker(built, artifact_format, work)
    made = _read(folder, cached=False)
    if made is None:
        raise AssertionError(f"{folder} was damaged right after it was written")
    return made


def export_key(built: BuiltModel, artifact_format: str) -> str | None:
    """A hash of all that an export depends on; None where the module has parts that cannot be hashed.

    The module itself, its code included; the declared inputs and dimensions; the exporters' source; every installed
    package's version (conservative, and cheap: a new environment exports anew); Python and the machine.
    """
    try:
        module = module_sha256(built.module)
    except Exception:  # noqa: BLE001  # whatever an attribute's own pickling raises: then there is no caching, only time is lost
        return None
    own = sorted(Path(__file__).parent.glob("*.py"))
    installed = sorted(f"{item.name}=={item.version}" for item in importlib.metadata.distributions())
    parts = {
        "module": module,
        "name": built.file.path.name,
        "format": artifact_format,
        "inputs": [asdict(item) for item in built.model.inputs],
        "dims": {name: list(ends) for name, ends in built.model.dims.items()},
        "exporters": [file_sha256(path) for path in own],
        "installed": installed,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write_record(folder: Path, artifact_format: str, names: list[str], exporter: str, warnings: list[str]) -> None:
    """Describe the files of a folder, so that it can be read as an artifact."""
    files = [asdict(ArtifactFile(name, file_sha256(folder / name), (folder / name).stat().st_size)) for name in names]
    record = {"format": artifact_format, "files": files, "exporter": exporter, "warnings": warnings}
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _read(folder: Path, *, cached: bool) -> Artifact | None:
    """The artifact in a folder; None where there is none, or it is not what was written."""
    try:
        record: Mapping[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files = tuple(ArtifactFile(**file) for file in record["files"])
        whole = all(file_sha256(folder / file.name) == file.sha256 for file in files)
        found = Artifact(folder, record["format"], files, record["exporter"], tuple(record["warnings"]), cached)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if whole and files else None


def _discard(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
