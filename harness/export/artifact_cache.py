"""Exports in the cache: found there, or made now, and held as long as this process uses them.

An entry is named by its key (see key), or unnamed where the module cannot be hashed. A cached artifact is verified
before it is used. Of those that no run uses, the least recently used make way for a new one (see host.bounded).
"""

from __future__ import annotations

import shutil
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..errors import ModelError, StorageError
from ..host.bounded import hold, locked, prune_caches
from ..host.cache import cache_folder, file_sha256, new_entry, storage_errors
from ..model.build import BuiltModel
from .artifact import Artifact, read_artifact
from .given import given_path
from .key import export_key
from .process import run_worker

# Folders of one use begin with these; hidden ones are being filled or removed. What is left of them goes after a day.
UNKEYED = "unkeyed-"
DISCARDED = ".discarded-"
LEFTOVERS = (UNKEYED, "." + UNKEYED, DISCARDED)
LEFTOVER_AGE_S = 24 * 3600.0
# A run that was quicker may have ended, and its export may have made way for others, before it could be held.
TRIES = 3


def export_artifact(built: BuiltModel, artifact_format: str) -> Artifact:
    """The artifact of a model in a format: from the cache, or exported now; or the file that its model file names.

    Raises:
        ExportError: every exporter of the format refused, with what each said.
        ModelError: the export process builds other weights; or the named file is not there, or none of this model.
        StorageError: the cache cannot be written, or does not keep what is written.
        InputError: $HILGATE_CACHE_GIB is no limit.
    """
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
            exported = read_artifact(work, cached=False)
            hold(work)  # before anyone sees it
        if hold(folder):
            break
    found = _published(exported, folder, shared=key is not None)
    prune_caches()
    return found


def _published(exported: Artifact | None, folder: Path, *, shared: bool) -> Artifact:
    """What is in the folder: this export, or, under a key, that of another run that was quicker."""
    found = read_artifact(folder, cached=False)
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


def _held(folder: Path, *, cached: bool) -> Artifact | None:
    """The artifact in a folder, which stays there until this process ends."""
    return read_artifact(folder, cached=cached) if hold(folder) else None


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
