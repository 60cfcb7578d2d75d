"""The parts of a bundle in a cache of a test's own: an artifact that runs, and a runtime of a few kilobytes.

The network is ``scores = relu(state @ W0 + b0) @ W1 + b1``. As onnx it is a real file, which ONNX Runtime runs; other
formats hold bytes that nothing can run. Wheels, libraries and runners have the form of real ones and nothing in them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import Backend
from harness.bundle import Bundle
from harness.bundle.archive import Archive, Packer
from harness.bundle.bundle import make_bundle
from harness.bundle.native.building import ENGINE, PROGRAM
from harness.bundle.runtime import Runner, Runtime
from harness.export.artifact import Artifact, read_artifact, write_record
from harness.host.cache import file_sha256, make_private
from harness.model.model import Array

WIDTHS = (16, 32, 4)
INPUT, OUTPUT = "state", "scores"
FILES = {"onnx": "model.onnx", "torchscript": "model.pt"}


def weights() -> list[Array]:
    """Return W0, b0, W1, b1, float32: the same in every process."""
    random = np.random.default_rng(21)
    shapes = ((WIDTHS[0], WIDTHS[1]), (WIDTHS[1],), (WIDTHS[1], WIDTHS[2]), (WIDTHS[2],))
    return [random.uniform(-0.5, 0.5, shape).astype(np.float32) for shape in shapes]


def answer(state: Array) -> Array:
    """Compute the network in float64: [batch, 16] -> [batch, 4]."""
    first, shift, second, last = (each.astype(np.float64) for each in weights())
    scores: Array = np.maximum(state.astype(np.float64) @ first + shift, 0) @ second + last
    return scores


def onnx_bytes() -> bytes:
    """Return the network as an ONNX file; equal calls return equal bytes."""
    from onnx import TensorProto, checker, helper, numpy_helper

    names = ("W0", "b0", "W1", "b1")
    nodes = [
        helper.make_node("Gemm", [INPUT, "W0", "b0"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("Gemm", ["positive", "W1", "b1"], [OUTPUT]),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
        for name, width in ((INPUT, WIDTHS[0]), (OUTPUT, WIDTHS[2]))
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in zip(names, weights(), strict=True)]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checker.check_model(model)
    return bytes(model.SerializeToString())


@dataclass(frozen=True)
class CachedParts:
    """Makes the parts of bundles in a cache.

    Attributes:
        cache: what $HILGATE_CACHE is to name.
        shipped: whether the runtime is sent, as wheels and libraries; else it is one of the environment of this Python.
        python: the version of the device's Python.
        more_bytes: the size of a second file of the artifact, such as weights of their own; 0 for none.
    """

    cache: Path
    shipped: bool
    python: str
    more_bytes: int = 0

    def artifact(self, artifact_format: str) -> Artifact:
        """Make the export of the network in a format."""
        folder = self.cache / "exports" / hashlib.sha256(artifact_format.encode()).hexdigest()
        make_private(folder)
        name = FILES[artifact_format]
        content = onnx_bytes() if artifact_format == "onnx" else b"no archive of torch's\n" * 64
        (folder / name).write_bytes(content)
        names = [name]
        if self.more_bytes:
            names.append(f"{name}.data")
            _write_noise(folder / names[1], self.more_bytes)
        write_record(folder, artifact_format, names, "by hand", [])
        artifact = read_artifact(folder, cached=True)
        assert artifact is not None
        return artifact

    def bundle(self, artifact: Artifact, backend: Backend) -> Bundle:
        """Make the bundle that runs an artifact with a backend."""
        package = backend.providers[0][0]
        if backend.native is not None:
            return make_bundle(artifact, backend, self._native(backend, package))
        versions = {name: version(name) for name in (package, "numpy")}
        if not self.shipped:
            described: dict[str, Any] = {"python": self.python, "packages": versions}
            return make_bundle(artifact, backend, Runtime(described=described, packages=versions))
        wheels = {name: self._wheel(name, number) for name, number in sorted(versions.items())}
        code = {name: self._bytecode(name) for name in wheels}
        described = {
            "python": self.python,
            "wheels": [_described(name, versions[name], wheel) for name, wheel in wheels.items()],
            "bytecode": [archive.sha256 for archive in code.values()],
        }
        archives = tuple(archive for name in wheels for archive in (wheels[name], code[name]))
        return make_bundle(artifact, backend, Runtime(described=described, packages=versions, archives=archives))

    def _native(self, backend: Backend, package: str) -> Runtime:
        assert backend.native is not None
        number = version(package)
        library = backend.native.library_in(number)
        contents = {PROGRAM: b"\x7fELF, but no runner\n", ENGINE: b"\x7fELF, but no engine\n"}
        archive = self._archive("runners", f"{package}-runner", contents, executable=True)
        files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        made = {"sha256": archive.sha256, "bytes": archive.bytes, "compiler": "g++ 12.2.0", "glibc": "2.34"}
        described: dict[str, Any] = {"runner": {**made, "files": files}}
        if not self.shipped:
            described["packages"] = {package: number}
            place = f"/opt/hilgate/lib/{library}"
            return _runtime(described, (archive,), package, place)
        content = b"\x7fELF, but no library\n"
        libraries = self._archive("libraries", library.rpartition("/")[2], {library: content}, executable=True)
        sent = {library: {"bytes": len(content), "stripped": True}}
        wheel = _described(package, number, self._wheel(package, number))
        described["libraries"] = {"sha256": libraries.sha256, "libraries": sent}
        described["wheels"] = [{key: wheel[key] for key in ("name", "version", "file", "sha256")}]
        return _runtime(described, (libraries, archive), package, f"runtime/{library}")

    def _wheel(self, name: str, number: str) -> Archive:
        info = f"{name}-{number}.dist-info"
        contents = {
            f"{name}/__init__.py": _source(name),
            f"{name}/data/table.bin": bytes(range(256)),
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n".encode(),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": b"",
        }
        return self._archive("wheels", f"{name}-{number}-py3-none-any", contents, ending=".whl")

    def _bytecode(self, name: str) -> Archive:
        path = f"{name}/__init__.py"
        code = marshal.dumps(compile(_source(name), path, "exec", dont_inherit=True))
        header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(_source(name))
        file = Path(importlib.util.cache_from_source(path)).as_posix()
        return self._archive("bytecode", name, {file: header + code})

    def _archive(
        self, store: str, name: str, contents: Mapping[str, bytes], *, ending: str = ".zip", executable: bool = False
    ) -> Archive:
        """Make a zip archive in a store of the cache, where hilgate itself would have it."""
        made = self.cache / store / f"{name}{ending}"
        make_private(made.parent)
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            packer = Packer(archive)
            for path, content in contents.items():
                packer.add(path, content, executable=executable)
        sha256 = file_sha256(made)
        final = self.cache / store / "files" / sha256 / made.name
        make_private(final.parent)
        made.chmod(0o600)
        made.replace(final)
        return Archive(
            source=final, sha256=sha256, bytes=final.stat().st_size, unpacked_bytes=sum(map(len, contents.values()))
        )


def _write_noise(path: Path, count: int) -> None:
    block = np.random.default_rng(7).bytes(1 << 20)
    with path.open("wb") as file:
        for start in range(0, count, len(block)):
            file.write(block[: count - start])


def _runtime(described: Mapping[str, Any], archives: tuple[Archive, ...], package: str, library: str) -> Runtime:
    return Runtime(
        described=described,
        packages={package: version(package)},
        archives=archives,
        runner=Runner(f"runtime/{PROGRAM}", f"runtime/{ENGINE}", library),
    )


def _source(name: str) -> bytes:
    return f'"""{name}, of which only the name is real."""\n'.encode()


def _described(name: str, number: str, wheel: Archive) -> dict[str, Any]:
    return {
        "name": name,
        "version": number,
        "file": wheel.source.name,
        "sha256": wheel.sha256,
        "bytes": wheel.bytes,
    }
