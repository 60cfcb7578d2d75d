"""Operators of a library's own: imported, or opened, on the device before the artifact that needs them is loaded."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cases import told

from .conftest import Outcome, Project

pytestmark = pytest.mark.slow

SOURCE = """
#include <ATen/core/Tensor.h>
#include <torch/library.h>

namespace {
at::Tensor twice(const at::Tensor& x) { return x.add(x); }
}  // namespace

TORCH_LIBRARY(tiny_ops, library) { library.def("twice(Tensor x) -> Tensor"); }
TORCH_LIBRARY_IMPL(tiny_ops, CPU, library) { library.impl("twice", &twice); }
"""

COMPILED = """
    from pathlib import Path
    import torch
    torch.ops.load_library(Path(__file__).with_name("_ops.so"))
"""

IN_PYTHON = """
    import torch
    library = torch.library.Library("python_ops", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x + x, "CPU")
"""

MODEL = """
    import torch
    import {module}
    from harness import Input, Model

    class Net(torch.nn.Module):
        def forward(self, x):
            return torch.ops.{module}.twice(torch.relu(x))

    model = Model(
        build=lambda: Net().eval(),
        inputs=[Input("x", ("n", 4), min_value=-1, max_value=1)],
        dims={{"n": (1, 3)}},
        imports={imports!r},
    )
"""


def build_operators(folder: Path) -> None:
    """A package whose import registers an operator that was written in C++, as torchvision's does."""
    root = Path(torch.__file__).parent
    headers = [f"-I{root / 'include'}", f"-I{root / 'include/torch/csrc/api/include'}"]
    libraries = [f"-L{root / 'lib'}", "-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-lc10"]
    words = ["g++", "-std=c++17", "-w", "-O0", "-shared", "-fPIC", *headers, "-x", "c++", "-", "-o"]
    subprocess.run([*words, str(folder / "_ops.so"), *libraries], input=SOURCE, text=True, check=True, timeout=900)


@pytest.fixture(scope="module")
def done(cache_with_runners: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Parity of models with such operators, in one run."""
    project = Project(tmp_path_factory.mktemp("operators"))
    packages = project.folder / "packages"
    project.write("packages/tiny_ops/__init__.py", COMPILED)
    project.write("packages/python_ops/__init__.py", IN_PYTHON)
    build_operators(packages / "tiny_ops")
    project.environment["PYTHONPATH"] = str(packages)
    project.write("pytest.ini", "[pytest]\n")
    named = [
        ("compiled", "tiny_ops", ["tiny_ops"]),
        ("unsaid", "tiny_ops", []),
        ("in_python", "python_ops", ["python_ops"]),
    ]
    for name, module, imports in named:
        project.write(f"{name}.py", MODEL.format(module=module, imports=imports))
    models = [f"--model={name}.py" for name, _, _ in named]
    chosen = "parity and (compiled or (unsaid and local-libtorch) or in_python)"
    backends = ("--backend", "torchscript", "--backend", "libtorch")
    return project.run_command(project.command(*models, "--device", "local", *backends, "-k", chosen), 900)


@pytest.mark.parametrize(
    ("model", "backend", "verdict", "says"),
    [
        pytest.param("compiled", "torchscript", "PASS", "", id="imported"),
        pytest.param("compiled", "libtorch", "PASS", "", id="opened"),
        pytest.param("unsaid", "libtorch", "FAIL", 'Model(imports=["tiny_ops"])', id="not-named"),
        pytest.param("in_python", "torchscript", "PASS", "", id="written-in-python"),
        pytest.param("in_python", "libtorch", "FAIL", "no library that registers any", id="no-library"),
    ],
)
def test_operators_of_a_library_run_where_it_is_named(
    done: Outcome, model: str, backend: str, verdict: str, says: str
) -> None:
    cells: list[dict[str, Any]] = done.evidence["cells"]
    (cell,) = [cell for cell in cells if (cell["model"], cell["backend"]) == (model, backend)]
    assert cell["verdict"] == verdict, told(cell)
    assert says in told(cell)
