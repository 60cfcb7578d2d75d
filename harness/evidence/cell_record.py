"""One cell of a run as it is recorded: what each room found out about it, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..cell import Cell
from ..checks.check import Check, Verdict, overall
from ..errors import HilgateError
from .parts import describe_check, merge_fingerprints
from .schema import (
    AnswersEntry,
    ArtifactFacts,
    BundleFacts,
    CellEntry,
    ClockEntry,
    EndpointEntry,
    FallbackEntry,
    Fingerprint,
    InstructionScan,
    LoadEntry,
    NetworkEntry,
)
from .timed_entry import TimedEntry


@dataclass(kw_only=True)
class CellRecord:
    """What is known of one cell so far. Each part is set by whoever finds it out, in any order.

    Attributes:
        errors: why the cell cannot run: each makes it FAIL.
        interruptions: why a check stayed open, such as a connection that dropped; says nothing about the model.
        unavailable: why the cell's device cannot be used, "" where it can; says nothing about the model.
        not_built: why this host cannot build the cell's backend, where that is an optional one.
        endpoint: the server that has the model, of a remote backend.
        network: what the device's proxy shapes between itself and that server.
        fallback: what answers on the device where calls to that server fail.
        model_sha256: the hash of the model's weights and code; None where it is not known, or they have none.
        device_facts: the fingerprint's part that is known once the device was reached.
        measured_facts: the fingerprint's part that is known once something was measured.
        timed: what was timed, and how its raw samples are cut.
        load: what a process of the cell was told to load; None until one was loaded.
        answers: what a release compares its own answers with; None without any.
        selected: whether a test of this cell was selected.
        pending: the node ids of selected tests that have come to no check yet.
    """

    cell: Cell = field(kw_only=False)
    checks: list[Check] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    interruptions: list[str] = field(default_factory=list)
    unavailable: str = ""
    not_built: HilgateError | None = None
    endpoint: EndpointEntry | None = None
    network: NetworkEntry | None = None
    fallback: FallbackEntry | None = None
    model_sha256: str | None = None
    device_facts: Fingerprint | None = None
    measured_facts: Fingerprint | None = None
    artifact: ArtifactFacts | None = None
    bundle: BundleFacts | None = None
    instructions: InstructionScan | None = None
    timed: TimedEntry | None = None
    load: LoadEntry | None = None
    answers: AnswersEntry | None = None
    selected: bool = False
    pending: set[str] = field(default_factory=set)

    @property
    def fingerprint(self) -> Fingerprint | None:
        """The device and how its runtime was set, as far as it is known."""
        return merge_fingerprints(self.device_facts, self.measured_facts)

    @property
    def verdict(self) -> Verdict:
        """Combine errors, checks and open ends.

        FAIL, INCONCLUSIVE, INELIGIBLE (a rule forbids it), NOT_APPLICABLE (its backend could not be built), or the
        worst check: the first that applies. So a backend that is forbidden or was not built is never a PASS, whatever
        was checked.
        """
        is_unfinished = self.pending or self.interruptions or self.unavailable
        open_ends = [Verdict.INCONCLUSIVE] if is_unfinished else []
        verdicts = [*open_ends, *(check.verdict for check in self.checks)]
        if self.errors:
            return Verdict.FAIL
        if {Verdict.FAIL, Verdict.INCONCLUSIVE}.intersection(verdicts):
            return overall(verdicts)
        if self.cell.forbidden:
            return Verdict.INELIGIBLE
        if self.not_built is not None:
            return Verdict.NOT_APPLICABLE
        return overall(verdicts)

    @property
    def has_outcome(self) -> bool:
        """Whether any test of the cell came to something.

        That is a check that applies, an error, a device that cannot be used, a backend that a rule forbids or that
        cannot be built, or a connection that dropped.
        """
        is_ended = self.errors or self.unavailable or self.not_built or self.interruptions or self.cell.is_left_out
        return bool(is_ended) or any(check.verdict is not Verdict.NOT_APPLICABLE for check in self.checks)

    def add_notes(self, notes: Iterable[str]) -> None:
        """Add the notes that are not there yet."""
        for note in notes:
            if note not in self.notes:
                self.notes.append(note)

    def make_entry(
        self, sums: Mapping[str, str], beside: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    ) -> CellEntry:
        """Make the cell's entry in evidence.json.

        Args:
            sums: the SHA-256 of each file of raw samples, by its path in the evidence's folder; see describe_check.
            beside: the files that go with raw samples, by the path of these; see describe_check.
        """
        model, device, backend = self.cell.key
        clock = self.cell.file.model.clock
        declared: dict[str, Any] = {"interruptions": list(self.interruptions)} if self.interruptions else {}
        declared |= {"forbidden": self.cell.forbidden} if self.cell.forbidden else {}
        declared |= {"endpoint": self.endpoint} if self.endpoint is not None else {}
        declared |= {"service_emulated": True} if self.cell.service_emulated else {}
        declared |= {"network": self.network} if self.network is not None else {}
        declared |= {"fallback": self.fallback} if self.fallback is not None else {}
        declared |= {} if clock is None else {"clock": ClockEntry(rate_hz=clock.rate_hz, late=clock.late)}
        return CellEntry(
            model=model,
            device=device,
            backend=backend,
            emulated=self.cell.device.emulated,
            model_sha256=self.model_sha256,
            verdict=self.verdict,
            error="\n".join([*self.errors, *self.interruptions, *filter(None, [self.unavailable])]) or None,
            not_built=str(self.not_built) if self.not_built is not None else None,
            fingerprint=self.fingerprint,
            artifact=self.artifact,
            bundle=self.bundle,
            instructions=self.instructions,
            load=self.load,
            answers=self.answers,
            measure=self.cell.file.model.described_sizes,
            **declared,
            timed=self.timed,
            unfinished=sorted(self.pending),
            notes=list(self.notes),
            checks=[describe_check(check, sums, beside) for check in self.checks],
        )
