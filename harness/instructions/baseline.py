"""Baselines: counts of instructions that a person has committed, and that later runs are compared with.

baselines/DEVICE.json beside pytest.ini, written by ``--write-baseline``:

    {"schema": 1, "device": …, "cells": [{"model": …, "backend": …, "instructions_per_inference": …,
      "inputs": {NAME: [TYPE, SIZES]}, "cpu": …, "python": …, "runtime": {PACKAGE: VERSION}, "settings": {…},
      "counted": {…}, "context": {…}, "by_content": {"uniform": …, "samples": …}}]}

``by_content`` is there where the model file has samples: each content's count is compared with its own, for the
costlier one would hide what becomes of the other. ``counted`` says how many calls the samples are, and has their hash.

A count is compared only with one of the same: the same inputs at the same sizes, the same CPU, Python, runtime and
settings, counted in the same way. ``context`` (the exporter, QEMU, the guest's kernel) may differ by less than is
allowed; where a limit is broken, what differs is said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..cell import Cell
from ..checks.limits import Limit
from ..errors import InputError
from ..host.cache import write_atomically
from ..printable import printable_json

FOLDER = "baselines"
SCHEMA = 1
VALUE = "instructions_per_inference"
BY_CONTENT = "by_content"
# What must be the same, and how it is called.
IDENTITY = {
    "inputs": "inputs",
    "cpu": "CPU",
    "python": "Python",
    "runtime": "versions",
    "settings": "settings",
    "counted": "way of counting",
}
HINT = "if that was meant, write it anew: --write-baseline, and commit it"
# A count that is so many percent below the baseline leaves room for as many to creep in again.
WORTH_SAYING = 2.0

Entry = Mapping[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True)
class Baseline:
    """One device's file; ``entries`` by (model, backend)."""

    path: Path
    entries: Mapping[Key, Entry]


def baseline_path(root: Path, device: str) -> Path:
    """Where a device's is, in the project."""
    return root / FOLDER / f"{device}.json"


def read_baseline(root: Path, device: str) -> Baseline | None:
    """A device's baseline; None where there is none.

    Raises:
        InputError: it cannot be read, or is not one.
    """
    path = baseline_path(root, device)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA or content["device"] != device:
            raise ValueError(f"schema {content['schema']!r}, device {content['device']!r}")
        entries = {(entry["model"], entry["backend"]): entry for entry in content["cells"]}
        for entry in entries.values():
            _check(entry)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "a baseline cannot be read",
            wanted=f'a file that --write-baseline wrote: {{"schema": {SCHEMA}, "device": "{device}", "cells": […]}}',
            found=f"{type(error).__name__}: {error}",
            where=str(path),
            hint="take an older one from git, or remove it and write it anew: --write-baseline",
        ) from error
    return Baseline(path, entries)


def _check(entry: Entry) -> None:
    for value in (entry[VALUE], *dict(entry.get(BY_CONTENT, {})).values()):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{VALUE} {value!r}")
    for key in (*IDENTITY, "context"):
        entry[key]
    dict(entry["context"])


@dataclass(frozen=True)
class Comparison:
    """A cell's count beside its baseline's.

    Attributes:
        entry: the baseline's; None where the file has none for the cell.
        now: what would be written of the cell today.
        percent: how far the count may lie above.
        source: the file, for messages.
    """

    entry: Entry | None
    now: Entry
    percent: float
    source: str

    def of(self, content: str) -> Comparison:
        """The same with the baseline's count of one content, where it has one of each."""
        counts = self.entry.get(BY_CONTENT, {}) if self.entry is not None else {}
        if self.entry is None or content not in counts:
            return self
        return replace(self, entry={**self.entry, VALUE: counts[content]})

    @property
    def doubt(self) -> str:
        """Why the two cannot be compared; "" where they can."""
        if self.entry is None:
            return f"{self.source} has no count of this model and backend: --write-baseline adds it"
        wrong = _changes(self.entry, self.now, IDENTITY)
        other = f"the baseline in {self.source} is of another model or other versions ({wrong}); {HINT}"
        return other if wrong else ""

    def limit(self, key: str, value: float) -> Limit:
        """The upper bound that follows from the baseline; one that cannot be judged where they cannot be compared."""
        source = f"{self.source} + {self.percent:g} %"
        if self.entry is None or self.doubt:
            return Limit(key, math.inf, source, invalid_reason=self.doubt)
        bound = self.entry[VALUE] * (1 + self.percent / 100)
        return Limit(key, bound, source, remark=self._remark(self.entry, value))

    def _remark(self, entry: Entry, value: float) -> str:
        """By how much it is broken, what else is not as it was, and what to do."""
        context: Entry = entry["context"]
        changed = _changes(context, self.now["context"], {key: key for key in context})
        beside = f" Not as it was then: {changed}." if changed else ""
        return f"The baseline's {entry[VALUE]:,} {self._over(value):+.2f} %.{beside} {HINT[0].upper()}{HINT[1:]}"

    def gained(self, value: float) -> str:
        """That the model costs clearly less than its baseline says; "" where it does not."""
        if self.entry is None or self.doubt or self._over(value) > -WORTH_SAYING:
            return ""
        return (
            f"{-self._over(value):.1f} % fewer instructions than the baseline in {self.source}: "
            "--write-baseline keeps what was gained"
        )

    def described(self, value: float) -> dict[str, Any]:
        """For the evidence."""
        if self.entry is None or self.doubt:
            return {"file": self.source, "refused": self.doubt}
        return {"file": self.source, "value": self.entry[VALUE], "over_percent": round(self._over(value), 3)}

    def _over(self, value: float) -> float:
        return 100 * (value / self.entry[VALUE] - 1) if self.entry else 0.0


def _changes(before: Entry, now: Entry, names: Mapping[str, str]) -> str:
    """What differs, of these keys with their names for a person."""
    changes = {name: _change(before, now, key) for key, name in names.items()}
    return "; ".join(f"{name}: {change}" for name, change in changes.items() if change)


def _change(before: Entry, now: Entry, key: str) -> str:
    """What was and what is, of one key, as far as they differ."""
    was, found = before.get(key), now.get(key)
    if was == found:
        return ""
    if isinstance(was, dict) and isinstance(found, dict):
        names = [name for name in {**was, **found} if was.get(name) != found.get(name)]
        return ", ".join(f"{name} {_said(was.get(name))} → {_said(found.get(name))}" for name in names)
    return f"{_said(was)} → {_said(found)}"


def _said(value: object) -> str:
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)


def write_baselines(root: Path, counted: Iterable[tuple[Cell, Entry]]) -> list[Path]:
    """Write what was counted into its devices' files; what they have of other cells stays.

    Raises:
        InputError: a file that is there cannot be read.
        StorageError: it cannot be written.
    """
    by_device: dict[str, dict[Key, Entry]] = {}
    for cell, entry in counted:
        by_device.setdefault(cell.device.name, {})[(entry["model"], entry["backend"])] = entry
    paths = []
    for device, entries in by_device.items():
        before = read_baseline(root, device)
        every = {**(before.entries if before else {}), **entries}
        content = {"schema": SCHEMA, "device": device, "cells": [every[key] for key in sorted(every)]}
        paths.append(baseline_path(root, device))
        write_atomically(paths[-1], printable_json(json.dumps(content, indent=1, ensure_ascii=False)) + "\n")
    return paths
