"""The gate: evidence judged again, the policy, and, where both say yes, the release laid out and signed.

Nothing that the evidence says of itself is believed: its bounds are made again of the raw samples, its limits of the
files as they were committed, its verdicts of both. What is refused is refused with all reasons at once. Until the last
reason is gone nothing of a release exists; then it is made in a folder beside its own, and renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..checks.check import Verdict
from ..errors import InputError, StorageError
from ..host.cache import write_atomically
from ..host.sync import sync_file_system
from ..signing.envelope import seal
from ..signing.keys import Signer
from .attestation import Attested, AttestedTarget, Descriptor, make_attestation, make_predicate, tool
from .examine import P50, Examined
from .layout import Laid, ReleaseFacts, lay_out
from .model_signing import model_statement
from .paths import EVIDENCE, MANIFEST, SUMS
from .verify import ATTESTATION, MODEL_SIGNATURE, NIST


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release that was made.

    Attributes:
        folder: what the gate wrote: the release's own folder, and what is signed of it.
        sha256: of SHA256SUMS, the release's name.
        predicate: what was signed of it.
    """

    folder: Path
    name: str
    sha256: str
    files: int
    bytes: int
    predicate: Mapping[str, Any]


def check_output(output: Path) -> None:
    """Refuse a folder that is there already, or cannot be made, before anything is looked at.

    Raises:
        InputError: with what is there.
    """
    if os.path.lexists(output):
        raise InputError(
            "the release has no room: something of that name is there",
            wanted="a folder that is not there yet",
            found="a folder" if output.is_dir() else "something else",
            where=str(output),
            hint="name another with -o, or move it away; a release is never overwritten",
        )
    above = next(each for each in output.absolute().parents if os.path.lexists(each))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        found = "no permission to write there" if above.is_dir() else "no folder"
        what, hint = "the release cannot be written there", "name another folder: -o DIR"
        raise StorageError(what, wanted="a folder of yours", found=found, where=str(above), hint=hint)


def make_release(
    examined: Examined, signer: Signer, output: Path, *, now: datetime, predicate_to: Path | None = None
) -> Release:
    """Lay out a release, and sign it.

    Args:
        examined: evidence that passed.
        signer: the key.
        output: the folder to make.
        now: the time that is signed.
        predicate_to: where to write the predicate, too; nothing is released if it cannot be written.

    Raises:
        StorageError: the disk is full, or the folder cannot be written; nothing of it stays.
        InputError: a part of the bundle is gone, or another than its hash says.
    """
    name = examined.policy.release.name
    with _published(output) as work:
        folder = work / name
        folder.mkdir(mode=0o755)
        laid = lay_out(
            folder,
            examined.parts,
            examined.cell,
            examined.content,
            examined.answers,
            facts_of(examined, signer.public.fingerprint, now),
        )
        predicate = predicate_of(examined, attest(examined, laid, now))
        statement = make_attestation(_subjects(examined, laid), predicate)
        _write(work / f"{name}{ATTESTATION}", seal(statement, signer))
        if signer.public.scheme == NIST:  # OpenSSF Model Signing knows no other curves
            hashes = {**laid.hashes, SUMS: laid.sha256}
            _write(work / f"{name}{MODEL_SIGNATURE}", seal(model_statement(hashes, name), signer))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if predicate_to is not None:
            write_atomically(predicate_to, json.dumps(predicate, indent=1, ensure_ascii=False) + "\n")
    files = len(laid.hashes) + 1
    return Release(folder=output, name=name, sha256=laid.sha256, files=files, bytes=size, predicate=predicate)


@contextmanager
def _published(output: Path) -> Iterator[Path]:
    """Yield a folder to fill; it becomes the output when the block succeeds, and is removed otherwise."""
    with _storage_errors(output.parent), _folder_of(output.parent):
        work = Path(tempfile.mkdtemp(prefix=f".{output.name[:40]}-", dir=output.parent))
        try:
            work.chmod(0o755)
            yield work
            sync_file_system(work)  # the data must be on the disk before the name that publishes it
            check_output(output)
            work.rename(output)
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _folder_of(place: Path) -> Iterator[None]:
    """Make a folder, and those above it; where the block fails, those that were made are removed again."""
    made = [each for each in (place, *place.parents) if not each.exists()]
    try:
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # not there, or somebody else has put something there
            for each in made:
                each.rmdir()
        raise


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    """Turn every error of the operating system about the release into a StorageError: a disk may fail in many ways."""
    hint = "free some space there, or name another folder: -o DIR; nothing of the release was left"
    try:
        yield
    except OSError as error:
        what, found = "the release cannot be written", error.strerror or str(error)
        raise StorageError(what, found=found, where=str(error.filename or folder), hint=hint) from error
    except StorageError as error:  # of a part of it, which knows of no -o
        raise StorageError(error.what, found=error.found, where=error.where, hint=hint) from error


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def facts_of(examined: Examined, signer: str, now: datetime) -> ReleaseFacts:
    """Collect what the release's own texts and its check on the robot need."""
    policy, cell = examined.policy, examined.cell
    p50 = next((check.value for check in cell.checks if check.metric == P50), None)
    return ReleaseFacts(
        name=policy.release.name,
        model=cell.model,
        backend=cell.backend,
        device=cell.device,
        created=stamp(now),
        commit=examined.run.commit or "",
        devices=policy.target.devices,
        same=examined.same,
        p50_ms=float(p50) if isinstance(p50, int | float) else None,
        p50_ratio_max=policy.target.latency_p50_ratio_max,
        python=cell.fingerprint.executable if cell.fingerprint is not None and cell.load is not None else "",
        key_fingerprints=(signer,),
        revision=policy.sha256,
    )


def attest(examined: Examined, laid: Laid, now: datetime) -> Attested:
    """State our own facts of a release."""
    policy, cell = examined.policy, examined.cell
    assert cell.bundle is not None  # for mypy: parts were collected of it
    target = AttestedTarget(
        devices=list(policy.target.devices),
        same=dict(examined.same),
        latency_p50_ratio_max=policy.target.latency_p50_ratio_max,
    )
    return Attested(
        schema_number=1,
        tool=tool(),
        name=policy.release.name,
        created=stamp(now),
        model=cell.model,
        backend=cell.backend,
        devices=list(policy.evidence.devices),
        commit=examined.run.commit,
        sums_sha256=laid.sha256,
        manifest_sha256=cell.bundle.sha256,
        evidence_sha256=laid.hashes[EVIDENCE],
        policy_sha256=policy.sha256,
        model_sha256=cell.model_sha256,
        evidence_signer=examined.evidence_signer,
        target=target,
        conditions=policy.conditions,
        executable=sorted(laid.executable),
    )


def predicate_of(examined: Examined, attested: Attested) -> dict[str, Any]:
    """Make the predicate: the files that decided, and what passed."""
    configuration = [Descriptor(name=examined.policy.path.name, sha256=examined.policy.sha256)]
    configuration += [Descriptor(name=file.path, sha256=file.sha256) for file in examined.run.files]
    passed, warned = list[str](), list[str]()
    for device, cell in examined.cells.items():
        for each in examined.judged[device]:
            test = f"{cell.model}/{device}/{cell.backend}/{each.metric}"
            (passed if each.check.verdict is Verdict.PASS else warned).append(test)
    return make_predicate(attested, configuration=configuration, passed=passed, warned=warned)


def _subjects(examined: Examined, laid: Laid) -> Mapping[str, str]:
    names = [MANIFEST, EVIDENCE, *sorted(name for name in laid.hashes if name.startswith("artifact/"))]
    return {SUMS: laid.sha256, **{name: laid.hashes[name] for name in names}}


def stamp(moment: datetime) -> str:
    """Write a moment as UTC in ISO 8601, to the second."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
