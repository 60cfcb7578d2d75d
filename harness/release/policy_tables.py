"""The tables of a policy and their keys, as pydantic models; what their names must name is checked with them.

Validation takes a ``Known`` as its context, so that every mistake of a file is found in one pass.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from ..device import Device
from ..errors import DeviceError
from ..host.file_table import FileTable, described_keys
from ..host.suggestion import did_you_mean

# What release.backend says where the decision chooses.
DECISION = "decision"
# What a target may be asked to have in common with the device of the evidence: keys of its fingerprint.
SameKey = Literal["board", "arch", "cpu", "memory_mib", "libc", "python", "serial", "kernel"]
SAME: tuple[SameKey, ...] = get_args(SameKey)
DEFAULT_SAME = SAME[:6]
DAYS = 14.0

_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
_MODEL = re.compile(r"^[\w.-]+\Z")
_SHA256 = re.compile(r"^[0-9a-f]{64}\Z")


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the names in a policy may name.

    Attributes:
        devices: loads a device by its name, or raises DeviceError.
        metrics: the names of all metrics; None where they are not looked up.
        backends: the names of all backends.
        folder: the policy's, in which its paths begin.
        machines: gains each device that was loaded.
    """

    devices: Callable[[str], Device]
    metrics: tuple[str, ...] | None
    backends: tuple[str, ...]
    folder: Path
    machines: dict[str, Device] = field(default_factory=dict)


def _wrong(what: str, **fields: str) -> PydanticCustomError:
    """Say of a value of the right type that it names nothing, or what cannot be, in an InputError's words."""
    return PydanticCustomError("policy", "{what}", {"what": what, **fields})


def _known(info: ValidationInfo) -> Known:
    assert isinstance(info.context, Known)
    return info.context


def _device(name: str, info: ValidationInfo) -> str:
    known = _known(info)
    if name not in known.machines:
        try:
            known.machines[name] = known.devices(name)
        except DeviceError as error:
            fields = {"wanted": error.wanted, "found": error.found, "hint": error.hint, "also": error.where}
            raise _wrong(error.what, **fields) from None
    return name


def _metric(name: str, info: ValidationInfo) -> str:
    metrics = _known(info).metrics
    if metrics is not None and name not in metrics:
        wanted = f"one of {', '.join(sorted(metrics))}"
        raise _wrong(f"there is no metric {name!r}", wanted=wanted, found=repr(name), hint=did_you_mean(name, metrics))
    return name


def _backend(name: str, info: ValidationInfo) -> str:
    names = (DECISION, *_known(info).backends)
    if name not in names:
        wanted = f"one of {', '.join(names)}"
        raise _wrong(f"there is no backend {name!r}", wanted=wanted, found=repr(name), hint=did_you_mean(name, names))
    return name


def _key_file(path: Path, info: ValidationInfo) -> Path:
    whole = Path(os.path.normpath(_known(info).folder / path))  # so that two ways to write one are one
    if whole.is_file():
        return whole
    raise _wrong(
        "there is no such key",
        wanted="the file of a public key, relative to the policy's folder",
        found=f"{str(path)!r}: {'a folder' if whole.is_dir() else 'nothing of that name'}",
        hint="correct the path; `hilgate key FILE` makes a pair, of which FILE.pub is the public one",
    )


def _each_once(items: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
    if (twice := next((item for item in items if items.count(item) > 1), None)) is not None:
        shown = str(twice) if isinstance(twice, Path) else repr(twice)
        raise _wrong("the same is named twice", wanted="each once", found=shown, hint="take one of them out")
    return items


# Not strict, so that TOML's lists become tuples; their items stay strict.
_List = Field(strict=False)
_Some = Field(strict=False, min_length=1)
_Once = AfterValidator(_each_once)
_Devices = Annotated[tuple[Annotated[str, Field(strict=True), AfterValidator(_device)], ...], _Some, _Once]
_Key = Annotated[Path, Field(strict=False), AfterValidator(_key_file)]


class ReleaseTable(FileTable):
    """The table [release]: what is released."""

    name: str = Field(
        pattern=_NAME,
        description="its folder on the robot, up to 64 letters, digits, _ . -, the first one no . or -: "
        'name = "digits"',
    )
    model: str = Field(pattern=_MODEL, description='the name of a model: model = "digits"')
    backend: Annotated[str, AfterValidator(_backend)] = Field(
        DECISION, description='"decision" or the name of a backend: backend = "decision"'
    )


class EvidenceTable(FileTable):
    """The table [evidence]: what must have been shown, where, and when."""

    devices: _Devices = Field(description='a list of devices, at least one: devices = ["rig"]')
    emulated: bool = Field(False, description="true or false: emulated = true")
    require: Annotated[
        tuple[Annotated[str, Field(strict=True), AfterValidator(_metric)], ...],
        _Some,
        _Once,
    ] = Field(description='a list of metrics, at least one: require = ["parity", "latency_p99_ms"]')
    max_age_days: float = Field(
        DAYS, gt=0, le=36500, allow_inf_nan=False, description="days, above 0: max_age_days = 14"
    )
    commit: Literal["HEAD", "any"] = Field("HEAD", description='"HEAD" or "any": commit = "HEAD"')
    signed_by: Annotated[tuple[_Key, ...], _List, _Once] = Field(
        (), description='a list of files of public keys: signed_by = ["keys/rig.pub"]'
    )


class TargetTable(FileTable):
    """The table [target]: where it may go, and what must be the same there."""

    devices: _Devices = Field(description='a list of devices, at least one: devices = ["robot"]')
    same: Annotated[tuple[SameKey, ...], _Some, _Once] = Field(
        DEFAULT_SAME, description=f'a list, at least one of {", ".join(SAME)}: same = ["board", "arch", "cpu"]'
    )
    latency_p50_ratio_max: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="a number above 0: latency_p50_ratio_max = 1.25"
    )


class SignersTable(FileTable):
    """The table [signers]: who may release, and what was taken back."""

    keys: Annotated[tuple[_Key, ...], _Some, _Once] = Field(
        description='a list of files of public keys, at least one: keys = ["keys/team.pub"]'
    )
    revoked: Annotated[tuple[Annotated[str, Field(strict=True, pattern=_SHA256)], ...], _List, _Once] = Field(
        (), description='a list of SHA-256 of releases, 64 digits of 0-9a-f each: revoked = ["0123…"]'
    )


class PolicyFile(FileTable):
    """A whole policy."""

    release: ReleaseTable = Field(description="a table with name and model: [release]")
    evidence: EvidenceTable = Field(description="a table with devices and require: [evidence]")
    target: TargetTable = Field(description="a table with devices: [target]")
    signers: SignersTable = Field(description="a table with keys: [signers]")


# All keys with their descriptions: "evidence.require".
KEYS = described_keys(
    {
        "": PolicyFile,
        "release.": ReleaseTable,
        "evidence.": EvidenceTable,
        "target.": TargetTable,
        "signers.": SignersTable,
    }
)


def fields_of(context: Any) -> dict[str, str]:
    """Return the fields of an InputError that an error of ours was given."""
    return {name: str(value) for name, value in (context or {}).items()}
