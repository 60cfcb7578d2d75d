"""What tests of the C++ runners share: the runners, built as a run builds them, and tiny artifacts for them."""

from __future__ import annotations

import importlib
import math
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import harness.agent
from harness.agent.frames import Array
from harness.agent.structure import flatten
from harness.agent.unpack import unpack
from harness.backends import load_backend
from harness.bundle.native.building import ENGINE, PROGRAM, Sdk, provide_runner
from harness.bundle.native.compiler import find_compiler
from harness.bundle.native.packages import provide_headers
from harness.deploy.deployment import Deployment, LoadReport, Timeouts
from harness.host.cache import cache_folder
from harness.links.local import Process

# Read before the tests' own takes its place: compiling takes most of a minute, and is done once.
USERS_CACHE = cache_folder()
BACKENDS = ("libtorch", "onnxruntime-cpp")
SETTINGS = {"threads": 1, "interop_threads": 1, "flush_denormals": False}
# Untyped.
jit: Any = torch.jit
INPUTS = {"x": np.arange(6, dtype=np.float32)}

INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
FLOATS = ("float16", "float32", "float64")
# Of each element type what is an edge to it: of floating point also numbers that are none, and one that is denormal.
EVERY_TYPE: dict[str, Array] = {
    "bool": np.array([True, False]),
    **{kind: np.array([np.iinfo(kind).min, 0, 1, np.iinfo(kind).max], kind) for kind in INTEGERS},
    **{
        kind: np.array(
            [math.nan, math.inf, -math.inf, -0.0, 0.1, np.finfo(kind).max, np.finfo(kind).smallest_subnormal], kind
        )
        for kind in FLOATS
    },
}
SHAPES: dict[str, Array] = {
    "scalar": np.array(2.5, np.float32),
    "empty": np.zeros((0, 3)),
    "empty_at_the_end": np.zeros((2, 0), np.int64),
}


@dataclass(frozen=True)
class Built:
    """A backend's runner, unpacked, and the installed library that it opens."""

    program: Path
    engine: Path
    library: Path
    version: str


def build(backend: str, folder: Path) -> Built:
    """From the user's cache, or built now for the runtime of the environment that runs these tests."""
    known = load_backend(backend)
    if known.native is None:
        raise AssertionError(f"{backend} is no C++ backend")
    package = distribution(known.packages[0])
    installed = Path(str(package.locate_file("")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILGATE_CACHE", str(USERS_CACHE))
        sdk = Sdk.installed(installed, known.packages[0], package.version)
        compiler = find_compiler(platform.machine())
        headers = provide_headers(onnxruntime=not known.native.includes)
        archive = provide_runner(known.native, sdk, headers, compiler)
    unpack([str(archive.source)], str(folder))
    library = installed / known.native.library_in(package.version)
    return Built(folder / PROGRAM, folder / ENGINE, library, package.version)


def build_all(folder: Path) -> dict[str, Built]:
    """The runner of each backend."""
    return {backend: build(backend, folder / backend) for backend in BACKENDS}


@dataclass
class Runners:
    """Starts runners whose records and kept replies are in a test's folder."""

    built: Mapping[str, Built]
    folder: Path
    started: list[Deployment] = field(default_factory=list)

    def command(
        self, backend: str, *arguments: str, engine: Path | None = None, library: Path | None = None
    ) -> list[str]:
        """How a runner is started.

        Args:
            engine: another one than the backend's own; so is the library.
        """
        built = self.built[backend]
        words = ["--engine", engine or built.engine, "--runtime", library or built.library]
        folders = ["--records", self.folder / "records", "--results", self.folder / "results"]
        return [*map(str, [built.program, *words, *folders]), *arguments]

    def start(
        self,
        backend: str,
        *arguments: str,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # frozen
        engine: Path | None = None,
        library: Path | None = None,
    ) -> Deployment:
        """A runner that nothing is loaded into."""
        command = self.command(backend, *arguments, engine=engine, library=library)
        deployment = Deployment.start(Process.start(command), "test", timeouts)
        self.started.append(deployment)
        return deployment

    def loaded(self, backend: str, artifact: Path, inputs: Mapping[str, Any] = INPUTS, **settings: Any) -> Deployment:
        """A runner with an artifact."""
        deployment = self.start(backend)
        load(deployment, artifact, inputs, **settings)
        return deployment


@contextmanager
def runners_in(built: Mapping[str, Built], folder: Path) -> Iterator[Runners]:
    """Starts runners; ends them all."""
    runners = Runners(built, folder)
    yield runners
    for deployment in runners.started:
        deployment.close()


def load(deployment: Deployment, artifact: Path, inputs: Mapping[str, Any] = INPUTS, **settings: Any) -> LoadReport:
    """Load an artifact; settings are the common ones, and "options"."""
    options = settings.pop("options", {})
    return deployment.load(str(artifact), inputs, settings={**SETTINGS, **settings}, options=options)


def start_agent(folder: Path, backend: str) -> Deployment:
    """The agent with a backend of Python's, in a folder of its own; nothing is loaded into it."""
    shutil.copytree(Path(harness.agent.__file__).parent, folder / "agent", ignore=shutil.ignore_patterns("__p*__"))
    source = importlib.import_module(f"harness.backends.{backend}").__file__
    shutil.copyfile(str(source), folder / "agent" / "backend.py")
    folders = ["--records", str(folder / "records"), "--results", str(folder / "results")]
    return Deployment.start(Process.start([sys.executable, "-B", "-m", "agent", *folders], str(folder)), "test")


def scripted(folder: Path, forward: str, **files: str) -> Path:
    """A TorchScript module of one function, ``def forward(…): …``; files are put beside it."""
    path = folder / "scripted.pt"
    jit.save(jit.CompilationUnit(f"{forward}\n").forward, str(path), _extra_files=files)
    return path


def saved(module: torch.nn.Module, folder: Path) -> Path:
    """A TorchScript module of a class."""
    jit.save(jit.script(module.eval()), str(folder / "saved.pt"))
    return folder / "saved.pt"


Value = tuple[str, type[Any], Sequence[int | str]]


def graph(
    folder: Path, nodes: Sequence[onnx.NodeProto], inputs: Sequence[Value], outputs: Sequence[Value], **constants: Any
) -> Path:
    """An ONNX model of nodes between values, each a name, an element type and a shape, of sizes or names of sizes."""
    takes, gives = (
        [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)
            for name, kind, shape in values
        ]
        for values in (inputs, outputs)
    )
    known = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    domains = {"": 17, **{node.domain: 1 for node in nodes if node.domain}}
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "graph", takes, gives, initializer=known),
        opset_imports=[onnx.helper.make_opsetid(*domain) for domain in domains.items()],
        ir_version=8,
    )
    path = folder / "graph.onnx"
    onnx.save(model, path)
    return path


def scaled(backend: str, folder: Path, size: int = 6) -> Path:
    """An artifact that multiplies so many numbers by 0.1."""
    if backend == "libtorch":
        return scripted(folder, "def forward(x):\n    return x * 0.1")
    node = onnx.helper.make_node("Mul", ["x", "tenth"], ["output"], name="scale")
    ends = ("x", np.float32, [size]), ("output", np.float32, [size])
    return graph(folder, [node], ends[:1], ends[1:], tenth=np.float32(0.1))


def torch_types(folder: Path) -> Path:
    """Of EVERY_TYPE one more, or the opposite."""
    names = list(EVERY_TYPE)
    values = ", ".join(["bool.logical_not()", *(f"{name} + 1" for name in names[1:])]).replace("bool.", "b.")
    return scripted(folder, f"def forward({', '.join(['b', *names[1:]])}):\n    return {values}")


def onnx_types(folder: Path) -> Path:
    """The same of those whose Add there is, and what it is given of others."""
    summed = ("int32", "int64", "float32", "float64")  # the others have no Add
    nodes = [
        onnx.helper.make_node("Add", [kind, kind], [f"{kind}_sum"])
        if kind in summed
        else onnx.helper.make_node("Not" if kind == "bool" else "Identity", [kind], [f"{kind}_same"])
        for kind in EVERY_TYPE
    ]
    values = [(kind, np.dtype(kind).type, array.shape) for kind, array in EVERY_TYPE.items()]
    return graph(
        folder, nodes, values, [(node.output[0], *value[1:]) for node, value in zip(nodes, values, strict=True)]
    )


def torch_shapes(folder: Path) -> Path:
    """Of SHAPES something of that shape."""
    return scripted(folder, "def forward(scalar, empty, last):\n    return scalar * 2, empty + 1, last")


def onnx_shapes(folder: Path) -> Path:
    """Of SHAPES the same."""
    values = [(name, array.dtype.type, array.shape) for name, array in SHAPES.items()]
    nodes = [onnx.helper.make_node("Identity", [name], [f"{name}_same"]) for name in SHAPES]
    return graph(folder, nodes, values, [(f"{name}_same", *value) for name, *value in values])


def torch_net(folder: Path) -> Path:
    """Two layers, traced."""
    net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4), torch.nn.Softmax(-1))
    jit.save(jit.trace(net.eval(), torch.zeros(6)), str(folder / "traced.pt"))
    return folder / "traced.pt"


def onnx_net(folder: Path) -> Path:
    """Two layers."""
    random = np.random.default_rng(1)
    weights = {"a": random.normal(size=(6, 16)).astype(np.float32), "b": random.normal(size=(16, 4)).astype(np.float32)}
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "a"], ["inner"]),
        onnx.helper.make_node("Tanh", ["inner"], ["bent"]),
        onnx.helper.make_node("MatMul", ["bent", "b"], ["outer"]),
        onnx.helper.make_node("Softmax", ["outer"], ["output"], axis=-1),
    ]
    return graph(folder, nodes, [("x", np.float32, [6])], [("output", np.float32, [4])], **weights)


def counting(backend: str, folder: Path) -> Path:
    """An artifact that counts a number down to 0 and returns that; TorchScript's says so before."""
    if backend == "libtorch":
        lines = ["print('counting')", "left = int(n)", "while left != 0:", "    left -= 1", "return n * 0 + left"]
        return scripted(folder, "\n    ".join(["def forward(n):", *lines]))
    value = onnx.helper.make_tensor_value_info
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["go"], ["goes"]), onnx.helper.make_node("Identity", ["left"], ["rest"])],
        "body",
        [value("turn", onnx.TensorProto.INT64, []), value("go", onnx.TensorProto.BOOL, []), value("left", 7, [])],
        [value("goes", onnx.TensorProto.BOOL, []), value("rest", onnx.TensorProto.INT64, [])],
    )
    node = onnx.helper.make_node("Loop", ["n", "", "zero"], ["output"], body=body)
    return graph(folder, [node], [("n", np.int64, [])], [("output", np.int64, [])], zero=np.int64(0))


def in_python(artifact: Path, inputs: Mapping[str, Array]) -> list[Array]:
    """What the same runtime answers in Python."""
    if artifact.suffix == ".onnx":
        session = onnxruntime.InferenceSession(str(artifact))
        return list(session.run(None, dict(inputs)))
    with torch.no_grad():
        answer = jit.load(str(artifact))(*(torch.from_numpy(array.copy()) for array in inputs.values()))
    return [leaf.numpy() for _, leaf in flatten(answer)]


def bits(arrays: list[Array]) -> list[tuple[str, tuple[int, ...], bytes]]:
    """All that tells arrays apart."""
    return [(array.dtype.name, array.shape, array.tobytes()) for array in arrays]


def compiled(folder: Path, source: str, *flags: str) -> Path:
    """A shared library of a C++ source."""
    (folder / "source.cpp").write_text(source, encoding="ascii")
    library = folder / "compiled.so"
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-pthread", *flags, "-o", str(library), "source.cpp"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return library
