"""What stands below the tables: of each cell its checks, its notes, what it ran on and what was tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...checks.check import Verdict
from ...decision import CELL
from ...decision.figures import as_number
from ...evidence.schema import ArtifactFacts, BundleFacts, CellEntry, CheckEntry, Fingerprint
from ...evidence.timed_entry import BoardState
from ...printable import printable_lines
from ..figures import bound_text, limit_text, value_text
from ..report import ReportCell
from .table import kind_of
from .text import ERROR, joined, name_of, text_of

# What, and in words.
Fact = tuple[str, str]
# The most of a cell's checks, notes and the like that are shown one by one; evidence.json has all of them.
MOST = 100
# Verdicts that nobody has to find; each element that marks one is one of thousands.
QUIET = (Verdict.PASS, Verdict.MEASURED, Verdict.NOT_APPLICABLE)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A check: its figures in words, and why the verdict is what it is.

    Attributes:
        contradiction: what of it does not follow from its numbers; "" where all does.
    """

    metric: str
    verdict: str
    kind: str
    stands_out: bool
    figures: str
    reason: str
    contradiction: str


@dataclass(frozen=True, kw_only=True)
class Details:
    """All that is shown of a cell alone.

    Attributes:
        contradiction: what of its verdict does not follow from its checks; "" where all does.
        problems: why it cannot run, or was not built, or stayed open.
        not_asked: metrics that nobody asked for, with why they were not measured.
        facts: of the device, the settings, the artifact and so on.
    """

    name: str
    verdict: str
    kind: str
    problems: tuple[str, ...]
    contradiction: str
    checks: tuple[Line, ...]
    not_asked: tuple[str, ...]
    notes: tuple[str, ...]
    facts: tuple[Fact, ...]


def make_all_details(cells: Sequence[ReportCell]) -> tuple[tuple[Fact, ...], tuple[Details, ...]]:
    """Say in words what the evidence has of a section's cells: first what is true of all of them, then of each."""
    facts = [tuple((what, said) for what, said in _facts(cell.entry) if said) for cell in cells]
    shared = set.intersection(*map(set, facts)) if len(cells) > 1 else set()
    common = tuple(fact for fact in facts[0] if fact in shared)
    own = (tuple(fact for fact in each if fact not in shared) for each in facts)
    return common, tuple(_details(cell, each) for cell, each in zip(cells, own, strict=True))


def _details(cell: ReportCell, facts: tuple[Fact, ...]) -> Details:
    entry = cell.entry
    return Details(
        name=name_of(cell.name),
        verdict=str(entry.verdict),
        kind=kind_of(entry.verdict),
        problems=tuple(_problems(entry)),
        contradiction=text_of(cell.contradictions.get(CELL, "")),
        checks=tuple(_line(check, cell.contradictions) for check in entry.checks[:MOST] if check.asked),
        not_asked=bounded([_not_asked(check) for check in entry.checks if not check.asked]),
        notes=bounded([text_of(note) for note in entry.notes]),
        facts=facts,
    )


def bounded(texts: list[str]) -> tuple[str, ...]:
    """Return at most MOST texts, and say how many were left out."""
    left = len(texts) - MOST
    return (*texts[:MOST], *([f"… ({left} more, see evidence.json)"] if left > 0 else []))


def _problems(entry: CellEntry) -> Iterator[str]:
    if entry.error:
        yield printable_lines(entry.error.strip(), ERROR)
    if entry.forbidden:
        yield f"ineligible: {text_of(entry.forbidden)}"
    if entry.not_built:
        yield f"not built: {text_of(entry.not_built)}"
    if entry.unfinished:
        yield f"came to no check: {text_of(', '.join(entry.unfinished))}"
    if (left := len(entry.checks) - MOST) > 0:
        yield f"{left} more checks are in evidence.json"


def _line(check: CheckEntry, contradictions: Mapping[str, str]) -> Line:
    return Line(
        metric=name_of(check.metric),
        verdict=str(check.verdict),
        kind=kind_of(check.verdict),
        stands_out=check.verdict not in QUIET,
        figures=joined(_figures(check)),
        reason=text_of(check.reason),
        contradiction=text_of(contradictions.get(check.metric, "")),
    )


def _not_asked(check: CheckEntry) -> str:
    return name_of(check.metric) + (f": {text_of(check.reason)}" if check.reason else "")


def _figures(check: CheckEntry) -> Iterator[str]:
    """Yield a check's figures, and what they rest on."""
    unit = f" {name_of(check.unit)}" if check.unit else ""
    if value := value_text(check):
        yield f"{value}{unit}"
    if bound := bound_text(check):
        yield f"{bound} at {100 * (check.confidence or 0):g} %"
    if limit := limit_text(check):
        yield f"limit {limit}" + (f" ({name_of(check.limit_source)})" if check.limit_source else "")
    if check.samples:
        yield f"{check.samples:,} {check.counts or 'samples'}"
    if check.blocks:
        yield f"{check.blocks:,} blocks" + (f" of {check.block_ms:g} ms" if check.block_ms else "")
    if check.inputs:
        yield f"{check.inputs:,} inputs"
    for path in filter(None, (check.raw, check.replay)):
        yield name_of(path)


def _facts(entry: CellEntry) -> Iterator[Fact]:
    if (found := entry.fingerprint) is not None:
        yield from _fingerprint(found)
    if entry.clock is not None:
        yield "sensor's clock", f"{entry.clock.rate_hz:g} Hz, late: {name_of(entry.clock.late)}"
    if entry.artifact is not None:
        yield "artifact", _artifact(entry.artifact)
        yield "exporter's warnings", text_of("\n".join(entry.artifact.warnings))
    if entry.bundle is not None:
        yield "bundle", _bundle(entry.bundle)
    if (scan := entry.instructions) is not None:
        at_load = f"run at load: {text_of(', '.join(scan.at_load))}" if scan.at_load else ""
        looked = f"{scan.libraries} libraries looked at" if scan.libraries else ""
        yield "instructions", joined((looked, at_load, text_of(scan.not_done or "")))
    if entry.model_sha256:
        yield "model", f"SHA-256 {entry.model_sha256}"


def _fingerprint(found: Fingerprint) -> Iterator[Fact]:
    cores = f"{found.cores} cores" if found.cores else ""
    memory = f"{found.memory_mib:,} MiB" if found.memory_mib else ""
    serial = f"serial {name_of(found.serial)}" if found.serial else ""
    yield "device", joined((name_of(found.board), name_of(found.cpu), name_of(found.arch), cores, memory, serial))
    python = f"Python {name_of(found.python)}" if found.python else ""
    yield "system", joined((f"Linux {name_of(found.kernel)}" if found.kernel else "", python))
    if (emulator := found.emulator) is not None:
        yield "emulated by", joined((f"QEMU {name_of(emulator.qemu)}", name_of(emulator.image)))
    yield "versions", _pairs(found.runtime)
    yield "settings", _pairs(found.settings)
    yield "governor", joined(map(name_of, found.governor or ()))
    yield "before", _state(found.state_before)
    yield "after", _state(found.state_after)
    if found.warm_up:
        settled = sum(one.settled for one in found.warm_up)
        count = sum(one.iterations for one in found.warm_up)
        yield "warm-up", f"{count:,} inferences in {len(found.warm_up)} processes, {settled} of them settled"


def _pairs(content: Mapping[str, object]) -> str:
    shown = [f"{name_of(key)} {name_of(str(value))}" for key, value in content.items()]
    return joined(bounded(shown))


def _state(state: BoardState | None) -> str:
    """Say how hot and how fast the device was, and whether it was held back; "" where it does not say."""
    if state is None:
        return ""
    return joined(
        (
            _range(state.temperature_mc, "°C"),
            _range(state.frequency_khz, "MHz"),
            f"get_throttled {state.throttled_bits:#x}" if state.throttled_bits is not None else "",
            f"throttled {state.throttle_events:,} times" if state.throttle_events else "",
            f"{state.swapped_kib:,} KiB swapped" if state.swapped_kib else "",
        )
    )


def _range(thousandths: Sequence[int], unit: str) -> str:
    values = [(as_number(value) or 0) / 1000 for value in thousandths]  # a whole number may be beyond all floats
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{low:.4g} {unit}" if low == high else f"{low:.4g} to {high:.4g} {unit}"


def _artifact(artifact: ArtifactFacts) -> str:
    exporter = name_of(artifact.exporter)
    return joined((exporter, f"{artifact.bytes:,} bytes", f"SHA-256 {artifact.sha256}"))


def _bundle(bundle: BundleFacts) -> str:
    wheels = [f"{name_of(wheel.name)} {name_of(wheel.version)}" for wheel in bundle.wheels or ()]
    runner = bundle.runner
    return joined(
        (
            f"SHA-256 {bundle.sha256}",
            f"sent {joined(bounded(wheels))}" if wheels else "",
            f"{len(bundle.packages)} packages of the device's own" if bundle.packages else "",
            f"{name_of(runner.compiler)}, glibc {name_of(runner.glibc)}" if runner is not None else "",
        )
    )
