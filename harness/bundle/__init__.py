"""Bundles: artifact, runtime and agent under one manifest of hashes. What was tested is what ships.

A bundle's folder on a device:

    manifest.json       {"schema": 1, "backend": …, "files": {PATH: {"sha256": …, "bytes": …}},
                         "runtime": {"python": …, "packages": {NAME: VERSION}}}
    agent/…             the agent, and the backend's file as agent/backend.py
    artifact/…          the exported files

A bundle is named by the SHA-256 of its manifest. Its "runtime" lists what was found in an environment that was
already there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..backends import Backend
from ..cache import file_sha256, link_or_copy, storage_errors
from ..export import Artifact

AGENT = Path(__file__).parents[1] / "agent"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class BundleFile:
    """One file: where it is on the host, and what it must be on the device."""

    source: Path
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Bundle:
    """Everything that a deployment needs, and its manifest."""

    backend: str
    entry: str
    files: Mapping[str, BundleFile]
    runtime: Mapping[str, Any]

    @cached_property
    def manifest(self) -> str:
        """The manifest's text; equal bundles have equal texts."""
        files = {path: {"sha256": file.sha256, "bytes": file.bytes} for path, file in self.files.items()}
        content = {"schema": 1, "backend": self.backend, "files": files, "runtime": dict(self.runtime)}
        return json.dumps(content, indent=1, sort_keys=True) + "\n"

    @cached_property
    def sha256(self) -> str:
        """The bundle's name."""
        return hashlib.sha256(self.manifest.encode()).hexdigest()


def make_bundle(artifact: Artifact, backend: Backend, facts: Mapping[str, Any]) -> Bundle:
    """Put together what runs an artifact.

    Args:
        facts: what the device's environment was found to hold; see harness.agent.facts.
    """
    sources = {f"agent/{path.name}": path for path in sorted(AGENT.glob("*.py"))}
    sources["agent/backend.py"] = backend.source
    files = {path: BundleFile(source, file_sha256(source), source.stat().st_size) for path, source in sources.items()}
    for file in artifact.files:
        files[f"artifact/{file.name}"] = BundleFile(artifact.folder / file.name, file.sha256, file.bytes)
    runtime = {"python": facts["python"], "packages": facts["packages"]}
    return Bundle(backend.name, f"artifact/{artifact.files[0].name}", files, runtime)


def write_folder(bundle: Bundle, folder: Path) -> None:
    """Fill a folder on this machine: files are linked where the file system allows it, and copied elsewhere."""
    with storage_errors(folder):
        for path, file in bundle.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(file.source, target)
        (folder / MANIFEST).write_text(bundle.manifest, encoding="utf-8")


def verify_folder(bundle: Bundle, folder: Path) -> bool:
    """Whether a folder holds exactly what the manifest says."""
    for path, file in bundle.files.items():
        target = folder / path
        if not target.is_file():
            return False
        # A hard link to the source, whose hash has just been taken, needs no second look.
        if not target.samefile(file.source) and file_sha256(target) != file.sha256:
            return False
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return found == {*bundle.files, MANIFEST}
