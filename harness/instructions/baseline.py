"""Baselines: instruction counts that a person has committed, with which later runs are compared.

The file is baselines/DEVICE.json beside pytest.ini, written by ``--write-baseline``:

    {"schema": 1, "device": …, "cells": [{"model": …, "backend": …, "instructions_per_inference": …,
      "inputs": {NAME: [TYPE, SIZES]}, "cpu": …, "python": …, "runtime": {PACKAGE: VERSION}, "settings": {…},
      "counted": {…}, "context": {…}, "by_content": {"uniform": …, "samples": …}}]}

``by_content`` is there if the model file has samples: the count on each content is compared with its own baseline,
because the costlier content would hide a change of the other. ``counted`` has the samples' number of calls and hash.

Two counts are compared only if they are of the same inputs at the same sizes, on the same CPU, Python, runtime and
settings, counted in the same way (``IDENTITY``). ``context`` (the exporter, QEMU, the guest's kernel) may differ: it
changes counts by less than the allowance, and the message about a broken limit names what differs.
"""

from __future__ import annotations

import hashlib
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
# The keys of an entry that must be equal for a comparison, and what messages call them.
IDENTITY = {
    "inputs": "inputs",
    "cpu": "CPU",
    "python": "Python",
    "runtime": "versions",
    "settings": "settings",
    "counted": "way of counting",
}
HINT = "if that was meant, write it anew: --write-baseline, and commit it"
# In percent: a count this far below its baseline is reported, for as much could creep in again unnoticed.
WORTH_SAYING = 2.0

Entry = Mapping[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True)
class Baseline:
    """One device's baseline file; ``entries`` by (model, backend), ``sha256`` of its bytes as they were read."""

    path: Path
    entries: Mapping[Key, Entry]
    sha256: str


def baseline_path(root: Path, device: str) -> Path:
    """Return the path of a device's baseline file in the project."""
    return root / FOLDER / f"{device}.json"


def read_baseline(root: Path, device: str) -> Baseline | None:
    """Read a device's baseline file; return None if there is none.

    Raises:
        InputError: The file cannot be read, or is no baseline of this device.
    """
    path = baseline_path(root, device)
    try:
        data = path.read_bytes()
        content = json.loads(data.decode("utf-8"))
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
    return Baseline(path, entries, hashlib.sha256(data).hexdigest())


def _check(entry: Entry) -> None:
    for value in (entry[VALUE], *dict(entry.get(BY_CONTENT, {})).values()):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{VALUE} {value!r}")
    for key in (*IDENTITY, "context"):
        entry[key]
    dict(entry["context"])


@dataclass(frozen=True)
class Comparison:
    """A cell's instruction count today, beside the baseline's.

    Attributes:
        entry: The baseline's entry; None if the file has none for the cell.
        now: The entry that ``--write-baseline`` would write today.
        percent: How far today's count may lie above the baseline's, in percent.
        source: The baseline's file, for messages.
    """

    entry: Entry | None
    now: Entry
    percent: float
    source: str

    def of(self, content: str) -> Comparison:
        """Return the comparison for one content, with the baseline's count of that content if it has one."""
        counts = self.entry.get(BY_CONTENT, {}) if self.entry is not None else {}
        if self.entry is None or content not in counts:
            return self
        return replace(self, entry={**self.entry, VALUE: counts[content]})

    @property
    def doubt(self) -> str:
        """Explain why the two counts cannot be compared; "" if they can."""
        if self.entry is None:
            return f"{self.source} has no count of this model and backend: --write-baseline adds it"
        if not (differences := _changes(self.entry, self.now, IDENTITY)):
            return ""
        return f"the baseline in {self.source} is of another model or other versions ({differences}); {HINT}"

    def limit(self, key: str, value: float) -> Limit:
        """Make the limit that follows from the baseline, or one that cannot be judged if they cannot be compared.

        Args:
            key: The limit's key.
            value: Today's count, for the remark on a broken limit.
        """
        source = f"{self.source} + {self.percent:g} %"
        if self.entry is None or self.doubt:
            return Limit(key, math.inf, source, invalid_reason=self.doubt)
        bound = self.entry[VALUE] * (1 + self.percent / 100)
        return Limit(key, bound, source, remark=self._remark(self.entry, value))

    def _remark(self, entry: Entry, value: float) -> str:
        """Say how far the count is above the baseline, what else has changed since, and what to do."""
        context: Entry = entry["context"]
        changed = _changes(context, self.now["context"], {key: key for key in context})
        context_note = f" Not as it was then: {changed}." if changed else ""
        return f"The baseline's {entry[VALUE]:,} {self._over(value):+.2f} %.{context_note} {HINT[0].upper()}{HINT[1:]}"

    def gained(self, value: float) -> str:
        """Note that the model costs clearly less than its baseline says; "" if it does not."""
        if self.entry is None or self.doubt or self._over(value) > -WORTH_SAYING:
            return ""
        return (
            f"{-self._over(value):.1f} % fewer instructions than the baseline in {self.source}: "
            "--write-baseline keeps what was gained"
        )

    def described(self, value: float) -> dict[str, Any]:
        """Describe the comparison for the evidence: {"file", "value", "over_percent"}, or {"file", "refused"}.

        Where the baseline has a count of each content, these are "by_content".
        """
        if self.entry is None or self.doubt:
            return {"file": self.source, "refused": self.doubt}
        each = {BY_CONTENT: dict(self.entry[BY_CONTENT])} if self.entry.get(BY_CONTENT) else {}
        return {"file": self.source, "value": self.entry[VALUE], **each, "over_percent": round(self._over(value), 3)}

    def _over(self, value: float) -> float:
        return 100 * (value / self.entry[VALUE] - 1) if self.entry else 0.0


def _changes(before: Entry, now: Entry, names: Mapping[str, str]) -> str:
    """List which of the keys of `names` differ, under their names for a person, and how; "" if none does."""
    changes = {name: _change(before, now, key) for key, name in names.items()}
    return "; ".join(f"{name}: {change}" for name, change in changes.items() if change)


def _change(before: Entry, now: Entry, key: str) -> str:
    """Describe how the value of one key differs, as "before → now"; "" if it does not."""
    old, new = before.get(key), now.get(key)
    if old == new:
        return ""
    if isinstance(old, dict) and isinstance(new, dict):
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        return ", ".join(f"{name} {_format(old.get(name))} → {_format(new.get(name))}" for name in names)
    return f"{_format(old)} → {_format(new)}"


def _format(value: object) -> str:
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)


def write_baselines(root: Path, counted: Iterable[tuple[Cell, Entry]]) -> list[Path]:
    """Write counts into the baseline files of their devices; entries of other cells stay as they are.

    Returns:
        The files that were written.

    Raises:
        InputError: An existing file cannot be read.
        StorageError: A file cannot be written.
    """
    by_device: dict[str, dict[Key, Entry]] = {}
    for cell, entry in counted:
        by_device.setdefault(cell.device.name, {})[(entry["model"], entry["backend"])] = entry
    paths = []
    for device, entries in by_device.items():
        before = read_baseline(root, device)
        merged = {**(before.entries if before else {}), **entries}
        content = {"schema": SCHEMA, "device": device, "cells": [merged[key] for key in sorted(merged)]}
        paths.append(baseline_path(root, device))
        write_atomically(paths[-1], printable_json(json.dumps(content, indent=1, ensure_ascii=False)) + "\n")
    return paths
