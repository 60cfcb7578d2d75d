"""The folder of one run's results: claimed by a lock, cleaned of what an earlier run left, and raw samples in it.

A run has its folder to itself: it holds a lock (flock) on DIR/.hilgate.lock, which the kernel takes back when the
process ends, however it ends. The file's content is for the run that is refused:

    {"pid": …, "started": …, "devices": […]}
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..agent.private import NotOurs, check_writers, describe
from ..errors import InputError
from ..host.cache import make_readable, storage_errors, write_atomically
from ..model.model import Array
from .reading import read_named_files

FILE = "evidence.json"
JUNIT = "junit.xml"
PAGE = "report.html"
SAMPLES = "samples"
REPLAY = "replay"
BUNDLES = "bundles"
ANSWERS = "answers"
# Signed at a run's end (pytest --sign KEY): whose evidence it is.
SIGNATURE = "evidence.sigstore.json"
LOCK = ".hilgate.lock"

# In which folder the file lies that the evidence names under a key.
_HOMES = {
    "raw": SAMPLES,
    "raw_inputs": SAMPLES,
    "raw_failures": SAMPLES,
    "raw_first_parts": SAMPLES,
    "raw_sides": SAMPLES,
    "replay": REPLAY,
    "bundle": BUNDLES,
    "answers": ANSWERS,
}


class ResultsFolder:
    """One run's folder. Nothing is written to it before ``claim``.

    Attributes:
        sums: the SHA-256 of each file that this run has written, by its path in the folder: raw samples, which inputs
            they had, which calls failed, answers.
        beside: the paths of files that go with raw samples, by the path of these: "raw_inputs", "raw_failures",
            "raw_first_parts" and "raw_sides".
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sums: dict[str, str] = {}
        self.beside: dict[str, dict[str, str]] = {}
        self._lock: int | None = None

    def claim(self, *, devices: Sequence[str], started: str) -> None:
        """Make the folder and lock it until ``release``, or until this process ends. Does nothing where it is ours.

        Args:
            devices: the names of the run's devices, which another run that wants the folder is shown.
            started: when the run started, ISO 8601; shown likewise.

        Raises:
            InputError: another run has the folder.
            NotOurs: it belongs to another user, or others may write to it.
            StorageError: it cannot be written.
        """
        if self._lock is not None:
            return
        with storage_errors(self.path):
            self._make()
            _check_ours(self.path)
            self._lock = _open_locked(self.path / LOCK)
            if self._lock is None:
                raise _refusal(self.path, devices)
            holder = {"pid": os.getpid(), "started": started, "devices": list(devices)}
            os.truncate(self._lock, 0)  # a run that was killed leaves its own content
            os.pwrite(self._lock, json.dumps(holder).encode("utf-8", "backslashreplace"), 0)

    def _make(self) -> None:
        try:
            make_readable(self.path.parent)
            self.path.mkdir(mode=0o755)
        except FileExistsError:
            if not self.path.is_dir():  # a file, or a link to a folder that is gone
                raise
        except FileNotFoundError as error:  # the kernel lets nobody make a folder there, as in /proc
            raise NotADirectoryError(errno.ENOTDIR, error.strerror, str(self.path)) from error
        else:
            # Results are no change of the user's repository. In a folder that existed, that is the user's decision.
            write_atomically(self.path / ".gitignore", "*\n")

    def release(self) -> None:
        """Remove the lock, so that another run can have the folder."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                (self.path / LOCK).unlink()  # before closing: after that it may be another run's
            os.close(self._lock)
            self._lock = None

    def clean(self) -> None:
        """Remove what an earlier run's evidence names (samples, replays, manifests, answers), its page and signature.

        The signature goes whatever else is there: none may stand beside the evidence of another run.

        Raises:
            StorageError: they cannot be removed.
        """
        with storage_errors(self.path):
            _remove(self.path / SIGNATURE)
            for path in _left_by_earlier_run(self.path):
                _remove(path)
            for name in _HOMES.values():
                with contextlib.suppress(OSError):  # not there, or it has files of others
                    (self.path / name).rmdir()

    def save_samples(
        self,
        stem: str,
        samples: Array,
        inputs: Array | None = None,
        failures: Array | None = None,
        first_parts: Array | None = None,
        sides: Array | None = None,
    ) -> str:
        """Write raw samples as a .npy file, and what goes with them as STEM.inputs.npy, STEM.failures.npy and so on.

        Args:
            stem: the file's name without its suffix. Saving under the same stem again replaces the file.
            samples: int64[n].
            inputs: the number of each sample's input, int64[n]; None where nobody needs it.
            failures: how the call of each sample failed, int64[n]; None where none failed.
            first_parts: when the first part of each answer came, int64[n]; None where answers came whole.
            sides: which side answered each, int64[n]; None without a fallback.

        Returns:
            The samples' path, relative to the folder.

        Raises:
            StorageError: it cannot be written.
        """
        name = self._save(stem, samples)
        arrays = {"inputs": inputs, "failures": failures, "first_parts": first_parts, "sides": sides}
        self.beside[name] = {
            f"raw_{kind}": self._save(f"{stem}.{kind}", array) for kind, array in arrays.items() if array is not None
        }
        return name

    def _save(self, stem: str, array: Array) -> str:
        name = self._free_name(SAMPLES, stem, ".npy")
        buffer = io.BytesIO()  # on a full disk np.save to a path raises an OSError without its number
        np.save(buffer, array)
        return self._write(name, buffer.getvalue())

    def save_answers(self, stem: str, arrays: Mapping[str, Array]) -> str:
        """Write arrays as an .npz file, in which nothing is compressed or pickled; equal arrays make equal bytes.

        Args:
            stem: the file's name without its suffix. Saving under the same stem again replaces the file.
            arrays: by their names in the file.

        Returns:
            The file's path, relative to the folder; ``sums`` has its hash.

        Raises:
            StorageError: it cannot be written.
        """
        name = self._free_name(ANSWERS, stem, ".npz")
        buffer = io.BytesIO()
        named: dict[str, Any] = dict(arrays)  # as keywords of numpy's own are of other types
        np.savez(buffer, **named)
        return self._write(name, buffer.getvalue())

    def remove_answers(self, path: str) -> None:
        """Remove a file of answers that this run has written.

        Args:
            path: as ``save_answers`` returned it.

        Raises:
            StorageError: it cannot be removed.
        """
        with storage_errors(self.path):
            _remove(self.path / path)
        self.sums.pop(path, None)

    def save_signature(self, content: str) -> Path:
        """Write the signed statement on this run's evidence, and return its path. Raises: StorageError."""
        write_atomically(self.path / SIGNATURE, content)
        return self.path / SIGNATURE

    def _write(self, name: str, content: bytes) -> str:
        write_atomically(self.path / name, content)
        self.sums[name] = hashlib.sha256(content).hexdigest()
        return name

    def save_manifest(self, sha256: str, manifest: str) -> None:
        """Write a bundle's manifest as bundles/SHA256.json, where the hash is that of its bytes.

        Raises:
            StorageError: it cannot be written.
        """
        write_atomically(self.path / BUNDLES / f"{sha256}.json", manifest)

    def _free_name(self, home: str, stem: str, suffix: str) -> str:
        """Choose a file that this run has written or that does not exist: other files there are not ours to replace."""
        name, number = f"{home}/{stem}{suffix}", 1
        while name not in self.sums and (self.path / name).exists():
            number += 1
            name = f"{home}/{stem}-{number}{suffix}"
        return name


def _check_ours(folder: Path) -> None:
    """Refuse a folder whose content others could change; they may read it. Raises: NotOurs.

    The folders above it are the user's own affair: a CI service may give everybody a workspace to write to.
    """
    status = folder.stat()
    if status.st_uid != os.geteuid():
        found = f"it belongs to another user: {describe(status)}"
        raise NotOurs(str(folder), found, "name a folder of your own: --evidence DIR")
    check_writers(str(folder), status)


def _open_locked(path: Path) -> int | None:
    """Open and lock a file; return its descriptor, or None where another process holds the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder may have removed the file between open and flock: a lock on a removed file keeps nobody out.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:  # a file system without locks: a run without a lock is better than none
            return descriptor
        os.close(descriptor)


def _refusal(folder: Path, devices: Sequence[str]) -> InputError:
    try:
        holder = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        found = f"pid {holder['pid']}, on {', '.join(holder['devices'])}, started {holder['started']}"
    except (OSError, ValueError, KeyError, TypeError):
        found = "one that has just begun, or ended"
    own = folder.with_name("-".join([folder.name, *devices]))
    return InputError(
        "another run is writing its evidence to this folder",
        wanted="a folder for each run",
        found=found,
        where=str(folder),
        hint=f"wait for it to end, or give this run a folder of its own: --evidence {os.path.relpath(own)}",
    )


def _left_by_earlier_run(folder: Path) -> Iterator[Path]:
    """Yield what the evidence in a folder names; other files there are not ours to remove."""
    for key, path in read_named_files(folder / FILE):
        home = _HOMES[key]
        # Anybody may have written the file: a path that leads elsewhere is not followed.
        if (name := name_in(home, path)) is not None and not (folder / home).is_symlink():
            yield folder / home / name
    if (folder / FILE).is_file():  # a run that is killed must not leave the page of another
        yield folder / PAGE


def name_in(home: str, path: str) -> str | None:
    """Return the name of what a path names in one of the evidence's folders; None where it leads elsewhere.

    Args:
        home: the folder, such as "samples".
        path: as an evidence.json has it, "samples/NAME".
    """
    first, _, name = path.partition("/")
    return name if first == home and name not in ("", ".", "..") and not {"/", "\0"}.intersection(name) else None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
