"""Counting a run's instructions: for which cells, on which guest, compared with which baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..cell import Cell
from ..checks.check import Verdict
from ..checks.finding import Finding
from ..deploy.content import Content
from ..deploy.drawn import COUNTED_AT_LARGEST
from ..errors import AgentTimeout, DeviceError, EmulatorError, ImpossibleReport, LinkError, StorageError
from ..evidence.schema import Fingerprint
from ..evidence.writer import Evidence
from ..export import Format, load_format
from ..instructions.baseline import (
    BY_CONTENT,
    VALUE,
    Comparison,
    Entry,
    baseline_path,
    read_baseline,
    write_baselines,
)
from ..instructions.counting import Count, CountingGuest
from ..measure import instructions
from ..model.model_file import ModelFile
from .options import Options

# What the raw counts of each inference are called in the evidence's folder.
RAW = "instructions"


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A cell whose count was begun.

    Attributes:
        samples: which inputs are counted, in a form that can be compared.
        fingerprint: the cell's device, of which the counting guest is a twin.
        exporter: what made the artifact.
    """

    bundle: Bundle
    samples: Mapping[str, Any]
    fingerprint: Fingerprint
    exporter: str


@dataclass(kw_only=True)
class Counter:
    """Counts a run's instructions, on a guest of its own, beside all else that the run does.

    Attributes:
        requested: the ids of the cells whose count a test asks for.
    """

    options: Options
    evidence: Evidence
    requested: set[str] = field(default_factory=set)
    _guest: CountingGuest | None = None
    _begun: dict[str, _Begun] = field(default_factory=dict)
    _entries: dict[str, tuple[Cell, Entry]] = field(default_factory=dict)

    def begin(
        self,
        cell: Cell,
        bundle: Bundle,
        content: Callable[[ModelFile], Content],
        fingerprint: Fingerprint,
        exporter: str,
    ) -> None:
        """Begin to count a cell, if a test asks for it and its device is emulated; returns at once.

        Args:
            cell: the cell.
            bundle: what is deployed for it, on its device and on the counting guest.
            content: returns a model's inputs that are counted; called only if they are.
            fingerprint: the cell's device.
            exporter: what made the artifact, for the baseline.
        """
        if cell.id not in self.requested or not cell.device.can_count or cell.backend.remote:
            return
        if self._guest is None or self._guest.counts_for != cell.device:
            self.close()
            options = self.options
            self._guest = CountingGuest(cell.device, profile=options.profile, time_limit_s=options.time_limit_s)
        timed = content(cell.file)
        counted = timed.at_largest()
        if timed.drawn is not None:
            self.evidence[cell].add_notes([COUNTED_AT_LARGEST])
        self._begun[cell.id] = _Begun(
            bundle=bundle, samples=counted.identity(), fingerprint=fingerprint, exporter=exporter
        )
        self._guest.begin(cell, bundle, counted)

    def finding(self, cell: Cell) -> Finding:
        """Wait for a cell's count, and compare it with the baseline that was committed.

        Raises:
            DeploymentError: the model cannot be run there.
        """
        if not cell.device.can_count:
            return instructions.not_counted()
        if self._guest is None:
            raise RuntimeError(f"{cell.id} was not begun to be counted")
        try:
            count = self._guest.result(cell)
        except (DeviceError, LinkError, EmulatorError, StorageError, AgentTimeout) as error:  # of the twin alone
            return instructions.unreachable(f"{error.what}; {error.found}".rstrip("; "))
        except ImpossibleReport as error:
            return instructions.refused(error.what)
        record = self.evidence[cell]
        record.add_notes(count.notes)
        artifact_format = load_format(cell.backend.artifact)
        count = replace(count, operators=_with_modules(count.operators, self._begun[cell.id].bundle, artifact_format))
        counted, numbers = (
            np.concatenate([getattr(each, name)[0] for each in count.contents]) for name in ("processes", "numbers")
        )
        raw = self.evidence.save_samples(cell, counted, RAW, numbers)
        now = self._entry(cell, count)
        comparison = self._comparison(cell, now)
        finding = instructions.instructions(count, raw, comparison)
        counts = instructions.counts(count)
        if comparison is not None:
            record.notes += _gained(comparison, counts)
        more = {BY_CONTENT: counts} if len(count.contents) > 1 else {}
        self._entries[cell.id] = cell, {**now, VALUE: max(counts.values()), **more}
        return finding

    def _comparison(self, cell: Cell, now: Entry) -> Comparison | None:
        if self.options.write_baseline:
            return None  # it is about to be replaced
        baseline = read_baseline(self.options.root, cell.device.name)
        if baseline is None:
            return None
        percent = cell.limit_value(instructions.ALLOWANCE)
        source = str(baseline.path.relative_to(self.options.root))
        entry = baseline.entries.get((cell.file.name, cell.backend.name))
        return Comparison(entry, now, instructions.DEFAULT_PERCENT if percent is None else percent, source)

    def _entry(self, cell: Cell, count: Count) -> dict[str, Any]:
        """Make a cell's entry in a baseline, without the count itself."""
        begun = self._begun[cell.id]
        fingerprint = begun.fingerprint
        model = cell.file.model
        emulator: Mapping[str, Any] = count.described["emulator"]
        return {
            "model": cell.file.name,
            "backend": cell.backend.name,
            "inputs": {item.name: [item.dtype, list(item.sizes(model.measured_sizes))] for item in model.inputs},
            "cpu": fingerprint.cpu,
            "python": fingerprint.python,
            "runtime": {**fingerprint.runtime, **count.load.runtime},
            "settings": dict(count.load.settings),
            "counted": {
                **{key: count.described[key] for key in ("icount_shift", "cpus", "before")},
                "input_sets": "one for each inference",
                "contents": [each.name for each in count.contents],
                **begun.samples,
            },
            "context": {
                "exporter": begun.exporter,
                "kernel": fingerprint.kernel,
                "qemu": emulator["qemu"],
                "image": emulator["image"],
                "samples": count.contents[0].count,  # by the model's own size: a costlier one may have fewer
            },
        }

    def write_baseline(self) -> list[str]:
        """Write the counts of all cells that did not fail to their devices' baselines.

        Returns:
            Lines for the end of the run: what was written, and what was not.

        Raises:
            InputError: a baseline exists and cannot be read.
            StorageError: one cannot be written.
        """
        counted = [(cell, entry) for cell, entry in self._entries.values() if not self._is_unusable(cell)]
        failed = [cell for cell, _ in self._entries.values() if self._is_unusable(cell)]
        lines = [f"baseline: {cell.id} failed or was interrupted, and is not kept" for cell in failed]
        for path in write_baselines(self.options.root, counted):
            count = sum(baseline_path(self.options.root, cell.device.name) == path for cell, _ in counted)
            lines.append(f"baseline: {path} ({count} counted now); commit it")
        return lines if counted else [*lines, "baseline: none was written, for nothing was counted"]

    def _is_unusable(self, cell: Cell) -> bool:
        """Tell whether later runs cannot be held to a cell: it failed, or ran on files that were damaged."""
        record = self.evidence[cell]
        return record.verdict is Verdict.FAIL or bool(record.interruptions)

    @property
    def has_counts(self) -> bool:
        """Whether any cell has a count that a baseline can be made of."""
        return any(not self._is_unusable(cell) for cell, _ in self._entries.values())

    def close(self) -> None:
        """End the guest. Never raises."""
        if self._guest is not None:
            self._guest.close()
        self._guest = None


def _gained(comparison: Comparison, counts: Mapping[str, int]) -> list[str]:
    """Note for each content by how much less it costs than in the baseline."""
    gained = {name: comparison.of(name).gained(value) for name, value in counts.items()}
    return [f"{name}: {said}" if len(counts) > 1 else said for name, said in gained.items() if said]


def _with_modules(
    operators: Sequence[Mapping[str, Any]], bundle: Bundle, artifact_format: Format
) -> list[Mapping[str, Any]]:
    """Add to each operator the module of the model that it came from, "" where the artifact does not say."""
    modules = artifact_format.node_modules(bundle.files[bundle.entry].source) if operators else {}
    # ONNX Runtime names a node that it made of several by the first of them.
    return [{**one, "module": modules.get(one["name"].removeprefix("fused "), "")} for one in operators]
