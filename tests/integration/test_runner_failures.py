"""What the C++ runners cannot do, with the real runtimes: each failure is named, and the runner goes on."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from harness.errors import AgentFailure

from .runners import (
    INPUTS,
    Runners,
    compiled,
    graph,
    load,
    scaled,
    scripted,
)

ONNX = "onnxruntime-cpp"
# Its API is not there: who calls a function of that without a look dies of it.
NO_API = """
    struct Base { const void* (*api)(unsigned); const char* (*version)(); };
    const void* none(unsigned) { return nullptr; }
    const char* version() { return "1.18.1"; }
    extern "C" const Base* OrtGetApiBase() { static const Base base{none, version}; return &base; }
"""


@pytest.mark.parametrize(
    ("backend", "damage", "said"),
    [
        pytest.param("libtorch", "cut", "failed finding central directory", id="libtorch-cut"),
        pytest.param("libtorch", "text", "failed finding central directory", id="libtorch-text"),
        pytest.param("libtorch", "empty", "not a ZIP archive", id="libtorch-empty"),
        pytest.param("libtorch", "missing", "No such file or directory", id="libtorch-missing"),
        pytest.param(ONNX, "cut", "Protobuf parsing failed", id="onnxruntime-cut"),
        pytest.param(ONNX, "text", "Protobuf parsing failed", id="onnxruntime-text"),
        pytest.param(ONNX, "empty", "No graph was found in the protobuf", id="onnxruntime-empty"),
        pytest.param(ONNX, "missing", "File doesn't exist", id="onnxruntime-missing"),
    ],
)
def test_an_artifact_that_cannot_be_loaded_is_the_runtimes_to_name(
    runners: Runners, tmp_path: Path, backend: str, damage: str, said: str
) -> None:
    artifact = scaled(backend, tmp_path)
    content = artifact.read_bytes()
    artifact.write_bytes({"cut": content[: len(content) // 2], "text": b"no model" * 100}.get(damage, b""))
    if damage == "missing":
        artifact.unlink()
    deployment = runners.start(backend)
    with pytest.raises(AgentFailure, match=f"load failed(.|\n)*{said}"):
        load(deployment, artifact)
    assert deployment.memory_kib()["peak"] > 0


def test_libtorchs_stack_is_no_part_of_its_words(runners: Runners, tmp_path: Path) -> None:
    with pytest.raises(AgentFailure) as caught:
        load(runners.start("libtorch"), tmp_path / "missing.pt")
    assert "\n" not in caught.value.found.strip()
    assert "frame #0" in caught.value.__notes__[0]


def onnx_custom(folder: Path) -> Path:
    node = helper.make_node("Teleport", ["x"], ["output"], domain="far.away")
    return graph(folder, [node], [("x", np.float32, [6])], [("output", np.float32, [6])])


def torch_custom(folder: Path) -> Path:
    """A module is never saved with what does not exist: its code is changed afterwards."""
    made = scripted(folder, "def forward(x):\n    return torch.relu(x)")
    changed = folder / "custom.pt"
    with zipfile.ZipFile(made) as before, zipfile.ZipFile(changed, "w") as after:
        for name in before.namelist():
            after.writestr(name, before.read(name).replace(b"torch.relu(", b"ops.far_away.teleport("))
    return changed


@pytest.mark.parametrize(
    ("backend", "artifact", "options", "said"),
    [
        pytest.param("libtorch", torch_custom, {}, "Unknown builtin op: far_away::teleport", id="torch-operator"),
        pytest.param(ONNX, onnx_custom, {}, r"far\.away:Teleport.* is not a registered", id="onnx-operator"),
        pytest.param(
            ONNX,
            lambda folder: scaled(ONNX, folder),
            {"providers": ["NoSuchExecutionProvider"]},
            "NoSuch",
            id="provider",
        ),
        pytest.param(
            "libtorch",
            lambda folder: scripted(folder, "def forward(x):\n    return x, 3"),
            {},
            "an output is not a tensor: output_1 is a Int",
            id="an-output-that-is-no-tensor",
        ),
        pytest.param(
            "libtorch",
            lambda folder: scripted(folder, "def forward(x):\n    return x.to(torch.bfloat16)"),
            {},
            "an output's dtype is not usable: BFloat16",
            id="an-outputs-dtype",
        ),
        pytest.param(
            ONNX,
            lambda folder: graph(
                folder, [helper.make_node("Neg", ["y"], ["z"])], [("y", np.float32, [6])], [("z", np.float32, [6])]
            ),
            {},
            "the graph wants an input 'y'",
            id="an-input-of-another-name",
        ),
    ],
)
def test_what_cannot_be_run_is_named(
    runners: Runners, tmp_path: Path, backend: str, artifact: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(AgentFailure, match=said):
        load(runners.start(backend), artifact(tmp_path), options=options)


@pytest.mark.parametrize(
    ("backend", "artifact", "inputs", "said"),
    [
        pytest.param(
            "libtorch",
            lambda folder: scripted(folder, "def forward(x):\n    assert bool(x[0] < 9), 'too much'\n    return x"),
            INPUTS["x"] + 9,
            "too much",
            id="libtorch-raises",
        ),
        pytest.param(
            "libtorch",
            lambda folder: scripted(folder, "def forward(x):\n    return x @ torch.ones(6)"),
            INPUTS["x"][:5],
            "inconsistent tensor size",
            id="libtorch-shape",
        ),
        pytest.param(
            ONNX,
            lambda folder: graph(
                folder,
                [helper.make_node("Cast", ["x"], ["i"], to=7), helper.make_node("Gather", ["table", "i"], ["output"])],
                [("x", np.float32, [6])],
                [("output", np.int64, [6])],
                table=np.arange(9),
            ),
            INPUTS["x"] + 9,
            "indices element out of data bounds",
            id="onnxruntime-raises",
        ),
        pytest.param(ONNX, lambda folder: scaled(ONNX, folder), INPUTS["x"][:5], "Got: 5 Expected: 6", id="onnx-shape"),
        pytest.param(
            ONNX,
            lambda folder: scaled(ONNX, folder),
            np.arange(6),
            r"Actual: \(tensor\(int64\)\) , expected: \(tensor\(float\)\)",
            id="onnxruntime-element-type",
        ),
    ],
)
def test_what_a_model_raises_comes_back_and_the_runner_goes_on(
    runners: Runners, tmp_path: Path, backend: str, artifact: Any, inputs: Any, said: str
) -> None:
    deployment = runners.loaded(backend, artifact(tmp_path))
    with pytest.raises(AgentFailure, match=said):
        deployment.infer([{"x": inputs}])
    assert len(deployment.infer([INPUTS])) == 1


def test_sets_of_another_number_of_inputs_are_refused(runners: Runners, tmp_path: Path) -> None:
    deployment = runners.loaded(ONNX, scaled(ONNX, tmp_path), {**INPUTS, "unused": INPUTS["x"]})
    with pytest.raises(AgentFailure, match="wanted sets of 2 inputs; found 3 tensors"):
        deployment.infer([{**INPUTS, "y": INPUTS["x"], "z": INPUTS["x"]}])


def test_nothing_is_inferred_before_something_is_loaded(runners: Runners) -> None:
    with pytest.raises(AgentFailure, match="no artifact is loaded: the operation load comes first"):
        runners.start(ONNX).infer([INPUTS])


def test_an_operation_that_it_does_not_know_is_named(runners: Runners) -> None:
    with pytest.raises(AgentFailure, match="unknown operation 'dance'"):
        runners.start(ONNX).session.ask({"op": "dance"}, [], 60)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "cannot open shared object file: No such file or directory", id="missing"),
        pytest.param(b"no library" * 100, "invalid ELF header", id="no-library"),
        pytest.param(b"\x7fELF", "file too short", id="cut"),
    ],
)
@pytest.mark.parametrize("what", ["library", "engine"])
def test_a_library_that_cannot_be_opened_is_named_by_the_loader(
    runners: Runners, tmp_path: Path, what: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / "some.so"
    if content is not None:
        path.write_bytes(content)
    deployment = runners.start(
        ONNX, engine=path if what == "engine" else None, library=path if what == "library" else None
    )
    with pytest.raises(AgentFailure, match=f"some.so: {said}"):
        load(deployment, tmp_path)
    assert deployment.memory_kib()["peak"] > 0


def test_an_engine_that_is_none_is_named(runners: Runners, tmp_path: Path) -> None:
    with pytest.raises(AgentFailure, match="undefined symbol: hilgate_make_engine"):
        load(runners.start(ONNX, engine=compiled(tmp_path, "int nothing;")), tmp_path)


def test_an_engine_may_throw_anything(runners: Runners, tmp_path: Path) -> None:
    engine = compiled(tmp_path, 'extern "C" void* hilgate_make_engine(const void*) { throw 1; }')
    deployment = runners.start(ONNX, engine=engine)
    with pytest.raises(AgentFailure, match=r"something that is no std::exception"):
        load(deployment, tmp_path)
    assert deployment.memory_kib()["peak"] > 0


def test_an_onnxruntime_without_the_c_api_of_its_version_is_named(runners: Runners, tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    versions.write_text(f"VERS_{runners.built[ONNX].version} {{ global: OrtGetApiBase; local: *; }};")
    flags = "-Wl,-soname,libonnxruntime.so.1", f"-Wl,--version-script={versions}"
    with pytest.raises(AgentFailure, match=r"ONNX Runtime 1\.18\.1 has no C API"):
        load(runners.start(ONNX, library=compiled(tmp_path, NO_API, *flags)), scaled(ONNX, tmp_path))
