"""Verifying a release: its signature, every file, and all of a policy that needs no run. No network, no cache.

What is believed rests on the signature alone, so it is looked at first; then the folder, against the sums that were
signed; then the evidence in it, against the policy of whoever verifies.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..evidence.reading import LARGEST_BYTES, ReadEvidence, parse_evidence
from ..evidence.schema import CellEntry
from ..signing.envelope import Opened, read_sealed
from ..signing.keys import PublicKey, load_public
from ..signing.statement import subjects_of
from .attestation import PREDICATE_TYPE, Attested, read_attested
from .conditions import refusals_of, same_of
from .folder import check_executable, check_listed, check_sums, list_files, read_regular, refusal
from .model_signing import PREDICATE_TYPE as MODEL_PREDICATE_TYPE
from .model_signing import check_statement
from .paths import EVIDENCE, MANIFEST, RUN, SUMS
from .policy import Policy
from .refusal import Refusal, Refused, each_once
from .sums import read_sums

ATTESTATION = ".sigstore.json"
# Of P-256 keys, the only ones that OpenSSF Model Signing and hilgate both know.
NIST = "ecdsa-sha2-nistp256"
MODEL_SIGNATURE = ".model.sig"
# 200,000 files of a thousand characters would have more; a real one has 2 MB.
LARGEST_SUMS = 64 << 20
# What a release has, and the folder around it has not.
OF_RELEASE = (SUMS, MANIFEST, RUN)
RATIO = "latency_p50_ratio_max"


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A release that was verified.

    Attributes:
        folder: the release's.
        signer: SHA-256 of the public key that signed it.
        files: how many; ``bytes``: of all of them.
        remarks: what is not judged, and a person should know.
    """

    folder: Path
    attested: Attested
    signer: str
    files: int
    bytes: int
    remarks: tuple[str, ...] = ()


def verify_release(release: Path, policy: Policy, *, over: Path | None = None) -> Verified:
    """Verify a release.

    Args:
        release: its folder, or the folder that the gate wrote, which has it and its attestation.
        policy: the policy of whoever verifies.
        over: the release that it would replace, which must be older.

    Raises:
        InputError: its signature, its folder or a file is not what was signed; the message names the first such thing.
        Refused: it is what was signed, and the policy does not take it; every reason is in it.
    """
    folder, attested, opened = _opened(release, policy)
    _check_subjects(opened, attested)
    content = read_regular(folder / SUMS, LARGEST_SUMS, SUMS)
    if (found := hashlib.sha256(content).hexdigest()) != attested.sums_sha256:
        raise refusal(f"{SUMS} is not what was signed", f"SHA-256 {attested.sums_sha256}", found, folder / SUMS)
    sums = read_sums(content, str(folder / SUMS))
    files, size = _check_files(folder, content, sums, attested)
    remarks = _check_model_signature(folder, policy, opened.key, {**sums, SUMS: attested.sums_sha256})
    refusals = [*_against_policy(attested, policy), *_against_evidence(folder, attested, policy)]
    if over is not None:
        refusals += _against_older(attested, over, policy)
    if refusals:
        raise Refused(f"the policy does not take {attested.name}", each_once(refusals), where=str(policy.path))
    return Verified(
        folder=folder,
        attested=attested,
        signer=opened.key.fingerprint,
        files=files,
        bytes=size,
        remarks=tuple(remarks),
    )


def _opened(release: Path, policy: Policy) -> tuple[Path, Attested, Opened]:
    """Find a release, and open its attestation."""
    folder = find_release(release, policy.release.name)
    place = folder.with_name(folder.name + ATTESTATION)
    if not os.path.lexists(place):
        raise refusal(
            "the release has no attestation", f"{place.name} beside its folder", "nothing of that name", place
        )
    opened = read_sealed(place, signers_of(policy), PREDICATE_TYPE)
    return folder, read_attested(opened.statement, str(place)), opened


def find_release(path: Path, name: str) -> Path:
    """Find a release's folder: it is the path itself, or lies in it beside its attestation.

    Args:
        path: as it was given.
        name: the release's, by the policy.

    Raises:
        InputError: it is not there, or no folder.
    """
    try:
        folder = _folder_of(path, name)
        if folder.is_dir():
            return folder
        found = "something else than a folder" if folder.exists() else "nothing of that name"
    except OSError as error:  # a name that is too long, a folder that others may not enter
        found = error.strerror or str(error)
    except RuntimeError:  # pathlib's, before Python 3.13
        found = "links in a circle"
    hint = f"name the folder that hilgate gate wrote, or {name}/ in it"
    raise InputError("there is no release", wanted="a folder", found=found, where=str(path)[:300], hint=hint)


def _folder_of(path: Path, name: str) -> Path:
    # In what is a release itself another one may have been hidden, whole, and an older one's signature holds.
    has_inner = (path / f"{name}{ATTESTATION}").is_file() or (path / name).is_dir()
    is_around = has_inner and not any(os.path.lexists(path / each) for each in OF_RELEASE)
    # Through a link such as `current` the attestation would be looked for beside the link.
    return (path / name if is_around else path).resolve()


def signers_of(policy: Policy) -> list[PublicKey]:
    """Load the public keys that may sign a release."""
    return [load_public(path) for path in policy.signers.keys]


def _check_subjects(opened: Opened, attested: Attested) -> None:
    """Refuse a statement whose subjects are not those that its own facts name: one of them was meant for another."""
    subjects = subjects_of(opened.statement)
    wanted = {SUMS: attested.sums_sha256, MANIFEST: attested.manifest_sha256, EVIDENCE: attested.evidence_sha256}
    for name, sha256 in wanted.items():
        if subjects.get(name) != sha256:
            found = f"SHA-256 {subjects[name]}" if name in subjects else f"no {name} among its subjects"
            raise refusal("the attestation is of another release", f"{name}: {sha256}", found, "the attestation")


def _check_files(folder: Path, content: bytes, sums: Mapping[str, str], attested: Attested) -> tuple[int, int]:
    files = list_files(folder)
    own = files.pop(SUMS, None)
    if own is None:  # it was there a moment ago
        raise refusal(f"there is no {SUMS}", "a whole release", "none", folder)
    check_listed(files, sums, folder)
    check_executable({**files, SUMS: own}, attested.executable, folder)
    size = check_sums(files, sums, folder)
    for name, sha256 in ((MANIFEST, attested.manifest_sha256), (EVIDENCE, attested.evidence_sha256)):
        if sums.get(name) != sha256:
            raise refusal(f"{name} is not what was signed", f"SHA-256 {sha256}", str(sums.get(name)), folder / SUMS)
    return len(files) + 1, size + len(content)


def _check_model_signature(folder: Path, policy: Policy, key: PublicKey, hashes: Mapping[str, str]) -> list[str]:
    """Verify the signature for OpenSSF Model Signing too, where there is one; return what to say where there is none.

    It is not asked for: what it signs, the attestation signs as well. An Ed25519 key makes none.
    """
    place = folder.with_name(folder.name + MODEL_SIGNATURE)
    if os.path.lexists(place):
        opened = read_sealed(place, signers_of(policy), MODEL_PREDICATE_TYPE)
        check_statement(opened.statement, hashes, str(place))
        return []
    return [f"there is no {place.name}: model_signing cannot verify this copy"] if key.scheme == NIST else []


def _against_policy(attested: Attested, policy: Policy) -> list[Refusal]:
    """Compare what the gate was asked for with what is asked for now."""
    refusals = []
    if attested.name != policy.release.name:
        refusals.append(
            Refusal(
                f"the release is {attested.name}, and the policy is for {policy.release.name}",
                "name the other release, or its own policy",
            )
        )
    if attested.sums_sha256 in policy.signers.revoked:
        reason = f"the release {attested.sums_sha256} is revoked"
        refusals.append(Refusal(reason, "make a new release; what is revoked must not run again"))
    for table, keys in policy.conditions.items():
        then = attested.conditions.get(table)
        for key, wanted in keys.items():
            found = then.get(key) if isinstance(then, dict) else None
            if found != wanted and (table, key) != ("release", "name"):
                apart = f"{table}.{key} was {found!r:.200}, and is {wanted!r:.200}"
                reason = f"the release was made under another policy: {apart}"
                refusals.append(Refusal(reason, "run the gate again under this policy"))
    return refusals


def _against_evidence(folder: Path, attested: Attested, policy: Policy) -> list[Refusal]:
    """Judge the evidence in the release as the gate did, as of the moment at which it was signed."""
    place = folder / EVIDENCE
    content = read_regular(place, LARGEST_BYTES, "the evidence")
    if (
        found := hashlib.sha256(content).hexdigest()
    ) != attested.evidence_sha256:  # changed since its hash was compared
        raise refusal(f"{EVIDENCE} is not what was signed", f"SHA-256 {attested.evidence_sha256}", found, place)
    read = parse_evidence(content, str(place))
    cells = attested_cells(read, attested)
    missing = [device for device in policy.evidence.devices if device not in cells]
    refusals = [
        Refusal(
            f"the evidence has no cell of {attested.model} on {device} with {attested.backend}", "run the gate again"
        )
        for device in missing
    ]
    if not missing:
        refusals += _of_conditions(policy, read, cells, attested) or _of_target(policy, cells, attested)
    for device, cell in cells.items():
        if cell.bundle is None or cell.bundle.sha256 != attested.manifest_sha256:
            reason = f"what was tested on {device} is another bundle than the release's"
            refusals.append(Refusal(reason, "take the release that the gate made of this evidence"))
    return refusals


def _of_conditions(
    policy: Policy, read: ReadEvidence, cells: Mapping[str, CellEntry], attested: Attested
) -> list[Refusal]:
    """Ask the policy of the evidence; its signature was verified by the gate, which says by which key."""
    keys = {load_public(path).fingerprint: path for path in policy.evidence.signed_by}
    signer = attested.evidence_signer
    by = None if signer is None else keys.get(signer)
    unsigned = "" if signer is None else f"it was signed by {signer[:16]}…"
    moment = attested.moment
    return refusals_of(policy, read.run, cells, now=moment, lacks=read.lacks, signed_by=by, unsigned=unsigned)


def _of_target(policy: Policy, cells: Mapping[str, CellEntry], attested: Attested) -> list[Refusal]:
    """Refuse an attestation whose target is not the one that follows from its policy and its evidence."""
    asked = attested.conditions.get("target")  # compared with the policy before
    devices, ratio = (asked.get("devices"), asked.get(RATIO)) if isinstance(asked, dict) else (None, None)
    target, follows = attested.target, same_of(policy, cells)
    if (target.devices, target.same, target.latency_p50_ratio_max) == (devices, follows, ratio):
        return []
    found, should = _shown(target.devices, target.same), _shown(devices, follows)
    reason = f"the attestation is for another target: {found:.300}; by policy and evidence it is {should:.300}"
    return [Refusal(reason, "run the gate again under this policy")]


def _shown(devices: Any, same: Mapping[str, Any]) -> str:
    return ", ".join([*map(str, devices or ()), *(f"{key} {value}" for key, value in same.items())])


def attested_cells(read: ReadEvidence, attested: Attested) -> dict[str, CellEntry]:
    """Find the cells that a release was made of, by device."""
    wanted = (attested.model, attested.backend)
    cells = (cell for cell in read.run.cells if (cell.model, cell.backend) == wanted)
    return {cell.device: cell for cell in cells if cell.device in attested.devices}


def _against_older(attested: Attested, over: Path, policy: Policy) -> list[Refusal]:
    """Refuse to go back: the release that is there may not be newer, nor this very one signed at another time."""
    _, there, _ = _opened(over, policy)
    if there.name != attested.name:
        return [
            Refusal(f"what is there is {there.name}, and this is {attested.name}", "name a release of the same name")
        ]
    if attested.moment < there.moment:
        reason = f"the release is older than what is there: signed {attested.created}, and {there.created}"
        return [Refusal(reason, "run the gate again: what goes back is a new release, too")]
    return []


def describe(verified: Verified) -> list[str]:
    """Say in lines what was verified."""
    attested = verified.attested
    target, devices = attested.target, ", ".join(attested.devices)
    size = f"{verified.files} files, {verified.bytes / 2**20:,.1f} MiB"
    return [
        f"verified: {attested.name} {attested.sums_sha256}",
        f"  {size}; signed {attested.created} by {verified.signer[:16]}…",
        f"  tested: {attested.model} on {devices} with {attested.backend}, commit {attested.commit}",
        f"  may go to: {', '.join(target.devices)}{_same(target.same)}",
        *(f"  {remark}" for remark in verified.remarks),
    ]


def _same(same: Mapping[str, Any]) -> str:
    named: Sequence[str] = [f"{key} {value}" for key, value in same.items() if value not in ("", 0)]
    return f", where {', '.join(named)}" if named else ""
