"""Examining evidence for a policy: everything that speaks against a release, found before anything is made.

Each question is asked whatever the others came to, so that all reasons are told at once; what one has told, another
does not tell again: of files that are not as committed, nothing is judged.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..checks.check import Verdict
from ..checks.limits import Metric
from ..errors import BackendError, InputError
from ..evidence.folder import ANSWERS, FILE, SIGNATURE, name_in
from ..evidence.reading import LARGEST_BYTES, parse_evidence
from ..evidence.schema import CellEntry, RunEntry
from ..signing.bounded_file import read_bounded
from ..signing.envelope import read_sealed
from ..signing.keys import load_public
from ..signing.statement import EVIDENCE_PREDICATE, subjects_of
from ..signing.strict_json import parse
from .answer_conditions import answer_refusals
from .attestation import EXTENSION
from .cell_conditions import is_remote, name_of
from .committed import committed_files
from .committed_limits import CellLimits, limits_of
from .conditions import cells_of, refusals_of, same_of
from .load_conditions import load_refusals
from .parts import Parts, collect
from .paths import SUMS
from .policy import Policy
from .refusal import AGAIN, Refusal, Refused, each_once
from .rejudge import Rejudged, rejudge

MOST_ANSWERS_BYTES = 128 << 20
P50 = "latency_p50_ms"


@dataclass(frozen=True, kw_only=True)
class Examined:
    """Evidence that passed.

    Attributes:
        content: of evidence.json, as it was judged.
        cells: those that passed, by device.
        judged: their checks, made again, by device.
        parts: the bundle's.
        answers: the content of the file of answers.
        evidence_signer: SHA-256 of the public key that signed it, where the policy asks for that.
        same: what a target must have in common with the device, by key of the fingerprint.
    """

    policy: Policy
    run: RunEntry
    content: bytes
    cells: Mapping[str, CellEntry]
    judged: Mapping[str, Sequence[Rejudged]]
    parts: Parts
    answers: bytes
    same: Mapping[str, Any]
    evidence_signer: str | None = None

    @property
    def cell(self) -> CellEntry:
        """The cell of the policy's first device: the others tested the same bundle."""
        return self.cells[self.policy.evidence.devices[0]]

    @property
    def lines(self) -> list[str]:
        """What was judged, a line for each check, and what a person should know of it."""
        return [line for cell in self.cells.values() for line in _lines(cell, self.judged[cell.device])]


def examine(path: Path, policy: Policy, root: Path, *, metrics: Sequence[Metric], now: datetime) -> Examined:
    """Examine evidence.

    Args:
        path: an evidence.json, or its folder.
        policy: the policy.
        root: the project's folder, where pytest.ini is.
        metrics: all that limits may be set on.
        now: the time, with its zone.

    Raises:
        InputError: the evidence cannot be read.
        Refused: the policy does not take it, or it does not bear its verdicts; every reason is in it.
        StorageError: the cache cannot be written.
    """
    file = _file_of(path)  # read once: what is judged is released
    folder = file.parent
    content, _ = read_bounded(file, LARGEST_BYTES, "the evidence", follow=False)
    read = parse_evidence(content, str(file))
    run = read.run
    cells, refusals = cells_of(policy, run)
    signed_by, unsigned = _signed_by(policy, folder, content)
    refusals += refusals_of(policy, run, cells, now=now, lacks=read.lacks, signed_by=signed_by, unsigned=unsigned)
    refusals += _of_another(folder, content) if not policy.evidence.signed_by else []
    files, of_files = committed_files(root, run, policy)
    limits, of_limits = limits_of(root, run, policy, cells, files, metrics=metrics)
    refusals += [*of_files, *of_limits]
    judged = {device: _judged(folder, run, cells[device], each) for device, each in limits.items()}
    for device, checks in judged.items():
        refusals += _against(cells[device], checks, policy)
    parts, answers, of_parts = _collected(folder, cells, policy)
    refusals += of_parts
    first = policy.evidence.devices[0]
    if answers is not None and first in limits:
        refusals += answer_refusals(cells[first], answers, limits[first].closeness)
    if parts is not None:
        for device, each in limits.items():
            refusals += load_refusals(cells[device], each.device, parts)
    if not refusals and (judged.keys() != cells.keys() or cells.keys() != set(policy.evidence.devices)):
        refusals.append(Refusal("not all devices' cells could be judged again", AGAIN))  # no way to this is known
    if refusals or parts is None or answers is None:
        raise Refused(f"the gate does not release {policy.release.name}", each_once(refusals), where=str(policy.path))
    return Examined(
        policy=policy,
        run=run,
        content=content,
        cells=cells,
        judged=judged,
        parts=parts,
        answers=answers,
        same=same_of(policy, cells),
        evidence_signer=None if signed_by is None else load_public(signed_by).fingerprint,
    )


def _file_of(path: Path) -> Path:
    """Find evidence.json. Through a link its samples would be looked for beside the link."""
    try:
        return (path / FILE if path.is_dir() else path).resolve()
    except OSError as error:  # a name that is too long, a folder that others may not enter
        found = error.strerror or str(error)
    except RuntimeError:  # pathlib's, before Python 3.13
        found = "links in a circle"
    hint = "name the file, or its folder, such as build/hil"
    raise InputError(
        "the evidence cannot be read", wanted="an evidence.json", found=found, where=str(path)[:300], hint=hint
    )


def _of_another(folder: Path, content: bytes) -> Iterator[Refusal]:
    """Refuse evidence beside a signature of another one, also where no signature is asked for: it was changed since.

    Nothing is believed for it: what is compared is not verified.
    """
    place = folder / SIGNATURE
    if not os.path.lexists(place):
        return
    try:
        sealed, _ = read_bounded(place, LARGEST_BYTES, "the signature", follow=False)
        envelope = parse(sealed, "the signature", str(place))["dsseEnvelope"]
        statement = parse(base64.b64decode(envelope["payload"]), "what was signed", str(place))
        signed = subjects_of(statement, str(place)).get(FILE)
    except (InputError, KeyError, TypeError, ValueError):
        signed = None
    if signed != hashlib.sha256(content).hexdigest():
        yield Refusal(f"{SIGNATURE} beside the evidence is of another {FILE}", f"do not change evidence; {AGAIN}")


def _signed_by(policy: Policy, folder: Path, content: bytes) -> tuple[Path | None, str]:
    """Find which of the policy's keys has signed the evidence; return why none has, too."""
    keys = {load_public(path).fingerprint: path for path in policy.evidence.signed_by}
    if not keys:
        return None, ""
    try:
        place = folder / SIGNATURE
        opened = read_sealed(place, [load_public(path) for path in keys.values()], EVIDENCE_PREDICATE)
        subjects = subjects_of(opened.statement, str(place))
    except InputError as error:
        return None, " ".join(str(error).split())
    # A release's attestation has evidence.json among its subjects: its key says what was gated, not what was measured.
    predicate = opened.statement["predicate"]
    if SUMS in subjects or not isinstance(predicate, dict) or EXTENSION in predicate:
        return None, f"{SIGNATURE} is the attestation of a release, not the signature of a run"
    if subjects.get(FILE) != hashlib.sha256(content).hexdigest():
        return None, f"{SIGNATURE} is of another {FILE}"
    return keys[opened.key.fingerprint], ""


def _judged(folder: Path, run: RunEntry, cell: CellEntry, limits: CellLimits) -> list[Rejudged]:
    return rejudge(folder, run, cell, limits.limits, limits.parity_limit)


def _against(cell: CellEntry, checks: Sequence[Rejudged], policy: Policy) -> Iterator[Refusal]:
    """Yield what of a cell does not follow from its samples and limits, and what is no PASS though it must be."""
    name = name_of(cell)
    required = policy.evidence.require
    told = {(check.metric, check.verdict) for check in cell.checks}  # by cell_refusals, of what is stored
    for each in checks:
        if each.problem:
            reason = f"{each.metric} of {name} does not follow from its evidence: {each.problem}"
            yield Refusal(reason, f"do not change evidence; {AGAIN}")
        elif (each.metric, each.check.verdict) in told:
            continue
        elif each.check.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INELIGIBLE):
            reason = f"{each.metric} of {name} is {each.check.verdict}, judged again: {each.check.reason}"
            yield Refusal(reason, f"have it keep its limit; {AGAIN}")
        elif each.metric in required and each.check.verdict is not Verdict.PASS:
            reason = f"{each.metric} of {name} is {each.check.verdict}, and must be PASS"
            yield Refusal(reason, f"limit it in the model file, limits={{{each.metric!r}: …}}; {AGAIN}")


def _collected(
    folder: Path, cells: Mapping[str, CellEntry], policy: Policy
) -> tuple[Parts | None, bytes | None, list[Refusal]]:
    """Collect the bundle's parts and the answers of the first device's cell; None, and why, where they are gone."""
    cell = cells.get(policy.evidence.devices[0])
    if cell is None or cell.bundle is None or is_remote(cell):  # said already
        return None, None, []
    parts, answers, refusals = None, None, list[Refusal]()
    try:
        parts = collect(folder, cell)
    except (InputError, BackendError) as error:
        refusals.append(_of_error(error))
    try:
        answers = _answers(folder, cell)
    except InputError as error:
        refusals.append(_of_error(error))
    return parts, answers, refusals


def _answers(folder: Path, cell: CellEntry) -> bytes:
    """Read the file of answers that a cell names, if it lies in its folder and has the evidence's hash."""
    entry, where = cell.answers, f"{folder}: answers of {name_of(cell)}"
    if entry is None:
        raise InputError(
            "the evidence has no answers for the release to compare its own with",
            wanted="a few inputs on which each element of the answer is as near to the reference as the tolerance asks",
            found="none: parity did not pass, or no answer could be kept",
            where=where,
            hint=f"see the parity check's notes; {AGAIN}",
        )
    name = name_in(ANSWERS, entry.path)
    if name is None:
        wanted = f"a file in {ANSWERS}/"
        raise InputError(
            "the answers lie elsewhere", wanted=wanted, found=repr(entry.path)[:200], where=where, hint=AGAIN
        )
    if (folder / ANSWERS).is_symlink():
        raise InputError("the answers lie behind a link", wanted="a folder", found="a link", where=where, hint=AGAIN)
    content, _ = read_bounded(folder / ANSWERS / name, MOST_ANSWERS_BYTES, "the file of answers", follow=False)
    if (found := hashlib.sha256(content).hexdigest()) != entry.sha256:
        what = "the answers are not those of the evidence"
        raise InputError(what, wanted=f"SHA-256 {entry.sha256}", found=found, where=where, hint=AGAIN)
    return content


def _of_error(error: InputError | BackendError) -> Refusal:
    """Make a refusal of an error: what, found and where on its lines, and what to do."""
    details = [text for text in (error.found, error.where) if text]
    return Refusal(": ".join([error.what, *details]), error.hint or AGAIN)


def _lines(cell: CellEntry, judged: Sequence[Rejudged]) -> Iterator[str]:
    passed = [each.metric for each in judged if each.check.verdict is Verdict.PASS]
    yield f"judged again: {name_of(cell)}: PASS ({', '.join(passed)})"
    if measured := [each.metric for each in judged if each.check.verdict is Verdict.MEASURED]:
        yield f"  without a limit: {', '.join(measured)}"
    for remark in dict.fromkeys(each.remark for each in judged if each.remark):
        named = ", ".join(each.metric for each in judged if each.remark == remark)
        yield f"  {named}: {remark}"
