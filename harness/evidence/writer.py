"""evidence.json (schema 1): all cells, and all that is needed to believe them. Written anew after every check.

    {"schema": 1, "tool", "started", "finished": null until the run's end, "commit", "verdict", "harness": {…},
     "cells": [{"model", "device", "backend", "emulated", "verdict", "error", "not_built", "fingerprint", "artifact",
                "bundle", "notes", "checks": [see harness.checks.check.Check.as_evidence]}]}

Until the end the run's verdict is INCONCLUSIVE: a run that was killed keeps what it measured, and is never read as a
PASS.

A run has its folder to itself: it holds a lock (flock) on DIR/.hilgate.lock, which the kernel takes back when the
process ends, however it ends. What the file says is for the run that is refused:

    {"pid": …, "started": …, "devices": […]}
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from .. import __version__
from ..agent.private import NotOurs, check_writers, describe
from ..cell import Cell
from ..checks.check import NOTHING, Check, Verdict, overall
from ..errors import HilgateError, InputError, StorageError
from ..host.cache import make_readable, storage_errors, write_atomically
from ..model.model import Array
from ..printable import printable_json

FILE = "evidence.json"
JUNIT = "junit.xml"
SAMPLES = "samples"
REPLAY = "replay"
LOCK = ".hilgate.lock"


@dataclass
class CellRecord:
    """What is known of one cell so far."""

    cell: Cell
    checks: list[Check] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    interruptions: list[str] = field(default_factory=list)  # why a check stayed open: that says nothing of the model
    unavailable: str = ""  # why its device cannot be used: that says nothing of the model
    not_built: HilgateError | None = None  # why this host cannot build its backend, which is an optional one
    selected: bool = False
    pending: set[str] = field(default_factory=set)

    @property
    def verdict(self) -> Verdict:
        """FAIL with an error; else what its checks say, and INCONCLUSIVE while a selected one is still to come.

        A backend that was not built is never a PASS, whatever was checked without it.
        """
        unfinished = self.pending or self.interruptions or self.unavailable
        open_ends = [Verdict.INCONCLUSIVE] if unfinished else []
        found = [*open_ends, *(check.verdict for check in self.checks)]
        if self.errors:
            return Verdict.FAIL
        if self.not_built is not None and not {Verdict.FAIL, Verdict.INCONCLUSIVE}.intersection(found):
            return Verdict.NOT_APPLICABLE
        return overall(found)

    @property
    def anything_said(self) -> bool:
        """Whether any test of it came to something: a check that applies, an error, a device that cannot be used, a
        backend that cannot be built, or a connection that dropped."""
        return bool(self.errors or self.unavailable or self.not_built or self.interruptions) or any(
            check.verdict is not Verdict.NOT_APPLICABLE for check in self.checks
        )

    def as_evidence(self) -> dict[str, Any]:
        """The cell's entry in evidence.json."""
        model, device, backend = self.cell.key
        return {
            "model": model,
            "device": device,
            "backend": backend,
            "emulated": self.cell.device.emulated,
            "verdict": str(self.verdict),
            "error": "\n".join([*self.errors, *self.interruptions, *filter(None, [self.unavailable])]) or None,
            "not_built": str(self.not_built) if self.not_built is not None else None,
            "fingerprint": self.facts.get("fingerprint"),
            "artifact": self.facts.get("artifact"),
            "bundle": self.facts.get("bundle"),
            "instructions": self.facts.get("instructions"),
            "measure": dict(self.cell.file.model.measure),
            "unfinished": sorted(self.pending),
            "notes": self.notes,
            "checks": [check.as_evidence() for check in self.checks],
        }


class Evidence:
    """The evidence of one run, in a folder that keeps no other run's."""

    def __init__(self, folder: Path, cells: Iterable[Cell], root: Path) -> None:
        self.folder = folder
        self.records = {cell.key: CellRecord(cell) for cell in cells}
        self.started = datetime.now(UTC)
        self.finished: datetime | None = None
        self.commit = _commit(root)
        self.asked: dict[str, Any] = {}
        self.harness: dict[str, float] = {}
        self.begun = False
        self.unwritable = ""
        self._saved: set[str] = set()
        self._lock: int | None = None

    def claim(self) -> None:
        """Make the folder, and have it to ourselves until ``release``, or until this process ends.

        Raises:
            InputError: another run has it.
            StorageError: the folder cannot be written.
        """
        if self._lock is not None:
            return
        devices = sorted({record.cell.device.name for record in self.records.values()})
        with storage_errors(self.folder):
            try:
                make_readable(self.folder.parent)
                self.folder.mkdir(mode=0o755)
            except FileExistsError:
                if not self.folder.is_dir():  # a file; or a link to a folder that is gone
                    raise
            except FileNotFoundError as error:  # where the kernel lets nobody make one
                raise NotADirectoryError(errno.ENOTDIR, error.strerror, str(self.folder)) from error
            else:
                # Results are no change of the user's repository; in a folder of theirs, that is theirs to say.
                write_atomically(self.folder / ".gitignore", "*\n")
            _check_ours(self.folder)
            self._lock = _lock(self.folder / LOCK)
            if self._lock is None:
                raise _refusal(self.folder, devices)
            holder = {"pid": os.getpid(), "started": _stamp(self.started), "devices": devices}
            os.truncate(self._lock, 0)  # of a run that was killed
            os.pwrite(self._lock, json.dumps(holder).encode("utf-8", "backslashreplace"), 0)

    def release(self) -> None:
        """Let another run have the folder; nothing of the lock stays there."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                (self.folder / LOCK).unlink()  # while it is ours: later it may be another's
            os.close(self._lock)
            self._lock = None

    def begin(self) -> None:
        """Remove what an earlier run left, and write the first, empty evidence.

        Raises:
            InputError: another run has the folder.
            StorageError: the folder cannot be written.
        """
        self.claim()
        with storage_errors(self.folder):
            for path in _left_by_earlier_run(self.folder):
                _remove(path)
            for name in (SAMPLES, REPLAY):
                with contextlib.suppress(OSError):  # not there, or it holds what is not ours
                    (self.folder / name).rmdir()
        self.write()
        self.begun = True

    def __getitem__(self, cell: Cell) -> CellRecord:
        return self.records[cell.key]

    def add_check(self, cell: Cell, check: Check) -> None:
        """Record a check and write the evidence."""
        record = self[cell]
        record.checks.append(check)
        record.notes += [note for note in check.finding.notes if note not in record.notes]
        self.write()

    def add_error(self, cell: Cell, error: str) -> None:
        """Record why a cell cannot run, once, and write the evidence."""
        record = self[cell]
        if error not in record.errors:
            record.errors.append(error)
            self.write()

    def add_unavailable(self, device: str, reason: str) -> None:
        """Record that a device cannot be used, in its cells that are not finished, and write the evidence.

        They stay INCONCLUSIVE: nothing is known against the model. What was measured before stays.
        """
        for record in self.records.values():
            if record.cell.device.name == device and (record.pending or not record.anything_said):
                begun = "the rest was not measured" if record.checks else NOTHING
                record.unavailable = f"{begun}: {reason}"
                record.pending.clear()
        self.write()

    def add_not_built(self, cell: Cell, error: HilgateError) -> None:
        """Record that this host cannot build a cell's backend, which the run may leave out, and write the evidence."""
        record = self[cell]
        record.not_built = error
        record.pending.clear()
        self.write()

    def add_interruption(self, cell: Cell, reason: str) -> None:
        """Record why a check could not be finished, such as a connection that dropped, and write the evidence.

        The cell stays INCONCLUSIVE: nothing is known against the model.
        """
        record = self[cell]
        if reason not in record.interruptions:
            record.interruptions.append(reason)
        self.write()

    def save_samples(self, cell: Cell, samples: Array, kind: str = "") -> str:
        """Keep a cell's raw samples, int64[n] in nanoseconds; returns their path in the evidence's folder.

        Args:
            kind: names samples of something else.
        """
        name = self._free_name("-".join(filter(None, [cell.id, kind])))
        buffer = io.BytesIO()  # on a full disk np.save to a path raises an OSError without its number
        np.save(buffer, samples)
        write_atomically(self.folder / name, buffer.getvalue())
        return name

    def _free_name(self, stem: str) -> str:
        """A file of this run's, or a new one: what else is there was not named as ours."""
        name, number = f"{SAMPLES}/{stem}.npy", 1
        while name not in self._saved and (self.folder / name).exists():
            number += 1
            name = f"{SAMPLES}/{stem}-{number}.npy"
        self._saved.add(name)
        return name

    @property
    def verdict(self) -> Verdict:
        """The run's: over all its cells, and only once it has ended."""
        if self.finished is None:
            return Verdict.INCONCLUSIVE
        return overall([record.verdict for record in self.records.values()])

    def finish(self, *, keep: Iterable[Cell]) -> None:
        """End the run; cells that were not selected are left out."""
        keys = {cell.key for cell in keep}
        self.records = {key: record for key, record in self.records.items() if key in keys}
        self.finished = datetime.now(UTC)
        self.write()

    def write(self) -> None:
        """Write evidence.json, whole or not at all.

        Raises:
            StorageError: it cannot be written; said once, for the run goes on to its summary.
        """
        if self.unwritable:
            return
        content = {
            "schema": 1,
            "tool": f"hilgate {__version__}",
            "started": _stamp(self.started),
            "finished": _stamp(self.finished) if self.finished else None,
            "commit": self.commit,
            "verdict": str(self.verdict),
            "asked": self.asked,
            "harness": self.harness,
            "cells": [record.as_evidence() for record in self.records.values()],
        }
        # As it was said, for it is data; but a person who reads the file on a terminal is not to obey it. A folder's
        # name that is not UTF-8 arrives as lone surrogates: they become JSON's own \udc80.
        text = printable_json(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"
        try:
            write_atomically(self.folder / FILE, text)
        except StorageError as error:
            self.unwritable = str(error)
            raise


def _check_ours(folder: Path) -> None:
    """Refuse a folder in which others could change what was found; they may read it. Raises: NotOurs.

    Those above it are the user's own affair: a CI service may give everybody a workspace to write to.
    """
    status = folder.stat()
    if status.st_uid != os.geteuid():
        found = f"it belongs to another user: {describe(status)}"
        raise NotOurs(str(folder), found, "name a folder of your own: --evidence DIR")
    check_writers(str(folder), status)


def _lock(path: Path) -> int | None:
    """The descriptor of a file that is there and locked; None where another process has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):  # its holder has just removed it: that lock keeps nobody out
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:  # a file system without locks: better a run than none
            return descriptor
        os.close(descriptor)


def _refusal(folder: Path, devices: list[str]) -> InputError:
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
    """The samples and replays that the evidence in a folder names; other files there are not ours to remove."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        checks = [check for cell in content["cells"] for check in cell["checks"]] if content["schema"] == 1 else []
        names = [(home, check.get(key)) for check in checks for home, key in ((SAMPLES, "raw"), (REPLAY, "replay"))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    for home, name in names:
        parts = PurePosixPath(name).parts if isinstance(name, str) else ()
        if len(parts) == 2 and parts[0] == home and parts[1] != "..":  # the file says it: it is not taken at its word
            yield folder / home / parts[1]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _commit(root: Path) -> str | None:
    """The commit of the user's repository, "+changes" behind it where the tree has any; None without git."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, errors="replace", timeout=10, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None
