"""From a module to an artifact: one file per format, found by its name, with ``exporters``.

A file of the team's own that the model file names is taken as it is (``given``), in the same way otherwise.

Exports run in a process of their own (``worker``): torch gives every trace in one process other names, and the same
model must give the same artifact. They are cached under a key of all that they depend on, and a cached artifact is
verified before it is used. It stays there as long as a run that uses it; of the others the least recently used make
way for a new one (``bounded``).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import ExportError, ModelError, StorageError
from ..host.bounded import hold, locked, prune_caches
from ..host.cache import cache_folder, file_sha256, new_entry, storage_errors
from ..host.plugins import function, instance_of, load_module, module_names
from ..host.shipped import room_sources
from ..model.build import BuiltModel
from ..model.dimension import declared_dims
from ..model.fingerprint import code_sha256, module_sha256
from .binding import Binding
from .given import given_path
from .settings import read_settings
from .shapes import Declared

RECORD = "artifact.json"
# The export process prints its refusal behind this, as JSON.
REFUSAL = "hilgate-export-refusal:"
# Folders of one use begin with these; hidden ones are being filled or removed. What is left of them goes after a day.
UNKEYED = "unkeyed-"
DISCARDED = ".discarded-"
LEFTOVERS = (UNKEYED, "." + UNKEYED, DISCARDED)
LEFTOVER_AGE_S = 24 * 3600.0
# A run that was quicker may have ended, and its export may have made way for others, before it could be held.
TRIES = 3
# The rooms whose code decides what is exported.
ROOMS = ("export", "model", "agent")


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


# What a format's file must have. It may have correct_shapes(folder, seen), too; see onnx.py.
FORMAT = {
    "FILE": (instance_of(str), 'the name of the exported file, such as FILE = "model.onnx"'),
    "EXPORTERS": (instance_of(Mapping), "a dict of exporters, label to function; see harness.export.worker.Exporter"),
    "exporters": (function, "exporters(module): those to try, in order"),
    "opened": (function, "opened(folder, label): the exported file as a function that runs it on this host, or None"),
    "read_interface": (function, "read_interface(path, model): what a given file takes and gives"),
}


def load_format(name: str) -> Any:
    """Load the module of an export format.

    Raises:
        ExportError: there is none of that name; or its file cannot be imported, or lacks something.
    """
    if name not in module_names(__name__):
        hint = f"add it: export/{name}.py in the folder of plug-ins; or correct ARTIFACT in the backend's file"
        raise ExportError(f"there is no export format {name!r}", found="a backend that runs it", hint=hint)
    return load_module(__name__, name, FORMAT, "export format", ExportError)


def exporter_labels(artifact_format: str) -> list[str]:
    """List the exporters of a format, by the labels that a model file may choose from."""
    return list(load_format(artifact_format).EXPORTERS)


def export_artifact(built: BuiltModel, artifact_format: str) -> Artifact:
    """The artifact of a model in a format: from the cache, or exported now; or the file that its model file names.

    Raises:
        ExportError: every exporter of the format refused, with what each said.
        ModelError: the export process builds other weights; or the named file is not there, or none of this model.
        StorageError: the cache cannot be written, or does not keep what is written.
        InputError: $HILGATE_CACHE_GIB is no limit.
    """
    from .process import run_worker

    given = _given(built, artifact_format)
    key = export_key(built, artifact_format, given)
    exports = cache_folder() / "exports"
    _remove_leftovers(exports)
    folder = exports / (key or f"{UNKEYED}{uuid.uuid4().hex}")
    for _ in range(TRIES):
        if (found := _held(folder, cached=True) or _discard(folder)) is not None:
            return found
        with new_entry(folder) as work:
            run_worker(built, artifact_format, work, given)
            exported = _read(work, cached=False)
            hold(work)  # before anyone sees it
        if hold(folder):
            break
    found = _published(exported, folder, shared=key is not None)
    prune_caches()
    return found


def _published(exported: Artifact | None, folder: Path, *, shared: bool) -> Artifact:
    """What is in the folder: this export, or, under a key, that of another run that was quicker."""
    found = _read(folder, cached=False)
    if exported is None or found is None or not (shared or found == replace(exported, folder=folder)):
        raise StorageError(
            "an export was damaged right after it was written",
            wanted=exported.sha256 if exported else "a record, and the files that it names",
            found=found.sha256 if found else "files that are missing or changed",
            where=str(folder),
            hint="look at the disk, or name another folder: HILGATE_CACHE=…",
        )
    return found


def _given(built: BuiltModel, artifact_format: str) -> dict[str, str] | None:
    """The file that is taken as it is, and its hash now; None where the model is exported.

    Raises:
        ModelError: it is not there, or cannot be read.
    """
    path = given_path(built.model, built.file.path, artifact_format)
    if path is None:
        return None
    try:
        return {"path": str(path), "sha256": file_sha256(path)}
    except OSError as error:
        what = f"the file that is given as {artifact_format} cannot be read"
        raise ModelError(what, wanted="a file that can be read", found=str(error), where=str(path)) from error


def export_key(built: BuiltModel, artifact_format: str, given: Mapping[str, str] | None = None) -> str | None:
    """A hash of all that an export depends on; None where the module has parts that cannot be hashed.

    The module itself, its code included; the declared inputs and dimensions, and what prepares inputs; the exporters'
    source; torch's settings; every installed package (conservative, and cheap: a new environment exports anew); Python
    and the machine.

    Args:
        given: a file that is taken as it is, by its "path" and "sha256".
    """
    return built.ask(_key, artifact_format, dict(given) if given else None)


def _key(built: BuiltModel, artifact_format: str, given: Mapping[str, str] | None) -> str | None:
    try:
        module, prepare = module_sha256(built.module), code_sha256(built.model.prepare)  # it makes the example
    except Exception:  # noqa: BLE001  # whatever an attribute's own pickling raises: then there is no caching, only time is lost
        return None
    parts = {
        "module": module,
        "name": built.file.path.name,
        "format": artifact_format,
        "inputs": [asdict(item) for item in built.model.inputs],
        "outputs": list(built.outputs),
        "prepare": prepare,
        "dims": declared_dims(built.model.dims),
        "given": [Path(given["path"]).name, given["sha256"]] if given else None,
        "exporter": [built.model.exporter, built.model.opset, list(built.model.imports)],
        "exporters": [file_sha256(path) for path in room_sources(*ROOMS)],
        "settings": read_settings(),
        "installed": sorted(_identity(item) for item in importlib.metadata.distributions()),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _identity(item: importlib.metadata.Distribution) -> str:
    """What is installed: by the hashes of its files, for other code may have the same version.

    Debian's packages have no such list: there the time of the installation has to do.
    """
    if record := item.read_text("RECORD"):
        origin = item.read_text("direct_url.json") or ""
        return f"{item.name} {hashlib.sha256(f'{record}{origin}'.encode()).hexdigest()}"
    path = getattr(item, "_path", None)  # of a folder, or of a lone .egg-info; inside a zip there is no time
    changed = path.stat().st_mtime_ns if isinstance(path, Path) and path.exists() else 0
    return f"{item.name}=={item.version} {changed}"


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


def _read(folder: Path, *, cached: bool) -> Artifact | None:
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


def _held(folder: Path, *, cached: bool) -> Artifact | None:
    """The artifact in a folder, which stays there until this process ends."""
    return _read(folder, cached=cached) if hold(folder) else None


def _discard(folder: Path) -> Artifact | None:
    """Make way for an export where there is a damaged one; returns what another run has put there meanwhile.

    The folder is moved away whole before it is removed: a part that stayed could be taken for the new export.
    """
    if not folder.exists():
        return None
    with storage_errors(folder), locked(folder.parent):
        if (found := _held(folder, cached=True)) is not None:
            return found
        away = folder.with_name(f"{DISCARDED}{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):
            folder.rename(away)
    shutil.rmtree(away, ignore_errors=True)
    return None


def _remove_leftovers(exports: Path) -> None:
    """Remove what earlier runs exported for themselves only, or could not remove."""
    oldest = time.time() - LEFTOVER_AGE_S
    for folder in exports.glob("*"):
        with suppress(OSError):
            if folder.name.startswith(LEFTOVERS) and folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
