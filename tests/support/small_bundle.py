"""A small bundle, made by hand in a cache of its own, with its cell's evidence: what a release is laid out from."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import load_backend
from harness.bundle.bundle import AGENT
from harness.bundle.file_store import store_file
from harness.evidence.schema import CellEntry
from harness.export.artifact import write_record
from harness.host.cache import file_sha256
from harness.release.facts import ReleaseFacts
from harness.release.layout import Laid, lay_out
from harness.release.parts import collect
from tests.support.evidences import make_cell, make_check

MODEL = b"an exported model"
# It shows what it was started with, and passes.
RUNNER = '#!/bin/sh\necho "runner $# $*"\npwd -P\necho "check: PASS"\n'
KINDS = ("shipped", "installed", "native", "native-installed")


def make_zip(path: Path, files: Mapping[str, str], executable: tuple[str, ...] = ()) -> Path:
    """Write an archive of text files, as a wheel is one."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100000 | (0o755 if name in executable else 0o644)) << 16
            archive.writestr(info, text)
    return path


def make_answers(cases: int = 1) -> bytes:
    """Write answers: of case i, i, i + 1, … for an input of zeros."""
    arrays: dict[str, Any] = {}
    for case in range(cases):
        arrays[f"{case}.in.0"] = np.zeros((1, 4), np.float32)
        arrays[f"{case}.out.0"] = np.arange(case, case + 3, dtype=np.float64).reshape(1, 3)
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


@dataclass
class SmallBundle:
    """A bundle in the cache under ``root``, and its cell's evidence in ``root/hil``.

    Attributes:
        root: a folder for the test alone; HILGATE_CACHE must be root/cache.
        kind: one of KINDS.
        manifest: the manifest, as JSON has it; to be changed before ``cell`` is called.
        answers: the content of the file of answers.
    """

    root: Path
    kind: str = "native"
    manifest: dict[str, Any] = field(default_factory=dict)
    answers: bytes = field(default_factory=make_answers)

    def __post_init__(self) -> None:
        """Fill the cache and make the manifest."""
        self.manifest = {"schema": 1, "backend": self.backend, "files": self._files(), "runtime": self._runtime()}

    @property
    def backend(self) -> str:
        """The backend's name."""
        return "onnxruntime-cpp" if self.kind.startswith("native") else "onnxruntime"

    @property
    def cache(self) -> Path:
        """The cache."""
        return self.root / "cache"

    def _files(self) -> dict[str, Any]:
        export = self.cache / "exports" / ("e" * 64)
        export.mkdir(parents=True, mode=0o700)
        (export / "model.onnx").write_bytes(MODEL)
        write_record(export, "onnx", ["model.onnx"], "test", [])
        sources = {"artifact/model.onnx": export / "model.onnx"}
        if not self.kind.startswith("native"):
            sources |= {f"agent/{path.name}": path for path in AGENT.glob("*.py")}
            sources["agent/backend.py"] = load_backend(self.backend).source
        return {path: {"sha256": file_sha256(file), "bytes": file.stat().st_size} for path, file in sources.items()}

    def store(self, store: str, name: str, files: Mapping[str, str], executable: tuple[str, ...] = ()) -> str:
        """Put an archive into a store of the cache; return its hash."""
        root = self.cache / store
        (root / "files").mkdir(parents=True, mode=0o700, exist_ok=True)
        path = make_zip(root / "files" / name, files, executable)
        sha256 = file_sha256(path)
        store_file(root, path, sha256)
        return sha256

    def _runtime(self) -> dict[str, Any]:
        if self.kind.startswith("native"):
            programs = {"hilgate/runner": RUNNER, "hilgate/engine.so": "engine"}
            runner = {"sha256": self.store("runners", "runner.zip", programs, tuple(programs))}
            if self.kind == "native-installed":
                return {"runner": runner, "packages": {"onnxruntime": "1.2.3"}}
            library = {"onnxruntime/capi/libonnxruntime.so.1.2.3": "library"}
            libraries = {"sha256": self.store("libraries", "libonnxruntime.zip", library, tuple(library))}
            wheel = {"name": "onnxruntime", "version": "1.2.3", "file": "o-1.2.3-py3-none-any.whl", "sha256": "0" * 64}
            return {"runner": runner, "libraries": libraries, "wheels": [wheel]}
        if self.kind == "installed":
            others = {"onnxruntime": "1.2.3", "numpy": "2.0.0", "pytest": "9.0"}
            return {"python": "3.11.2", "packages": others}
        wheel = {
            "tiny/__init__.py": "ANSWER = 42\n",
            "tiny/bin/a program": "#!/bin/sh\n",
            "tiny/stale.pyc": "not unpacked",
            "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\n",
            "tiny-1.0.data/purelib/tiny/ümlaut.txt": "a name that is not ASCII\n",
        }
        wheel_sha = self.store("wheels", "tiny-1.0-py3-none-any.whl", wheel, ("tiny/bin/a program",))
        code_sha = self.store("bytecode", "tiny.zip", {"tiny/__pycache__/__init__.cpython-311.pyc": "code"})
        described = {"name": "tiny", "version": "1.0", "file": "tiny-1.0-py3-none-any.whl", "sha256": wheel_sha}
        return {"python": "3.11.2", "wheels": [described], "bytecode": [code_sha]}

    @property
    def evidence(self) -> Path:
        """The folder of the evidence."""
        return self.root / "hil"

    def cell(self, **keys: Any) -> CellEntry:
        """Write the manifest beside the evidence, and return the cell."""
        content = (json.dumps(self.manifest, indent=1, sort_keys=True) + "\n").encode()
        sha256 = hashlib.sha256(content).hexdigest()
        (self.evidence / "bundles").mkdir(parents=True, exist_ok=True)
        (self.evidence / "bundles" / f"{sha256}.json").write_bytes(content)
        library = {
            "native": "runtime/onnxruntime/capi/libonnxruntime.so.1.2.3",
            "native-installed": "/opt/a $b/libonnxruntime.so.1.2.3",
        }.get(self.kind)
        load = {"artifact": "artifact/model.onnx", "inputs": ["x"], "outputs": ["y"], "threads": 2, "library": library}
        cases = len(np.load(io.BytesIO(self.answers)).files) // 2
        answers = {
            "path": "answers/net-pi4.npz",
            "sha256": hashlib.sha256(self.answers).hexdigest(),
            "allowed": [[{"dtype": "float32", "atol": 1e-6, "rtol": 1e-5}]] * cases,
        }
        own = {
            "bundle": {"sha256": sha256},
            "artifact": {"sha256": hashlib.sha256(MODEL).hexdigest(), "bytes": len(MODEL)},
            "load": load,
            "answers": answers,
        }
        return CellEntry.model_validate(make_cell(self.backend, [make_check("accuracy", 1.0)], **{**own, **keys}))

    def facts(self, **keys: Any) -> ReleaseFacts:
        """Return what the release says of itself."""
        own: dict[str, Any] = {
            "name": "net-v2.1",
            "model": "net",
            "device": "pi4",
            "backend": self.backend,
            "created": "2026-11-27T20:00:00+00:00",
            "devices": ("robot",),
            "same": {"arch": "x86_64", "memory_mib": 1024},
            "p50_ms": 1.25,
            "p50_ratio_max": 1.5,
            "key_fingerprints": ("f" * 64,),
        }
        return ReleaseFacts(**{**own, **keys})

    def lay_out(self, name: str = "net-v2.1", **keys: Any) -> Laid:
        """Lay the release out into ``root/NAME``; ``keys`` are facts."""
        folder = self.root / name
        folder.mkdir()
        cell = self.cell()
        parts = collect(self.evidence, cell)
        return lay_out(folder, parts, cell, b'{"schema": 1}\n', self.answers, self.facts(name=name, **keys))

    def forget(self, store: str) -> None:
        """Remove a store from the cache."""
        shutil.rmtree(self.cache / store)
