"""A cell of evidence rebuilt: its measurement, made again of raw samples, and what else its files tell.

Nothing here believes a path or a number of the evidence: files are read as harness.evidence.samples reads them, and
what does not fit raises NotMadeAgain, whose text says which key and why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..checks.limits import Limit
from ..evidence.folder import BUNDLES
from ..evidence.samples import (
    ReadSamples,
    Refused,
    read_beside,
    read_raw_failures,
    read_raw_first_parts,
    read_raw_inputs,
    read_raw_sides,
    read_samples,
)
from ..evidence.schema import CellEntry, CheckEntry, RunEntry
from ..evidence.timed_entry import TimedEntry
from ..measure.account import rebuild, states_of, why_account_doubtful
from ..measure.measurement import Measurement
from ..model.model import Array
from ..model.sensor_clock import SensorClock, read_clock

OLDER = "an older hilgate wrote this evidence: run the tests again"


class NotMadeAgain(Exception):
    """Why a check cannot be made again: "KEY: why"."""


@dataclass(frozen=True, kw_only=True)
class RebuiltCell:
    """One cell of evidence, and what its checks are made again of.

    Attributes:
        folder: Where the evidence.json lies.
        run: The whole evidence.
        cell: The cell.
        limits: The limits that count now, on all metrics.
    """

    folder: Path
    run: RunEntry
    cell: CellEntry
    limits: Sequence[Limit]
    _measured: dict[tuple[str | None, ...], Measurement] = field(default_factory=dict)

    def limit_value(self, key: str) -> float | None:
        """Return the strictest value that is set under a limit's key and can be judged; None where none is."""
        values = (limit.value for limit in self.limits if limit.key == key and not limit.invalid_reason)
        return min(values, default=None)

    @cached_property
    def clock(self) -> SensorClock | None:
        """The sensor's clock of the model file.

        Raises:
            NotMadeAgain: It is none that a model file can declare.
        """
        entry = self.cell.clock
        try:
            return None if entry is None else read_clock(entry.rate_hz, entry.late)
        except Exception as error:
            raise NotMadeAgain(f"clock: {error}") from error

    @property
    def warm_ups(self) -> list[Mapping[str, Any]]:
        """The report of each process's warm-up."""
        fingerprint = self.cell.fingerprint
        return [each.model_dump() for each in (fingerprint.warm_up if fingerprint else None) or []]

    @cached_property
    def account(self) -> TimedEntry:
        """How the raw samples are cut, and the device's states; it does not contradict the fingerprint.

        Raises:
            NotMadeAgain: It is not there, or does.
        """
        timed, fingerprint = self.cell.timed, self.cell.fingerprint
        if timed is None:
            raise NotMadeAgain(f"timed: the cell does not say how its samples were taken; {OLDER}")
        if problem := why_account_doubtful(timed, self.clock, self.warm_ups):
            raise NotMadeAgain(f"timed: {problem}")
        if timed.states:
            ends = {"state_before": timed.states[0][0], "state_after": timed.states[-1][1]}
            for name, state in ends.items():
                if fingerprint is None or getattr(fingerprint, name) != state:
                    raise NotMadeAgain(f"timed: states: the fingerprint's {name} is another than the processes have")
        return timed

    @cached_property
    def untimed(self) -> Measurement:
        """A measurement with the device's states and nothing else, for what rests on no durations.

        Raises:
            NotMadeAgain: The account is not there, or contradicts the fingerprint.
        """
        return Measurement(states=states_of(self.account), clock=self.clock)

    def measured(self, check: CheckEntry) -> Measurement:
        """Make the measurement again that a check rests on; for all checks of the same raw samples it is made once.

        Raises:
            NotMadeAgain: Its raw samples are not those of the evidence, or do not fit how they are said to be cut.
        """
        inputs_key = check.raw_inputs, check.raw_inputs_sha256
        calls_key = check.raw_failures, check.raw_failures_sha256, check.raw_first_parts, check.raw_first_parts_sha256
        sides_key = check.raw_sides, check.raw_sides_sha256
        key = (check.raw, check.raw_sha256, *inputs_key, *calls_key, *sides_key)
        if key not in self._measured:
            account, clock = self.account, self.clock
            raw, inputs, codes = self.raw(check), self.raw_inputs(check), self.raw_failures(check)
            calls = {"codes": codes, "first_parts": self.raw_first_parts(check), "sides": self.raw_sides(check)}
            try:
                measured = rebuild(account, raw, inputs, **calls, clock=clock, warm_ups=self.warm_ups)
            except ValueError as error:
                raise NotMadeAgain(f"raw: {error}") from error
            self._measured[key] = measured
        return self._measured[key]

    def raw(self, check: CheckEntry) -> Array:
        """Read a check's raw samples, whose bytes have the evidence's hash, and which are no other cell's.

        Raises:
            NotMadeAgain: They cannot be read, or are not verified, or are another cell's.
        """
        found = read_samples(self.folder, check)
        if found.values is None:
            raise NotMadeAgain(f"raw: {found.problem}")
        if not found.is_verified:
            raise NotMadeAgain(f"raw_sha256: {found.remark}")
        for cell in self.run.cells:
            if cell is not self.cell and (metric := _naming(cell, check, is_empty=not len(found.values))):
                name = f"{cell.model}/{cell.device}/{cell.backend}/{metric}"
                raise NotMadeAgain(f"raw: the raw samples {check.raw!r} are those of {name}, another cell")
        return found.values

    def raw_inputs(self, check: CheckEntry) -> Array:
        """Read which input each of a check's raw samples had, likewise.

        Raises:
            NotMadeAgain: The file cannot be read, or is not verified; or an older hilgate has not written it.
        """
        if check.raw_inputs is None:
            raise NotMadeAgain(f"raw_inputs: it is not said which input each raw sample had; {OLDER}")
        found = read_raw_inputs(self.folder, check)
        if found.values is None:
            raise NotMadeAgain(f"raw_inputs: {found.problem}")
        if not found.is_verified:
            raise NotMadeAgain("raw_inputs_sha256: the evidence has no SHA-256 of the file")
        if found.values.ndim > 1:
            raise NotMadeAgain("raw_inputs: they are no int64[n]")
        return found.values

    def raw_failures(self, check: CheckEntry) -> Array | None:
        """Read how the call of each of a check's raw samples failed, likewise; None where it names no such file.

        Raises:
            NotMadeAgain: The file cannot be read, or is not verified.
        """
        if check.raw_failures is None:
            return None
        return _of_calls(read_raw_failures(self.folder, check), "raw_failures")

    def raw_first_parts(self, check: CheckEntry) -> Array | None:
        """Read when the first part of each answer came, likewise; None where the check names no such file.

        Raises:
            NotMadeAgain: The file cannot be read, or is not verified.
        """
        if check.raw_first_parts is None:
            return None
        return _of_calls(read_raw_first_parts(self.folder, check), "raw_first_parts")

    def raw_sides(self, check: CheckEntry) -> Array | None:
        """Read which side answered each of a check's raw samples, likewise; None of a cell without a fallback.

        Raises:
            NotMadeAgain: The file cannot be read, or is not verified; or it is there without a fallback, or the other
                way round: local answers would pass for the endpoint's.
        """
        if (check.raw_sides is None) != (self.cell.fallback is None) and check.samples:
            raise NotMadeAgain("raw_sides: which side answered is said of a cell with a fallback, and of no other")
        if check.raw_sides is None:
            return None
        return _of_calls(read_raw_sides(self.folder, check), "raw_sides")

    def artifact_bytes(self) -> int:
        """Add up the sizes of the artifact's files, as the manifest of the bundle has them that was tested.

        Raises:
            NotMadeAgain: There is no manifest, or not the one that the cell names.
        """
        if self.cell.bundle is None:
            raise NotMadeAgain("bundle: the cell has none, so nothing says how large its artifact is")
        sha256 = self.cell.bundle.sha256
        try:
            content = read_beside(self.folder, BUNDLES, f"{sha256}.json")
        except Refused as refusal:
            raise NotMadeAgain(f"bundle: the bytes of its manifest {refusal}") from refusal
        if hashlib.sha256(content).hexdigest() != sha256:
            raise NotMadeAgain("bundle: the manifest beside the evidence is not the one that the cell names")
        try:
            sizes = [file["bytes"] for path, file in json.loads(content)["files"].items() if _is_artifact(path)]
            return sum(size for size in sizes if type(size) is int)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise NotMadeAgain("bundle: the manifest is none that hilgate writes") from error


def _is_artifact(path: str) -> bool:
    return path.startswith("artifact/")


def _of_calls(found: ReadSamples, key: str) -> Array:
    if found.values is None:
        raise NotMadeAgain(f"{key}: {found.problem}")
    if not found.is_verified:
        raise NotMadeAgain(f"{key}_sha256: the evidence has no SHA-256 of the file")
    if found.values.ndim > 1:
        raise NotMadeAgain(f"{key}: they are no int64[n]")
    return found.values


def _naming(cell: CellEntry, check: CheckEntry, *, is_empty: bool) -> str:
    """Return the metric of a cell's check that names the same raw samples; "" if none does."""
    for other in cell.checks:
        is_same = other.raw_sha256 == check.raw_sha256 and not is_empty
        if other.raw is not None and (is_same or other.raw == check.raw):
            return other.metric
    return ""
