"""The bundle: artifact, runtime and agent under one manifest of hashes.

A bundle's folder on a device:

    manifest.json       {"schema": 1, "backend": …, "files": {PATH: {"sha256": …, "bytes": …}}, "runtime": {…}}, with
                        "fallback", a backend's name, where there is one
    agent/…             the agent, and the backend's file as agent/backend.py; not for a C++ backend
    agent/remote/…      the client, only of a backend that calls another computer
    agent/network/…     the proxy that shapes its network, likewise
    agent/near.py       the file of the backend that answers where its calls fail, if it has such a fallback
    artifact/…          the exported files; or endpoint.json, which describes that computer, and the fallback's files
    runtime/…           unpacked wheels, where they were shipped; a C++ backend's runner, and libraries of wheels

The manifest's "runtime" has the device's "python", and either "wheels", a list of {"name", "version", "file", "sha256",
"bytes"}, with "bytecode", and with "trimmed" where only a part of a wheel was sent (see trimming); or "packages", NAME:
VERSION, as found in an environment that is installed there. A C++ backend's has "runner" and "libraries" as well, and
"operators", the libraries that register a model's operators. A bundle is named by the SHA-256 of its manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..backends import Backend
from ..export import Artifact
from ..export.binding import Binding
from ..host.cache import file_sha256
from .archive import Archive
from .runtime import Runtime

AGENT = Path(__file__).parents[1] / "agent"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class BundleFile:
    """A file of a bundle: its place on the host, and its hash and size in bytes on the device."""

    source: Path
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry of a device's store (see harness.agent.daemon.store): a folder, and what it is made from.

    Attributes:
        name: KIND/SHA-256.
        files: files by their paths in the folder.
        archives: archives that are unpacked into the folder, in this order.
        texts: contents of small files by their paths in the folder.
        links: names of other entries, by the paths of the links in the folder that lead to them.
    """

    name: str
    files: Mapping[str, BundleFile] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Any]:
        """The parts from which the store makes the entry once the files have been sent; see Store.make there."""
        return {
            "files": {path: file.sha256 for path, file in self.files.items()},
            "archives": [archive.sha256 for archive in self.archives],
            "texts": dict(self.texts),
            "links": dict(self.links),
        }

    @property
    def sources(self) -> dict[str, tuple[Path, int]]:
        """The files that have to be sent: (place on the host, size in bytes) by SHA-256."""
        files = {file.sha256: (file.source, file.bytes) for file in self.files.values()}
        return files | {archive.sha256: (archive.source, archive.bytes) for archive in self.archives}

    @property
    def bytes(self) -> int:
        """The bytes that it needs on the device's disk while it is made: archives stay until they are unpacked."""
        unpacked = sum(archive.bytes + archive.unpacked_bytes for archive in self.archives)
        return unpacked + sum(file.bytes for file in self.files.values()) + sum(map(len, self.texts.values()))


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Everything that a deployment needs: agent, artifact and runtime.

    Attributes:
        backend: the backend's name.
        agent: the agent's files by their paths in the bundle; empty for a C++ backend.
        artifact: the exported files by their names.
        runtime: the planned runtime.
        entry: the path of the file that the runtime opens; "" without an artifact.
        binding: see Artifact.
        fallback: the name of the backend that answers where calls of a remote one fail; "" without one.
        fallback_entry: the path of the file that its runtime opens.
    """

    backend: str
    agent: Mapping[str, BundleFile]
    artifact: Mapping[str, BundleFile]
    runtime: Runtime
    entry: str = ""
    binding: Binding | None = None
    fallback: str = ""
    fallback_entry: str = ""

    @cached_property
    def manifest(self) -> str:
        """The manifest's text; equal bundles have equal texts."""
        files = {path: {"sha256": file.sha256, "bytes": file.bytes} for path, file in self.files.items()}
        content = {"schema": 1, "backend": self.backend, "files": files, "runtime": dict(self.runtime.described)}
        content |= {"fallback": self.fallback} if self.fallback else {}
        return json.dumps(content, indent=1, sort_keys=True) + "\n"

    @property
    def files(self) -> dict[str, BundleFile]:
        """The files of agent and artifact, by their paths in the bundle."""
        return {**self.agent, **{f"artifact/{name}": file for name, file in self.artifact.items()}}

    @cached_property
    def sha256(self) -> str:
        """The bundle's name."""
        return hashlib.sha256(self.manifest.encode()).hexdigest()

    @property
    def name(self) -> str:
        """The bundle's entry in a store."""
        return f"bundles/{self.sha256}"

    @cached_property
    def foundation(self) -> str:
        """A hash of agent and runtime: it is the same for every model that the backend runs."""
        hashes = {path: file.sha256 for path, file in self.agent.items()}
        return _key([self.backend, hashes, self.runtime.described])

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The entries of the store in the order of their making; bundles share those of artifact and runtime."""
        entries, links = list[Entry](), dict[str, str]()
        if self.artifact:
            hashes = {path: file.sha256 for path, file in self.artifact.items()}
            entries.append(Entry(name=f"artifacts/{_key(hashes)}", files=self.artifact))
            links["artifact"] = entries[0].name
        if self.runtime.archives:
            runtime = Entry(name=f"runtimes/{_key(self.runtime.described)}", archives=self.runtime.archives)
            entries.append(runtime)
            links["runtime"] = runtime.name
        texts = {path: file.source.read_text(encoding="utf-8") for path, file in self.agent.items()}
        return (*entries, Entry(name=self.name, texts={**texts, MANIFEST: self.manifest}, links=links))


def make_bundle(
    artifact: Artifact | None,
    backend: Backend,
    runtime: Runtime,
    fallback: tuple[Backend, Artifact] | None = None,
) -> Bundle:
    """Make the bundle that runs an artifact.

    Args:
        artifact: the artifact; None for a bundle that has everything but that.
        backend: the backend that runs it.
        runtime: the planned runtime.
        fallback: the backend that answers on the device where calls fail, and its artifact; of a remote backend.
    """
    sources = dict[str, Path]()
    if runtime.runner is None:
        sources = {f"agent/{path.name}": path for path in sorted(AGENT.glob("*.py"))}
        sources["agent/backend.py"] = backend.source
    if backend.remote:
        for room in ("remote", "network"):
            sources |= {f"agent/{room}/{path.name}": path for path in sorted((AGENT / room).glob("*.py"))}
    if fallback is not None:
        sources["agent/near.py"] = fallback[0].source
    agent = {path: BundleFile(source, file_sha256(source), source.stat().st_size) for path, source in sources.items()}
    if artifact is None:
        return Bundle(backend=backend.name, agent=agent, artifact={}, runtime=runtime)
    exported = _files_of(artifact)
    if fallback is not None:
        exported |= _files_of(fallback[1])
    return Bundle(
        backend=backend.name,
        agent=agent,
        artifact=exported,
        runtime=runtime,
        entry=f"artifact/{artifact.files[0].name}",
        binding=artifact.binding,
        fallback=fallback[0].name if fallback is not None else "",
        fallback_entry=f"artifact/{fallback[1].files[0].name}" if fallback is not None else "",
    )


def _files_of(artifact: Artifact) -> dict[str, BundleFile]:
    return {file.name: BundleFile(artifact.folder / file.name, file.sha256, file.bytes) for file in artifact.files}


def _key(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
