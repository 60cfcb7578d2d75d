"""What a run counts: of which cells, by which guest, beside which baseline."""

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
from ..errors import AgentTimeout, DeviceError, EmulatorError, ImpossibleReport, LinkError, StorageError
from ..evidence.evidence import Evidence
from ..export.onnx import node_modules
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

# Behind it, in the evidence, the counts of each inference.
RAW = "instructions"


@dataclass
class Counter:
    """The instructions that a run counts. ``wanted`` are the ids of the cells that a test asks for."""

    options: Options
    evidence: Evidence
    wanted: set[str] = field(default_factory=set)
    _guest: CountingGuest | None = None
    _bundles: dict[str, Bundle] = field(default_factory=dict)
    _samples: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _entries: dict[str, tuple[Cell, Entry]] = field(default_factory=dict)

    def begin(self, cell: Cell, bundle: Bundle, content: Callable[[ModelFile], Content]) -> None:
        """Begin to count a cell, beside all else, if it is wanted.

        Args:
            content: asked for what is counted.
        """
        if cell.id not in self.wanted or not cell.device.emulated:
            return
        if self._guest is None or self._guest.counts_for != cell.device:
            self.close()
            options = self.options
            self._guest = CountingGuest(cell.device, profile=options.profile, time_limit_s=options.time_limit_s)
        self._bundles[cell.id] = bundle
        counted = content(cell.file)
        self._samples[cell.id] = counted.identity()
        self._guest.begin(cell, bundle, counted)

    def finding(self, cell: Cell) -> Finding:
        """A cell's count, waited for.

        Raises:
            DeploymentError: the model cannot be run there.
        """
        if not cell.device.emulated:
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
        record.notes += [note for note in count.notes if note not in record.notes]
        count = replace(count, operators=_with_modules(count.operators, self._bundles[cell.id]))
        raw = self.evidence.save_samples(cell, np.concatenate([each.blocks[0] for each in count.contents]), RAW)
        now = self._entry(cell, count)
        comparison = self._comparison(cell, now)
        found = instructions.instructions(count, raw, comparison)
        counts = instructions.counts(count)
        if comparison is not None:
            record.notes += _gained(comparison, counts)
        more = {BY_CONTENT: counts} if len(count.contents) > 1 else {}
        self._entries[cell.id] = cell, {**now, VALUE: max(counts.values()), **more}
        return found

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
        """What a baseline says of a cell, without the count itself."""
        facts = self.evidence[cell].facts
        fingerprint: Mapping[str, Any] = facts["fingerprint"]
        model = cell.file.model
        emulator: Mapping[str, Any] = count.described["emulator"]
        return {
            "model": cell.file.name,
            "backend": cell.backend.name,
            "inputs": {item.name: [item.dtype, list(item.sizes(model.measure))] for item in model.inputs},
            "cpu": fingerprint["cpu"],
            "python": fingerprint["python"],
            "runtime": {**fingerprint["runtime"], **count.load.runtime},
            "settings": dict(count.load.settings),
            "counted": {
                **{key: count.described[key] for key in ("icount_shift", "cpus", "before")},
                "input_sets": "one for each inference",
                "contents": [each.name for each in count.contents],
                **self._samples[cell.id],
            },
            "context": {
                "exporter": facts["artifact"]["exporter"],
                "kernel": fingerprint["kernel"],
                "qemu": emulator["qemu"],
                "image": emulator["image"],
                "samples": count.contents[0].count,  # by the model's own size: a costlier one may have fewer
            },
        }

    def write_baseline(self) -> list[str]:
        """Keep what was counted of the cells that did not fail; returns what is to be said of it.

        Raises:
            InputError: a file that is there cannot be read.
            StorageError: it cannot be written.
        """
        kept = [(cell, entry) for cell, entry in self._entries.values() if not self._failed(cell)]
        failed = [cell for cell, _ in self._entries.values() if self._failed(cell)]
        lines = [f"baseline: {cell.id} failed or was interrupted, and is not kept" for cell in failed]
        for path in write_baselines(self.options.root, kept):
            count = sum(baseline_path(self.options.root, cell.device.name) == path for cell, _ in kept)
            lines.append(f"baseline: {path} ({count} counted now); commit it")
        return lines if kept else [*lines, "baseline: none was written, for nothing was counted"]

    def _failed(self, cell: Cell) -> bool:
        """Whether a cell says nothing that later ones could be held to: it failed, or ran on what was damaged."""
        record = self.evidence[cell]
        return record.verdict is Verdict.FAIL or bool(record.interruptions)

    @property
    def anything_kept(self) -> bool:
        """Whether there is something for a baseline to be made of."""
        return any(not self._failed(cell) for cell, _ in self._entries.values())

    def close(self) -> None:
        """End the guest. Never raises."""
        if self._guest is not None:
            self._guest.close()
        self._guest = None


def _gained(comparison: Comparison, counts: Mapping[str, int]) -> list[str]:
    """What each content costs less than in the baseline, for the notes."""
    gained = {name: comparison.of(name).gained(value) for name, value in counts.items()}
    return [f"{name}: {said}" if len(counts) > 1 else said for name, said in gained.items() if said]


def _with_modules(operators: Sequence[Mapping[str, Any]], bundle: Bundle) -> list[Mapping[str, Any]]:
    """The same with the model's module that each came from, "" where nobody noted it."""
    path = bundle.files[bundle.entry].source
    modules = node_modules(path) if operators and path.suffix == ".onnx" else {}
    # ONNX Runtime names a node that it made of several by the first of them.
    return [{**one, "module": modules.get(one["name"].removeprefix("fused "), "")} for one in operators]
