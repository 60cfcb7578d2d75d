"""The programs of harness/runners/examples: built and run by the commands at their own top, they answer as Python does.

What docs/your-program.md shows of them is in them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from harness.agent.frames import Array
from harness.bundle.native.building import SOURCES
from harness.bundle.native.packages import provide_headers
from harness.export import export_artifact
from harness.measure import known_metrics
from harness.model.build import BuiltModel, build_model
from harness.model.model_file import load_model

from .runners import USERS_CACHE, jit

ROOT = Path(__file__).parents[2]
EXAMPLES = SOURCES / "examples"
PAGE = ROOT / "docs" / "your-program.md"
LIMIT_S = 300  # of a compiler on a loaded machine


@pytest.fixture(scope="module")
def digits() -> BuiltModel:
    return build_model(load_model(ROOT / "examples" / "digits.py", known_metrics().values()))


@pytest.fixture(scope="module")
def image(digits: BuiltModel) -> Array:
    """One that training never saw."""
    samples = digits.model.samples
    assert samples is not None
    found: Array = samples()[0]["image"][:1]
    return found


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """With this Python and its CMake first on the PATH, and the headers of ONNX Runtime as CMake finds them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HILGATE_CACHE", str(USERS_CACHE))  # fetching them takes a network
        include = provide_headers().onnxruntime_folders[0]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "CMAKE_INCLUDE_PATH": str(include)}


def commands(program: Path) -> list[str]:
    """Those at its top."""
    head = program.read_text(encoding="utf-8").partition("#include")[0]
    return re.findall(r"^//     (.+)$", head, re.MULTILINE)


def in_torch(artifact: Path, image: Array) -> Array:
    with torch.no_grad():
        found: Array = jit.load(str(artifact))(torch.from_numpy(image)).numpy()
    return found


def in_onnxruntime(artifact: Path, image: Array) -> Array:
    session: Any = onnxruntime.InferenceSession(str(artifact))
    found: Array = session.run(None, {"image": image})[0]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "artifact_format", "in_python"),
    [
        pytest.param("libtorch", "torchscript", in_torch, id="libtorch"),
        pytest.param("onnxruntime", "onnx", in_onnxruntime, id="onnxruntime"),
    ],
)
def test_an_example_answers_as_python_does(
    digits: BuiltModel,
    image: Array,
    environment: dict[str, str],
    tmp_path: Path,
    name: str,
    artifact_format: str,
    in_python: Callable[[Path, Array], Array],
) -> None:
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    exported = export_artifact(digits, artifact_format)
    artifact = exported.folder / exported.files[0].name
    shutil.copy(artifact, folder)
    (folder / "input.f32").write_bytes(image.tobytes())
    printed = ""
    for command in commands(folder / "main.cpp"):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        printed = done.stdout
    answer = np.array([float(line) for line in printed.splitlines()], np.float32)
    np.testing.assert_allclose(answer, in_python(artifact, image).ravel(), rtol=1e-4)


def shown(kind: str) -> list[str]:
    """The page's blocks of a language."""
    blocks = re.findall(rf"^```{kind}\n(.+?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks, f"{PAGE.name} has no {kind}"
    return blocks


def test_the_code_in_the_documentation_is_the_examples() -> None:
    programs = [path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*/main.cpp")]
    for block in shown("cpp"):
        assert any(block in program for program in programs), block


def test_the_commands_in_the_documentation_are_the_examples() -> None:
    known = [command for path in EXAMPLES.glob("*/main.cpp") for command in commands(path)]
    typed = re.findall(r"^\$ ((?:cmake|build/).*)$", "".join(shown("console")), re.MULTILINE)
    assert typed
    assert set(typed) <= set(known)
