"""The cache of exports: an artifact is taken from it or exported into it, and pinned while this process runs.

An entry is named by its key (see key), or by a random name where the module cannot be hashed. A cached artifact is
verified before it is used. Entries that no run has pinned are evicted, the least recently used first (host.bounded).
"""

from __future__ import annotations

import shutil
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..errors import ModelError, StorageError
from ..host.bounded import locked, pin, prune_caches
from ..host.cache import cache_folder, file_sha256, new_entry, storage_errors
from ..model.build import BuiltModel
from .artifact import Artifact, read_artifact, read_recorded
from .given import given_path
from .key import export_key
from .process import run_worker

# Prefixes of folders that are used once; hidden ones are being filled or removed. What a killed run leaves of them is
# removed after a day.
UNKEYED = "unkeyed-"
DISCARDED = ".discarded-"
LEFTOVERS = (UNKEYED, "." + UNKEYED, DISCARDED)
LEFTOVER_AGE_S = 24 * 3600.0
# Another run may publish the same export first, end, and have it evicted before this run has pinned it.
TRIES = 3


def export_artifact(built: BuiltModel, artifact_format: str) -> Artifact:
    """Return the artifact of a model in a format: the cached one, a new export, or the file that the model file gives.

    Args:
        built: the model.
        artifact_format: the format's name.

    Raises:
        ExportError: every exporter of the format refused, with the reason of each.
        ModelError: the export process builds other weights; or the given file does not exist or fits another model.
        StorageError: the cache cannot be written, or does not keep what is written.
        InputError: $HILGATE_CACHE_GIB is not a size.
    """
    given = _given(built, artifact_format)
    key = export_key(built, artifact_format, given)
    exports = cache_folder() / "exports"
    _remove_leftovers(exports)
    folder = exports / (key or f"{UNKEYED}{uuid.uuid4().hex}")
    for _ in range(TRIES):
        if (artifact := _pinned(folder, cached=True) or _discard(folder)) is not None:
            return artifact
        with new_entry(folder) as work:
            run_worker(built, artifact_format, work, given)
            exported = read_artifact(work, cached=False)
            pin(work)  # before the rename makes it visible to other processes
        if pin(folder):
            break
    artifact = _published(exported, folder, shared=key is not None)
    prune_caches()
    return artifact


def find_artifact(sha256: str, artifact_format: str) -> Artifact | None:
    """Find the artifact of an earlier export by its hash, and pin it; None where the cache has it no more.

    Args:
        sha256: the artifact's, as the evidence has it.
        artifact_format: the format's name.

    Raises:
        StorageError: the cache cannot be read.
    """
    exports = cache_folder() / "exports"
    for folder in sorted(exports.glob("[!.]*")):
        # Of a record alone before it is pinned: pinning all entries would keep them all from being evicted.
        recorded = read_recorded(folder, cached=True)
        if recorded is None or (recorded.sha256, recorded.format) != (sha256, artifact_format):
            continue
        if (artifact := _pinned(folder, cached=True)) is not None and artifact.sha256 == sha256:
            return artifact
    return None


def _published(exported: Artifact | None, folder: Path, *, shared: bool) -> Artifact:
    """Read the artifact that was just put into the cache.

    Args:
        exported: the artifact as it was before it was renamed into place; None where it could not be read even then.
        folder: its place in the cache.
        shared: whether the folder is named by a key, so that another run may have published its own export first.

    Raises:
        StorageError: the artifact cannot be read back, or is another one than this run exported.
    """
    artifact = read_artifact(folder, cached=False)
    if exported is None or artifact is None or not (shared or artifact == replace(exported, folder=folder)):
        raise StorageError(
            "an export was damaged right after it was written",
            wanted=exported.sha256 if exported else "a record, and the files that it names",
            found=artifact.sha256 if artifact else "files that are missing or changed",
            where=str(folder),
            hint="look at the disk, or name another folder: HILGATE_CACHE=…",
        )
    return artifact


def _given(built: BuiltModel, artifact_format: str) -> dict[str, str] | None:
    """Return the "path" and "sha256" of the file that the model file gives; None where the model is exported.

    Raises:
        ModelError: the file does not exist, or cannot be read.
    """
    path = given_path(built.model, built.file.path, artifact_format)
    if path is None:
        return None
    try:
        return {"path": str(path), "sha256": file_sha256(path)}
    except OSError as error:
        what = f"the file that is given as {artifact_format} cannot be read"
        raise ModelError(what, wanted="a file that can be read", found=str(error), where=str(path)) from error


def _pinned(folder: Path, *, cached: bool) -> Artifact | None:
    """Pin a folder of the cache until this process ends, and read its artifact; None where there is none."""
    return read_artifact(folder, cached=cached) if pin(folder) else None


def _discard(folder: Path) -> Artifact | None:
    """Remove a damaged export; return the artifact where another run has replaced it meanwhile.

    The folder is renamed before it is removed: if only a part were removed, the rest could be taken for the new export.
    """
    if not folder.exists():
        return None
    with storage_errors(folder), locked(folder.parent):
        if (artifact := _pinned(folder, cached=True)) is not None:
            return artifact
        away = folder.with_name(f"{DISCARDED}{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):
            folder.rename(away)
    shutil.rmtree(away, ignore_errors=True)
    return None


def _remove_leftovers(exports: Path) -> None:
    """Remove old folders that earlier runs exported without a key, or could not remove."""
    oldest = time.time() - LEFTOVER_AGE_S
    for folder in exports.glob("*"):
        with suppress(OSError):
            if folder.name.startswith(LEFTOVERS) and folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
