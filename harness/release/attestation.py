"""What is signed of a release: an in-toto test result, with our own facts in one object ``hilgate``.

The predicate is https://in-toto.io/attestation/test-result/v0.1: a verifier that knows nothing of hilgate reads which
files passed which tests. ``hilgate`` adds what only we judge by; ignoring it never turns a no into a yes, as the
specification of predicates asks of extensions (in-toto/attestation, spec/v1/README.md: monotonic).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import __version__
from ..errors import InputError
from ..evidence.entry import Sha256
from ..evidence.misfit import Misfit, first_misfit
from ..signing.statement import EVIDENCE_PREDICATE, make_statement

PREDICATE_TYPE = EVIDENCE_PREDICATE
SCHEMA = 1
EXTENSION = "hilgate"
PASSED = "PASSED"

Name = Annotated[str, Field(min_length=1, max_length=256)]


class _Part(BaseModel):
    """A part of the extension. Unknown keys are kept: a newer hilgate may say more under the same schema."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, validate_by_name=True, validate_by_alias=True)


class AttestedTarget(_Part):
    """Where the release may go."""

    devices: list[Name]
    same: dict[Name, str | int]
    latency_p50_ratio_max: float | None = None


class Attested(_Part):
    """hilgate's own facts of a release.

    Attributes:
        sums_sha256: of SHA256SUMS, which is the release's name.
        devices: on which the evidence was measured.
        evidence_signer: SHA-256 of the public key that signed the evidence, where the policy asked for one.
        conditions: what the policy asked for, without the signers.
        executable: the files that are executable, by their paths.
    """

    schema_number: Annotated[Literal[1], Field(alias="schema")]
    tool: str
    name: Name
    created: str
    model: Name
    backend: Name
    devices: list[Name]
    commit: str | None
    sums_sha256: Sha256
    manifest_sha256: Sha256
    evidence_sha256: Sha256
    policy_sha256: Sha256
    model_sha256: Sha256 | None
    evidence_signer: Sha256 | None = None
    target: AttestedTarget
    conditions: dict[str, Any]
    executable: list[str]

    @property
    def moment(self) -> datetime:
        """When it was signed."""
        return datetime.fromisoformat(self.created)


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """A file that decided: the policy, a model file, a device file, a lock."""

    name: str
    sha256: str

    @property
    def described(self) -> dict[str, Any]:
        """The ResourceDescriptor of in-toto."""
        return {"name": self.name, "digest": {"sha256": self.sha256}}


def make_predicate(
    attested: Attested, *, configuration: Sequence[Descriptor], passed: Sequence[str], warned: Sequence[str]
) -> dict[str, Any]:
    """Make the predicate of a release that passed.

    Args:
        attested: our own facts.
        configuration: the files that decided.
        passed: model/device/backend/metric of each check that passed.
        warned: of those that have no limit, or say nothing here.
    """
    return {
        "result": PASSED,
        "configuration": [each.described for each in configuration],
        "passedTests": list(passed),
        "warnedTests": list(warned),
        "failedTests": [],
        EXTENSION: attested.model_dump(by_alias=True),
    }


def make_attestation(subjects: Mapping[str, str], predicate: Mapping[str, Any]) -> dict[str, Any]:
    """Make the statement: which files the predicate is about, each by its SHA-256."""
    return make_statement(subjects, PREDICATE_TYPE, predicate)


def read_attested(statement: Mapping[str, Any], where: str) -> Attested:
    """Read our own facts from a statement whose signature was verified.

    Raises:
        InputError: it is no release's, did not pass, or is of a newer hilgate.
    """
    predicate = statement["predicate"]
    found = predicate.get(EXTENSION) if isinstance(predicate, dict) else None
    if not isinstance(found, dict):
        raise _refusal("this is no attestation of a release", f"an object {EXTENSION!r}", "none", where)
    number = found.get("schema")
    if type(number) is int and number > SCHEMA:
        raise InputError(
            "the release was made by a newer hilgate",
            wanted=f"schema {SCHEMA}",
            found=f"schema {number}",
            where=where,
            hint="verify it with that hilgate, or a newer one",
        )
    if predicate.get("result") != PASSED or predicate.get("failedTests") not in ([], None):
        raise _refusal("the attestation says that tests failed", PASSED, repr(predicate.get("result"))[:100], where)
    problem: Misfit | None = None
    try:
        attested = Attested.model_validate(found)
        if attested.moment.utcoffset() is None:
            raise ValueError("without its zone")
    except ValidationError as error:
        problem = first_misfit(error, found)
    except ValueError as error:
        problem = Misfit("created", "a time, ISO 8601", str(error)[:200])
    if problem is not None:
        what = "the attestation is not what hilgate writes"
        raise _refusal(what, problem.wanted, problem.found, f"{where}: {EXTENSION}.{problem.key}")
    return attested


def tool() -> str:
    """Name this hilgate."""
    return f"hilgate {__version__}"


def _refusal(what: str, wanted: str, found: str, where: str) -> InputError:
    return InputError(what, wanted=wanted, found=found, where=where, hint="take the attestation that the gate wrote")
