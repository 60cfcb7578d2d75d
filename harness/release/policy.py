"""Policies: which evidence a release takes, where it may go, and who signs it.

A policy is a TOML file, gate.toml, of four tables (each key: docs/release.md):

    [release]     what is released: its name on the robot, the model, the backend
    [evidence]    what must have been shown: on which devices, which checks, how long ago, of which commit, by whom
    [target]      where it may go, and what must be the same there
    [signers]     whose signature counts, and which releases were taken back

It has no limits: those stand in model and device files, where the run finds them, so that nothing is judged by a
second set of numbers. Paths in it begin in its own folder. Every mistake in it is told at once, as in device files.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..device import Device
from ..errors import InputError
from ..host.shown_path import shown_path
from ..host.suggestion import did_you_mean
from .policy_tables import (
    DECISION,
    KEYS,
    SAME,
    EvidenceTable,
    Known,
    PolicyFile,
    ReleaseTable,
    SignersTable,
    TargetTable,
    fields_of,
)

__all__ = ["DECISION", "Policy", "load_policy"]

LARGEST_BYTES = 1 << 20
NO_LIMITS = (
    "limits stand in the model file, limits={…}, and in device files, [limits]; "
    "here evidence.require names the metrics that must have kept theirs"
)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A policy, validated.

    Attributes:
        sha256: of the file's bytes.
        machines: the devices that it names, evidence's and target's, as their files describe them.
    """

    path: Path
    sha256: str
    release: ReleaseTable
    evidence: EvidenceTable
    target: TargetTable
    signers: SignersTable
    machines: Mapping[str, Device] = field(hash=False)

    @property
    def conditions(self) -> dict[str, Any]:
        """What is attested of it and compared later, as JSON has it: no paths of this machine, and no signers."""
        evidence = self.evidence.model_dump(mode="json", exclude={"signed_by"})
        return {
            "release": self.release.model_dump(mode="json"),
            "evidence": {**evidence, "signed": bool(self.evidence.signed_by)},
            "target": self.target.model_dump(mode="json"),
        }


def load_policy(
    path: Path, *, devices: Callable[[str], Device], metrics: Iterable[str] | None, backends: Sequence[str]
) -> Policy:
    """Load a policy.

    Args:
        path: the file.
        devices: loads a device by its name, or raises DeviceError.
        metrics: the names of the metrics that exist, parity's among them; None to take any, where what is required is
            compared with what was attested.
        backends: the names of the backends that exist.

    Raises:
        InputError: it cannot be read, or is wrong; the message lists everything that is wrong.
    """
    content = _read(path)
    table = _parsed(path, content)
    names = None if metrics is None else tuple(metrics)
    known = Known(devices=devices, metrics=names, backends=tuple(backends), folder=path.absolute().parent)
    file, problems = None, list[InputError]()
    try:
        file = PolicyFile.model_validate(table, context=known)
    except ValidationError as error:
        found = error.errors(include_url=False)
        places = [detail["loc"] for detail in found]
        # Of a list of which an item is wrong, pydantic also says that it is too short.
        inner = {loc[:-1] for loc in places if isinstance(loc[-1], int)}
        problems = [_problem(path, known, dict(detail)) for detail in found if detail["loc"] not in inner]
    # Raised outside the except block, to keep pydantic's own text and URLs out of the traceback.
    if file is None:
        text = "\n".join(map(str, problems))
        where = shown_path(path)
        raise (
            problems[0]
            if len(problems) == 1
            else InputError(f"the policy has {len(problems)} errors", found=text, where=where)
        )
    return Policy(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        release=file.release,
        evidence=file.evidence,
        target=file.target,
        signers=file.signers,
        machines=dict(known.machines),
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        found, hint = error.strerror or str(error), "name a file: --policy gate.toml; docs/release.md has an example"
        raise InputError(
            "the policy cannot be read", wanted="a TOML file", found=found, where=shown_path(path), hint=hint
        ) from None
    if len(content) > LARGEST_BYTES:
        wanted = f"at most {LARGEST_BYTES >> 20} MiB"
        raise InputError("the policy is too large", wanted=wanted, found="more", where=shown_path(path))
    return content


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    try:
        # utf-8-sig, because an editor's byte order mark would be an invisible error in column 1.
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # bad TOML and bad UTF-8 are ValueErrors
        found = str(error)
    details = {"wanted": "TOML in UTF-8", "found": found, "where": shown_path(path)}
    raise InputError("the policy cannot be read", **details, hint="correct it; texts need quotes")


def _problem(path: Path, known: Known, detail: Mapping[str, Any]) -> InputError:
    """Describe a problem that pydantic found."""
    loc, kind, value = detail["loc"], detail["type"], detail["input"]
    dotted, where = ".".join(map(str, loc)), f"{shown_path(path)}: {'.'.join(map(str, loc))}"
    if kind == "policy":
        fields = fields_of(detail.get("ctx"))
        where = "\n".join(filter(None, [where, fields.pop("also", "")]))
        return InputError(fields.pop("what"), **fields, where=where)
    if kind == "extra_forbidden":
        return _unknown_key([str(key) for key in loc], known, value, where)
    names = [key for key in loc if isinstance(key, str)]
    wanted, _, example = (KEYS.get(".".join(names[:2])) or KEYS[names[0]]).partition(": ")
    what, found = (f"{dotted!r} is missing", "") if kind == "missing" else (f"{dotted!r} is wrong", repr(value)[:200])
    near = did_you_mean(value, (*SAME, "HEAD", "any")) if kind == "literal_error" else ""
    return InputError(what, wanted=wanted, found=found, where=where, hint=near or f"write, for instance: {example}")


def _unknown_key(loc: Sequence[str], known: Known, value: object, where: str) -> InputError:
    *tables, key = loc
    found = f"{key} = {value!r:.200}"
    metrics = {name: f"{name}_min" for name in known.metrics or ()}
    if key == "limits" or key in metrics or key in metrics.values():
        return InputError("a policy has no limits", found=found, where=where, hint=NO_LIMITS)
    siblings = [name.split(".")[-1] for name in KEYS if name.split(".")[:-1] == tables]
    elsewhere = [f"its place is {name!r}" for name in KEYS if name.split(".")[-1] == key]
    hint = elsewhere[0] if elsewhere else did_you_mean(key, siblings) or "take it out"
    wanted = f"one of {', '.join(siblings)}"
    return InputError(f"unknown key {'.'.join(loc)!r}", wanted=wanted, found=found, where=where, hint=hint)
