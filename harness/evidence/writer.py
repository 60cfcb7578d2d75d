"""The writer of evidence.json: all cells, and all that is needed to believe them. Written anew after every check.

What is in the file is in ``schema``. Until the run's end its verdict is INCONCLUSIVE: a run that was killed keeps what
it measured, and is never read as a PASS. So the verdict is written when all else is done that takes time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..bundle import Bundle
from ..cell import Cell
from ..checks.check import NOTHING, Check, Verdict, overall
from ..errors import HilgateError, StorageError
from ..host.cache import write_atomically
from ..model.model import Array
from ..printable import printable_json
from .cell_record import CellRecord
from .decision_entry import DecisionEntry
from .folder import FILE, ResultsFolder
from .parts import describe_bundle, describe_check
from .schema import SCHEMA, Allowed, AnswersEntry, Asked, CheckEntry, FileEntry, HarnessTime, RunEntry


class Evidence:
    """The evidence of one run, in a folder that keeps no other run's.

    ``begin`` comes first; ``finish`` and one more ``write`` come last. In between every ``add_…`` writes the whole
    file; whoever changes a record itself calls ``write``, or leaves it to the next check.

    Attributes:
        records: each cell's record, by ``Cell.key``.
        asked: what was asked for on the command line.
        files: the user's files that decided what was run, and by which limits.
        harness: where the run's time went; empty until its end.
        decision: of each model and device; empty until its end.
        begun: whether the folder is ours and the file was written at least once.
        sha256: of the file's bytes, as they were written last; "" before.
        unwritable: why the file cannot be written any more, "" where it can.
    """

    def __init__(self, folder: Path, cells: Iterable[Cell], commit: str | None = None) -> None:
        self.records = {cell.key: CellRecord(cell) for cell in cells}
        self.started = datetime.now(UTC)
        self.finished: datetime | None = None
        self.commit = commit
        self.asked = Asked()
        self.files: list[FileEntry] = []
        self.harness = HarnessTime()
        self.decision: list[DecisionEntry] = []
        self.begun = False
        self.sha256 = ""
        self.unwritable = ""
        self._results = ResultsFolder(folder)

    def __getitem__(self, cell: Cell) -> CellRecord:
        return self.records[cell.key]

    @property
    def folder(self) -> Path:
        """Where evidence.json is, and the files that it names."""
        return self._results.path

    def claim(self) -> None:
        """Make the folder, and have it to ourselves until ``release``, or until this process ends.

        Raises:
            InputError: another run has it.
            StorageError: the folder cannot be written.
        """
        devices = sorted({record.cell.device.name for record in self.records.values()})
        self._results.claim(devices=devices, started=_stamp(self.started))

    def release(self) -> None:
        """Let another run have the folder; nothing of the lock stays there."""
        self._results.release()

    def begin(self) -> None:
        """Remove what an earlier run left, and write the first evidence, without any check.

        Raises:
            InputError: another run has the folder.
            StorageError: the folder cannot be written.
        """
        self.claim()
        self._results.clean()
        self.write()
        self.begun = True

    def add_check(self, cell: Cell, check: Check) -> CheckEntry:
        """Record a check and write the evidence; return the check's entry there.

        Raises:
            InputError: its finding has a value that the evidence does not take; the check is not recorded.
            StorageError: the evidence cannot be written.
        """
        # Before it is recorded: one that cannot be written would keep all others from it.
        entry = describe_check(check, self._results.sums, self._results.beside)
        record = self[cell]
        record.checks.append(check)
        record.add_notes(check.finding.notes)
        self.write()
        return entry

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
            if record.cell.device.name == device and (record.pending or not record.has_outcome):
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

    def add_bundle(self, cell: Cell, bundle: Bundle) -> None:
        """Record what is deployed for a cell, and write the evidence, and the bundle's manifest beside it.

        Raises:
            StorageError: they cannot be written.
        """
        self[cell].bundle = describe_bundle(bundle)
        self.write()  # first, so that the next run finds the manifest's name there if this one is killed in between
        self._results.save_manifest(bundle.sha256, bundle.manifest)

    def save_samples(
        self,
        cell: Cell,
        samples: Array,
        kind: str = "",
        inputs: Array | None = None,
        failures: Array | None = None,
        first_parts: Array | None = None,
        sides: Array | None = None,
    ) -> str:
        """Write a cell's raw samples beside the evidence, which inputs they had, and what became of calls.

        Args:
            cell: the cell, which names the file.
            samples: int64[n]; durations in nanoseconds, unless ``kind`` says otherwise.
            kind: what other samples are, such as "instructions"; it becomes part of the file's name.
            inputs: the number of each sample's input, int64[n]; None where no bound depends on it.
            failures: how the call of each sample failed, int64[n]; None where none failed.
            first_parts: when the first part of each answer came, int64[n]; None where answers came whole.
            sides: which side answered each, int64[n]; None without a fallback.

        Returns:
            The file's path, relative to the evidence's folder.

        Raises:
            StorageError: it cannot be written.
        """
        before = dict(self._results.sums)
        stem = "-".join(filter(None, [cell.id, kind]))
        name = self._results.save_samples(stem, samples, inputs, failures, first_parts, sides)
        if self.begun and any(self._results.sums[path] != sha256 for path, sha256 in before.items()):
            self.write()  # checks that name the file have the hash of what was there before
        return name

    def save_answers(self, cell: Cell, arrays: Mapping[str, Array], allowed: list[list[Allowed]]) -> None:
        """Save what a release of a cell compares its own answers with, and write the evidence.

        Args:
            cell: the cell, which names the file.
            arrays: by their names in the file; see AnswersEntry.
            allowed: of each case, for each output.

        Raises:
            StorageError: they cannot be written.
        """
        path = self._results.save_answers(cell.id, arrays)
        self[cell].answers = AnswersEntry(path=path, sha256=self._results.sums[path], allowed=allowed)
        self.write()

    def drop_answers(self, cell: Cell) -> None:
        """Remove the answers of a cell that turned out not to be right, if any were saved, and write the evidence.

        Raises:
            StorageError: they cannot be removed, or the evidence cannot be written.
        """
        if (answers := self[cell].answers) is not None:
            self[cell].answers = None
            self.write()  # first: what it names is there
            self._results.remove_answers(answers.path)

    def save_signature(self, content: str) -> Path:
        """Write the signed statement on the evidence, after its last change; return its path. Raises: StorageError."""
        return self._results.save_signature(content)

    @property
    def verdict(self) -> Verdict:
        """The run's verdict: the worst of all its cells', and INCONCLUSIVE until it has ended."""
        if self.finished is None:
            return Verdict.INCONCLUSIVE
        return overall([record.verdict for record in self.records.values()])

    def finish(self, *, keep: Iterable[Cell]) -> None:
        """End the run. The file does not say so before it is written.

        Args:
            keep: the cells that stay in it: those of which a test was selected.
        """
        keys = {cell.key for cell in keep}
        self.records = {key: record for key, record in self.records.items() if key in keys}
        self.finished = datetime.now(UTC)

    def make_entry(self) -> RunEntry:
        """Assemble the whole file from the cells' records, which may lack any part."""
        content = {
            "schema": SCHEMA,
            "tool": f"hilgate {__version__}",
            "started": _stamp(self.started),
            "finished": _stamp(self.finished) if self.finished else None,
            "commit": self.commit,
            "verdict": self.verdict,
            "asked": self.asked,
            "harness": self.harness,
            "files": self.files,
            "cells": [record.make_entry(self._results.sums, self._results.beside) for record in self.records.values()],
            "decision": self.decision,
        }
        return RunEntry.model_validate(content)

    def write(self) -> None:
        """Write evidence.json, whole or not at all.

        Raises:
            StorageError: it cannot be written. Raised once: the run goes on to its summary.
        """
        if self.unwritable:
            return
        content = self.make_entry().as_json()
        # Texts of a device or a model stay as they are, for they are data; but a person who reads the file on a
        # terminal must not obey them. A folder's name that is not UTF-8 arrives as lone surrogates: they become
        # JSON's own \udc80.
        text = printable_json(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"
        try:
            write_atomically(self.folder / FILE, text)
            self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        except StorageError as error:
            self.unwritable = str(error)
            raise


def _stamp(moment: datetime) -> str:
    """Write a moment as UTC in ISO 8601, to the second."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
