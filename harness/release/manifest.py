"""Reading a bundle's manifest, strictly: the file may be anybody's, and its names become paths."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InputError
from ..evidence.entry import Count, Sha256
from ..evidence.misfit import Misfit, first_misfit
from .paths import AGENT, ARTIFACT, check_name

# A manifest has 150 bytes a file and 200 a wheel; its longest list is that of the packages of an environment.
MOST_BYTES = 16 << 20
HINT = "run the tests again: a run writes the manifest beside its evidence"


class _Part(BaseModel):
    """An object of the manifest; further keys describe how something was made."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class File(_Part):
    """A file of agent or artifact."""

    sha256: Sha256
    bytes: Count


class WheelPart(_Part):
    """A wheel that was unpacked, or whose libraries were."""

    name: str
    version: str
    file: str
    sha256: Sha256


class ArchivePart(_Part):
    """An archive that was made on the host: a runner, or libraries."""

    sha256: Sha256


class RuntimePart(_Part):
    """The runtime, as ``harness.bundle.planning`` describes it."""

    python: str | None = None
    packages: Annotated[dict[str, str] | None, Field(description="found installed on the device")] = None
    wheels: list[WheelPart] | None = None
    bytecode: Annotated[list[Sha256] | None, Field(description="of the wheels, in their order")] = None
    runner: ArchivePart | None = None
    libraries: ArchivePart | None = None


class Manifest(_Part):
    """The whole manifest; see ``harness.bundle.bundle``."""

    # "schema" is a method of pydantic's own base class.
    schema_number: Annotated[Literal[1], Field(alias="schema")]
    backend: str
    files: dict[str, File]
    runtime: RuntimePart

    @property
    def artifact(self) -> dict[str, File]:
        """The exported files, by their paths in the folder ``artifact``."""
        return self._in(ARTIFACT)

    @property
    def agent(self) -> dict[str, File]:
        """The agent's files, by their paths in the folder ``agent``; none of a C++ backend."""
        return self._in(AGENT)

    def _in(self, folder: str) -> dict[str, File]:
        prefix = f"{folder}/"
        return {path.removeprefix(prefix): file for path, file in self.files.items() if path.startswith(prefix)}


def read_manifest(path: Path, sha256: str) -> tuple[bytes, Manifest]:
    """Read the manifest of a bundle.

    Args:
        path: the file, beside the evidence.
        sha256: the bundle's name, as the evidence has it.

    Returns:
        The content, as it is, and what it says.

    Raises:
        InputError: it is not there, no regular file, another one than the evidence names, or not what hilgate writes.
    """
    content = _content(path)
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(
            "the bundle's manifest is not the one that the evidence names",
            wanted=f"SHA-256 {sha256}",
            found=f"SHA-256 {found}",
            where=str(path),
            hint=HINT,
        )
    manifest = _parsed(content, str(path))
    _check_files(manifest, str(path))
    return content, manifest


def _content(path: Path) -> bytes:
    """Read a regular file that is not behind a link; a FIFO is not waited for."""
    found = ""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                found = "no regular file"
            elif len(content := file.read(MOST_BYTES + 1)) > MOST_BYTES:
                found = f"more than {MOST_BYTES >> 20} MiB"
    except OSError as error:
        found = error.strerror or str(error)
    if found:
        what = "the manifest of the bundle that was tested cannot be read"
        raise InputError(what, wanted="the file that the run wrote", found=found, where=str(path), hint=HINT)
    return content


def _parsed(content: bytes, where: str) -> Manifest:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise _refusal(Misfit("the whole file", "each key once", f"{twice!r:.200} twice"), where)
        return dict(pairs)

    problem: Misfit
    try:
        data = json.loads(content, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _refusal(Misfit("the whole file", "JSON", f"{error!s:.200}"), where) from None
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        problem = first_misfit(error, data)
    raise _refusal(problem, where)  # not in the except block, to keep pydantic's own text out of the traceback


def _check_files(manifest: Manifest, where: str) -> None:
    """Refuse names that are no paths in a release, and a runtime whose parts do not belong together."""
    for path in manifest.files:
        if (problem := check_name(path)) is not None:
            raise _refusal(Misfit("files", "plain paths", f"{problem}: {path!r:.200}"), where)
        if path.partition("/")[0] not in (AGENT, ARTIFACT) or "/" not in path:
            raise _refusal(Misfit("files", f"paths below {AGENT}/ and {ARTIFACT}/", f"{path!r:.200}"), where)
    runtime = manifest.runtime
    if runtime.bytecode and len(runtime.bytecode) != len(runtime.wheels or ()):
        wanted = f"byte code of each of {len(runtime.wheels or ())} wheels"
        raise _refusal(Misfit("runtime.bytecode", wanted, str(len(runtime.bytecode))), where)
    if (runtime.runner is None) != bool(manifest.agent):
        wanted = "either an agent or a runner"
        raise _refusal(Misfit("runtime.runner", wanted, "both" if manifest.agent else "none of them"), where)


def _refusal(problem: Misfit, where: str) -> InputError:
    key, wanted, found = problem
    what = "the bundle's manifest is not what hilgate writes"
    return InputError(what, wanted=wanted, found=found, where=f"{where}: {key}", hint=HINT)
