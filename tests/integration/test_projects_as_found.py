"""Projects as people have them, run as they are typed (cases 34, 38, 52 and 55): all in one run, and one more."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from .conftest import Outcome, Project

pytestmark = pytest.mark.slow

SECONDS = 600.0

# 34_relative_checkpoint: README's snippet, with weights by a path from the current folder, or from the file's own.
CHECKPOINT = """
    from pathlib import Path
    import torch
    from harness import Input, Model
    from mynet import MyNet

    def build():
        net = MyNet()
        net.load_state_dict(torch.load({path}, weights_only=True))
        return net.eval()

    model = Model(build=build, inputs=[Input("x", ("batch", 4), min_value=0, max_value=1)], dims={{"batch": (1, 8)}})
"""
NET = """
    from torch import nn

    class MyNet(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(4, 3), nn.ReLU())
"""
# 38_benchmarks_off, in a file and a folder that 52_odd_folders has.
LIMITED = """
    import torch
    from harness import Input, Model

    model = Model(build=lambda: torch.nn.ReLU().eval(), name="mein-modell", dims={"b": (1, 4)},
                  inputs=[Input("x", ("b", 4), min_value=-1.0, max_value=1.0)], limits={"latency_p99_ms": 0.000001})
"""
# 55_sparse_and_odd_weights.
SPARSE = """
    import torch
    from harness import Input, Model

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("adjacency", torch.eye(5).to_sparse())

        def forward(self, x):
            return torch.sparse.mm(self.adjacency, x)

    model = Model(build=lambda: Net().eval(), inputs=[Input("x", (5, 3), min_value=-1.0, max_value=1.0)])
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("projects") / "meine Übung [1]")
    project.write("pytest.ini", "[pytest]\nhil_device = local\naddopts = --benchmark-skip\n")
    project.write("net/relative.py", CHECKPOINT.format(path='"mynet.pt"'))
    project.write("net/beside.py", CHECKPOINT.format(path='Path(__file__).with_name("mynet.pt")'))
    project.write("net/mynet.py", NET)
    save = "import torch, mynet; torch.save(mynet.MyNet().state_dict(), 'mynet.pt')"
    subprocess.run([sys.executable, "-c", save], cwd=project.folder / "net", check=True, timeout=300)
    project.write("mein modell-1.py", LIMITED)
    project.write("sparse.py", SPARSE)
    return project


@pytest.fixture(scope="module")
def done(project: Project) -> Outcome:
    models = ("net/relative.py", "net/beside.py", "mein modell-1.py", "sparse.py")
    return run(project, *(f"--model={path}" for path in models))


def run(project: Project, *arguments: str) -> Outcome:
    chosen = ("-k", "latency_p99", "--time-limit", "60")
    return project.run_command(project.command(*arguments, "--backend", "onnxruntime", *chosen), SECONDS)


def cell(done: Outcome, model: str) -> dict[str, Any]:
    (found,) = [cell for cell in done.evidence["cells"] if cell["model"] == model]
    return dict(found)


@pytest.mark.parametrize(
    ("model", "verdict", "says"),
    [
        pytest.param(
            "relative",
            "FAIL",
            ["a relative path begins at the current folder", "Path(__file__).with_name('mynet.pt')"],
            id="34_relative_checkpoint",
        ),
        pytest.param("beside", "MEASURED", [], id="34_beside_the_file"),
        pytest.param("mein-modell", "FAIL", [], id="38_benchmarks_off-52_odd_folders"),
        pytest.param("sparse", "FAIL", ["buffer adjacency is sparse", ".to_dense()"], id="55_sparse_and_odd_weights"),
    ],
)
def test_a_project_as_it_was_found_gets_its_verdict(done: Outcome, model: str, verdict: str, says: list[str]) -> None:
    found = cell(done, model)
    assert found["verdict"] == verdict, done.output
    assert [text for text in says if text not in str(found["error"])] == []
    assert done.status == 1


@pytest.mark.parametrize("option", ["--benchmark-skip", "--benchmark-disable"])
def test_a_limit_that_cannot_be_kept_fails_where_benchmarks_are_off(
    project: Project, done: Outcome, option: str
) -> None:
    if option not in (project.folder / "pytest.ini").read_text():
        done = run(project, "--model=mein modell-1.py", option)
    check = {check["metric"]: check for check in cell(done, "mein-modell")["checks"]}["latency_p99_ms"]
    assert (check["verdict"], check["value"] > 0, done.status) == ("FAIL", True, 1)


def test_a_name_with_blanks_is_refused_with_one_that_will_do(project: Project) -> None:
    project.write("mein modell-2.py", LIMITED.replace('name="mein-modell", ', ""))
    refused = run(project, "--model=mein modell-2.py")
    assert refused.status == 4
    assert 'Model(name="mein-modell-2")' in refused.output
